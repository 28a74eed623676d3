//! The man page and the shell completions of run-sandbox, from its own table of options.
//!
//! The table is plain data that needs nothing but the language, which is why it can be compiled
//! into xtask without depending on a crate of the workspace.

use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, Command, ValueHint, builder::PossibleValuesParser};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::{Result, repo};

#[allow(dead_code, reason = "the program uses what its documents do not")]
#[path = "../../crates/run-sandbox/src/options.rs"]
mod options;

use options::words::{ABOUT, DESCRIPTION, EXAMPLES, EXIT_STATUS, USAGE};
use options::{NAME, OPTIONS, Opt};

pub(crate) fn man() -> Result {
    let file = repo::target().join("man").join(format!("{NAME}.1"));
    write(&file, &man_page()?)
}

pub(crate) fn completions() -> Result {
    let dir = repo::target().join("completions");
    for (shell, name) in SHELLS {
        write(&dir.join(name), &completion(shell))?;
    }
    Ok(())
}

const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash"),
    (Shell::Zsh, "zsh"),
    (Shell::Fish, "fish"),
];

fn write(file: &Path, content: &[u8]) -> Result {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(file, content)?;
    println!("{}", file.display());
    Ok(())
}

fn completion(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), NAME, &mut text);
    text
}

fn man_page() -> Result<Vec<u8>> {
    let man = Man::new(command())
        .date(String::new())
        .manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    let mut page = Roff::new();
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold(NAME), roman(USAGE.strip_prefix(NAME).unwrap_or(USAGE))]);
    page.to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    // One section for each group of options.
    man.render_options_section(&mut text)?;

    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in EXIT_STATUS {
        page.control("TP", []);
        page.text([bold(*status)]);
        page.text([roman(*meaning)]);
    }
    page.control("SH", ["EXAMPLES"]);
    for (what, example) in EXAMPLES {
        page.control("PP", []);
        page.text([roman(format!("{what}:"))]);
        page.control("RS", ["4"]);
        page.control("nf", []);
        page.text([bold(*example)]);
        page.control("fi", []);
        page.control("RE", []);
    }
    page.to_writer(&mut text)?;
    Ok(text)
}

/// The command line as clap would parse it. It never does: run-sandbox has its own parser.
fn command() -> Command {
    Command::new(NAME)
        .about(ABOUT)
        .long_about(DESCRIPTION.join("\n\n"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(OPTIONS.iter().map(argument))
        .arg(Arg::new("SANDBOX").value_hint(ValueHint::DirPath))
        .arg(
            Arg::new("COMMAND")
                .value_hint(ValueHint::CommandWithArguments)
                .num_args(1..),
        )
        .trailing_var_arg(true)
}

fn argument(opt: &Opt) -> Arg {
    let (name, others) = opt
        .long
        .split_first()
        .map_or(("", &[][..]), |(n, o)| (*n, o));
    let mut arg = Arg::new(name)
        .long(name)
        .visible_aliases(others.iter().copied())
        .short(opt.short)
        .help(opt.help)
        .long_help(format!("{}. {}", opt.help, opt.more).trim_end().to_owned())
        .help_heading(opt.group.title());
    let Some(last) = opt.values.last() else {
        return arg.action(ArgAction::SetTrue);
    };
    arg = arg
        .action(ArgAction::Append)
        .value_names(opt.values.iter().copied());
    arg = arg.value_hint(match *last {
        "FILE" | "SOCKET" => ValueHint::FilePath,
        "DIR" => ValueHint::DirPath,
        "PATH" | "DEST" => ValueHint::AnyPath,
        _ => ValueHint::Other,
    });
    if !opt.choices.is_empty() {
        arg = arg.value_parser(PossibleValuesParser::new(opt.choices));
    }
    if opt.optional {
        arg.num_args(0..=1).require_equals(true)
    } else {
        arg.num_args(opt.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command as Process;

    #[test]
    fn the_table_makes_a_command_line_that_clap_accepts() {
        command().debug_assert();
    }

    #[test]
    fn the_man_page_renders_with_every_option() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run-sandbox.1");
        fs::write(&file, man_page().unwrap()).unwrap();
        if !repo::have("man") || !repo::have("groff") {
            skip("no man or no groff (packages man-db, groff-base)");
            return;
        }
        let output = Process::new("man")
            .args(["--warnings", "-E", "utf-8", "-l"])
            .arg(&file)
            .env("MANWIDTH", "100")
            .env("MAN_KEEP_FORMATTING", "")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace('\u{2010}', "-");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        for opt in OPTIONS {
            assert!(
                text.contains(&format!("--{}", opt.long[0])),
                "--{} in {text}",
                opt.long[0]
            );
        }
        for part in ["SYNOPSIS", "EXIT STATUS", "EXAMPLES", EXAMPLES[0].1] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn bash_completes_options_and_choices() {
        if !repo::have("bash") {
            skip("no bash");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("completion");
        fs::write(&file, completion(Shell::Bash)).unwrap();
        let complete = |words: &str, index: &str| {
            let script = format!(
                "compopt() {{ :; }}; source \"$0\"; COMP_WORDS=({words}); COMP_CWORD={index}; \
                 function=$(complete -p {NAME} | sed 's/.* -F \\([^ ]*\\) .*/\\1/'); \
                 \"$function\" {NAME} \"${{COMP_WORDS[{index}]}}\" \"${{COMP_WORDS[{index}-1]}}\"; \
                 echo \"${{COMPREPLY[@]}}\""
            );
            let output = Process::new("bash")
                .arg("-c")
                .arg(script)
                .arg(&file)
                .output()
                .unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{output:?}"
            );
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(complete("run-sandbox --read-", "1").trim(), "--read-only");
        assert_eq!(complete("run-sandbox --network sh", "2").trim(), "shared");
    }

    #[test]
    fn the_other_shells_know_every_option() {
        for shell in [Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(completion(shell)).unwrap();
            for opt in OPTIONS {
                assert!(text.contains(opt.long[0]), "{shell}: {}", opt.long[0]);
            }
        }
    }

    fn skip(reason: &str) {
        println!("SKIP: {reason}");
        assert!(
            std::env::var_os("SANDBOXLIB_MUST_WORK").is_none(),
            "{reason}"
        );
    }
}
