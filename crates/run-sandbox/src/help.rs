//! `--help` and `-h`, out of the table of options.

use crate::options::words::{ABOUT, DESCRIPTION, EXAMPLES, EXIT_STATUS, USAGE};
use crate::options::{Group, NAME, OPTIONS, Opt};

/// The columns of a terminal that texts for people fill.
pub(crate) const WIDTH: usize = 80;

/// The help text; the long one explains, the short one reminds.
pub(crate) fn help(long: bool) -> String {
    let mut out = format!("{NAME}: {ABOUT}\n\nUsage: {USAGE}\n");
    if long {
        for paragraph in DESCRIPTION {
            out.push('\n');
            wrap(&mut out, paragraph, 0);
        }
    }
    for group in Group::ALL {
        out.push_str(&format!("\n{}:\n", group.title()));
        for opt in OPTIONS.iter().filter(|opt| opt.group == *group) {
            let call = call(opt);
            if long {
                out.push_str(&format!("  {call}\n"));
                wrap(&mut out, &sentences(opt), 8);
            } else if call.len() < 26 {
                let one = format!("{call:26}{}", opt.help);
                wrap_hanging(&mut out, &one, 2, 28);
            } else {
                out.push_str(&format!("  {call}\n"));
                wrap(&mut out, opt.help, 28);
            }
        }
    }
    if long {
        out.push_str("\nExit status:\n");
        for (status, meaning) in EXIT_STATUS {
            out.push_str(&format!("  {status:<7} {meaning}\n"));
        }
        out.push_str("\nExamples:\n");
        for (what, command) in EXAMPLES {
            wrap(&mut out, &format!("{what}:"), 2);
            out.push_str(&format!("    {command}\n"));
        }
    } else {
        out.push_str("\n--help tells more about each.\n");
    }
    out
}

/// How an option is called, with all of its names.
fn call(opt: &Opt) -> String {
    let mut names: Vec<String> = opt.short.iter().map(|short| format!("-{short}")).collect();
    // The name that messages use stands last, next to the value.
    names.extend(opt.long.iter().rev().map(|long| format!("--{long}")));
    let mut call = names.join(", ");
    for value in opt.values {
        call.push_str(&match opt.optional {
            true => format!("[={value}]"),
            false => format!(" {value}"),
        });
    }
    call
}

fn sentences(opt: &Opt) -> String {
    let mut text = format!("{}.", capitalised(opt.help));
    if !opt.choices.is_empty() {
        text.push_str(&format!(
            " {}: {}.",
            opt.values.join(" "),
            opt.choices.join(", ")
        ));
    }
    if !opt.more.is_empty() {
        text.push(' ');
        text.push_str(opt.more);
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Adds `text` in lines that are indented and short enough.
pub(crate) fn wrap(out: &mut String, text: &str, indent: usize) {
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.len() <= WIDTH {
            out.push(' ');
            column += 1;
        } else {
            if column > 0 {
                out.push('\n');
            }
            out.push_str(&" ".repeat(indent));
            column = indent;
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
}

/// The same for text whose first line already fills the columns up to `hanging`.
fn wrap_hanging(out: &mut String, text: &str, indent: usize, hanging: usize) {
    let (first, rest) = text.split_at(hanging - indent);
    let mut lines = String::new();
    wrap(&mut lines, rest, hanging);
    out.push_str(&" ".repeat(indent));
    out.push_str(first);
    out.push_str(lines.trim_start());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_terminal_and_leaves_nothing_out() {
        for long in [false, true] {
            let text = help(long);
            for line in text.lines() {
                assert!(line.len() <= WIDTH, "{line}");
                assert_eq!(line, line.trim_end());
            }
            for opt in OPTIONS {
                for name in opt.long {
                    assert!(text.contains(&format!("--{name}")), "{name}");
                }
            }
        }
        for (status, _) in EXIT_STATUS {
            assert!(help(true).contains(status));
        }
    }

    #[test]
    fn the_beginning_of_the_short_help() {
        let text = help(false);
        let begin = "\
run-sandbox: run a command with its own root, mounts and network

Usage: run-sandbox [OPTIONS] SANDBOX [--] [COMMAND [ARG]...]

Files:
  --read-only               let nothing below the root be changed
  --writable PATH           let PATH be changed after all
  --bind SRC DEST           show SRC of the host at DEST, writable
";
        assert!(text.starts_with(begin), "{text}");
        assert!(
            text.contains("\n  -e, --executor, --backend NAME\n"),
            "{text}"
        );
        assert!(
            text.contains("\n  --explain[=FORMAT]        show all"),
            "{text}"
        );
    }
}
