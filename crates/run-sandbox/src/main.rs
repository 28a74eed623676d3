//! The program run-sandbox: see README.md, and `run-sandbox --help`.
#![forbid(unsafe_code)]

mod bytes;
mod doctor;
mod explain;
mod file;
mod help;
mod image;
mod named;
mod options;
mod overlay;
mod parse;
mod render;
mod report;
mod session;
mod settings;
mod terminal;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use sandboxlib::core::{End, Outcome};
use sandboxlib::image::EventHandler;
use sandboxlib::spawn::SIGNALS_TO_FORWARD;
use sandboxlib::{Error, Limit, Overlay, Root, Sandbox, SandboxPath, Stdio};

use crate::parse::{Args, Format, Invocation};
use crate::render::Failure;
use crate::report::{More, Ran, Report, Target};
use crate::session::Place;
use crate::settings::{Caller, Run};

/// The status of a command whose time was up, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    if words.next_if(|word| word == image::worker::WORD).is_some() {
        return image::worker::main(words.collect());
    }
    let done = match parse::parse(words) {
        Ok(Invocation::Help { long }) => print(&help::help(long)),
        Ok(Invocation::Version) => print(&format!(
            "{} {}\n",
            options::NAME,
            env!("CARGO_PKG_VERSION")
        )),
        Ok(Invocation::Doctor(format)) => doctor(format),
        Ok(Invocation::List(format)) => list(format),
        Ok(Invocation::Cache { action, dir }) => overlay::cache(action, dir.as_deref())
            .map_err(Failure::from)
            .and_then(|text| print(&text)),
        Ok(Invocation::Apply { changes, target }) => overlay::apply(&changes, &target)
            .map_err(Failure::from)
            .and_then(|text| print(&text)),
        Ok(Invocation::Run(args)) => run(*args),
        Err(message) => Err(message.into()),
    };
    ExitCode::from(done.unwrap_or_else(|failure| {
        say_failure(&failure);
        failure.status()
    }))
}

/// Does what was asked for, and gives the exit status.
fn run(mut args: Args) -> Result<u8, Failure> {
    // Whether the report can be written is known before anything is run.
    let report = args
        .report
        .take()
        .map(|path| Target::open(&path))
        .transpose()?;
    let format = args.report_format;
    let result = match std::mem::take(&mut args.place) {
        Place::Own => run_or_explain(args, None),
        Place::Serve(socket) => run_or_explain(args, Some(&socket)),
        Place::In(socket) => run_in(args, &socket),
    };
    let Some(target) = report else {
        return result.map(|(status, _)| status);
    };
    let (content, result) = match result {
        Ok((status, Some(ran))) => (Report::finished(ran), Ok(status)),
        Ok((status, None)) => (Report::default(), Ok(status)),
        Err(failure) => (Report::failed(&failure), Err(failure)),
    };
    if let Err(e) = target.write(&content, format) {
        // The command has run, and its status is worth more.
        say(&format!("--report: cannot write: {}", settings::system(&e)));
    }
    result
}

/// Tells what works here. The status says whether anything can isolate fully.
fn doctor(format: Format) -> Result<u8, Failure> {
    let findings = sandboxlib::doctor();
    let text = match format {
        Format::Text => doctor::text(&findings),
        Format::Json => doctor::json(&findings)
            .map_err(|e| format!("cannot write the findings as JSON: {e}"))?,
    };
    print(&text)?;
    Ok(u8::from(!findings.can_isolate()))
}

/// Tells which sandboxes have a name.
fn list(format: Format) -> Result<u8, Failure> {
    let listed = named::Places::of_caller().list();
    let text = match format {
        Format::Text => named::text(&listed),
        Format::Json => {
            named::json(&listed).map_err(|e| format!("cannot write the list as JSON: {e}"))?
        }
    };
    print(&text)
}

type Finished = (u8, Option<Ran>);

/// Runs a command in a session that another process serves.
fn run_in(args: Args, socket: &Path) -> Result<Finished, Failure> {
    let wall = args.settings.limits.wall;
    let tell = |line: &str| {
        if args.verbose {
            say(line);
        }
    };
    let done = session::run(socket, args.settings, tell)?;
    let outcome = &done.ran.outcome;
    if done.session && !matches!(outcome.end, End::Exited(_)) {
        say("the session has ended; everything in it was killed");
    }
    say_limit(outcome, wall, "the command was killed");
    if args.verbose {
        say(&usage(outcome));
    }
    Ok((status(outcome), Some(done.ran)))
}

/// Serves a session until its end.
fn serve(
    prepared: sandboxlib::Prepared,
    run: Run,
    cwd: Option<SandboxPath>,
    socket: &Path,
) -> Result<Finished, Failure> {
    if run.config.limits.output.is_some() {
        let message = "a limit of output is about one command: give it to run-sandbox --in, not \
                       with --session";
        return Err(message.to_owned().into());
    }
    if run.as_pid_1 {
        return Err(session::HAS_PROCESS_1.to_owned().into());
    }
    let defaults = session::Defaults {
        environment: run.environment,
        cwd,
    };
    let done = session::serve(prepared, run.config, defaults, socket)?;
    let status = match (done.signal, done.outcome.end) {
        (Some(signal), _) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        (None, End::Limit(_)) => {
            say_limit(&done.outcome, None, KILLED_ALL);
            status(&done.outcome)
        }
        (None, _) => {
            say("the sandbox was killed");
            status(&done.outcome)
        }
    };
    let ran = Ran::new(&done.enforcement, done.outcome);
    Ok((status, Some(ran)))
}

/// Sets a sandbox up and runs the command, or serves a session on `socket`.
fn run_or_explain(mut args: Args, socket: Option<&Path>) -> Result<Finished, Failure> {
    if let Some(path) = &args.seccomp {
        args.settings.seccomp = Some(file::seccomp(path)?);
    }
    let places = named::Places::of_caller();
    let files = match (&args.config, &args.name) {
        (Some(path), _) => places.with_extended(None, file::read(path)?)?,
        (None, Some(name)) => places.with_extended(Some(name), places.find(name)?)?,
        (None, None) => named::Defined::default(),
    };
    let backend_is_from_file = args.settings.backend.is_none();
    let settings = args.settings.over(files.settings);
    // Whoever says it last is whom it is from.
    let says_backend = |file: &&file::ConfigFile| file.settings().backend.is_some();
    let file = files.files.iter().find(says_backend);
    let overlay_was_asked_for =
        settings.overlay == Some(true) || settings.overlay_changes.is_some();
    let (settings, mut image) = image::open(settings)?;
    let cwd = settings.cwd.clone();
    let mut run = settings::settle(settings, &Caller::current())?;
    if let Some(Overlay::Keep(dir)) = &run.config.overlay
        && args.explain.is_none()
    {
        overlay::make_directory(dir)?;
    }
    let may_copy = !overlay_was_asked_for && run.config.overlay.is_some();
    let copyable = image.as_mut().filter(|_| may_copy);
    let backends = run.backends.clone();
    let place = |error: Error| match (&error, file) {
        (Error::UnknownBackend { name, .. }, Some(file))
            if backend_is_from_file && !backends.is_empty() =>
        {
            // The library takes an underscore for a dash.
            let word = backends.iter().find(|word| word.replace('_', "-") == *name);
            let word = word.unwrap_or(name);
            Failure::Bad(format!("{}: {error}", file.place_of("backend", word)))
        }
        _ => Failure::from(error),
    };
    if let Some(format) = args.explain {
        let check = or_with_copy(&mut run, copyable, Sandbox::check)?;
        let mut check = check.map_err(place)?;
        if let Some(image) = &image {
            image.note(&mut check.enforcement);
        }
        let hidden = &check.enforcement.hidden;
        settings::check_directory(&run.config, run.callers_directory.as_ref(), hidden)?;
        let plan = match format {
            Format::Text => explain::text(&run, &check, image.as_ref()),
            Format::Json => explain::json(&run, &check, image.as_ref())
                .map_err(|e| format!("cannot write the plan as JSON: {e}"))?,
        };
        return Ok((print(&plan)?, None));
    }
    let prepared = or_with_copy(&mut run, copyable, Sandbox::prepare)?;
    let prepared = prepared.map_err(place)?;
    let mut enforcement = prepared.enforcement().clone();
    if let Some(image) = &image {
        image.note(&mut enforcement);
        image.warnings().for_each(|line| say(&line));
    }
    if args.verbose {
        say(&format!("backend: {}", enforcement.backend));
        image
            .iter()
            .flat_map(|i| i.lines())
            .for_each(|line| say(&line));
        explain::enforcement(&enforcement)
            .iter()
            .for_each(|line| say(line));
    }
    let handlers = image.as_ref().map_or(&[][..], |image| &image.handlers);
    if let Some(socket) = socket {
        if !handlers.is_empty() {
            let message = "the image has event handlers, which are about one command, and                            --session serves many: run it without --session";
            return Err(message.to_owned().into());
        }
        return serve(prepared, run, cwd, socket);
    }
    let hidden = &prepared.enforcement().hidden;
    settings::check_directory(&run.config, run.callers_directory.as_ref(), hidden)?;
    handle("pre-start", handlers, &prepared, &run)?;
    let outcome = start_and_wait(&prepared, &run)?;
    if let Err(failure) = handle("post-stop", handlers, &prepared, &run) {
        say_failure(&failure);
    }
    say_limit(&outcome, run.config.limits.wall, KILLED_ALL);
    if args.verbose {
        say(&usage(&outcome));
    }
    let mut more = More {
        image: image.as_ref().map(Into::into),
        changes: None,
    };
    let kept = matches!(run.config.overlay, Some(Overlay::Keep(_)));
    let thrown_away = image.as_ref().is_some_and(|i| i.has_scratch());
    if kept && !thrown_away {
        let changes = prepared.changes().map_err(place)?;
        changes.list().iter().for_each(|c| say(&overlay::line(c)));
        more.changes = Some(changes.list().iter().map(Into::into).collect());
    }
    let mut ran = Ran::new(&enforcement, outcome);
    ran.more = more;
    Ok((status(&ran.outcome), Some(ran)))
}

/// Does `what` with the sandbox of a run. If that fails because this host has no layer to lay over
/// the root of `image`, the root is a copy of it that the run may write to.
fn or_with_copy<T>(
    run: &mut Run,
    image: Option<&mut image::Opened>,
    what: impl Fn(&Sandbox) -> Result<T, Error>,
) -> Result<Result<T, Error>, Failure> {
    let done = what(&sandbox(run));
    let (Err(error), Some(image)) = (&done, image) else {
        return Ok(done);
    };
    if !image::is_about_overlay(error) {
        return Ok(done);
    }
    run.config.root = Root::Dir(image.copied()?);
    (run.config.overlay, run.config.root_access) = (None, None);
    Ok(what(&sandbox(run)))
}

fn sandbox(run: &Run) -> Sandbox {
    let sandbox = Sandbox::from_config(run.config.clone());
    if run.backends.is_empty() {
        return sandbox;
    }
    sandbox.backends(run.backends.iter().cloned())
}

/// Runs the programs that the image names for `event`, like the command and one after another.
fn handle(
    event: &str,
    handlers: &[EventHandler],
    prepared: &sandboxlib::Prepared,
    run: &Run,
) -> Result<(), Failure> {
    for handler in handlers.iter().filter(|handler| handler.name == event) {
        let mut words = image::words(handler).into_iter();
        let Some(program) = words.next() else {
            continue;
        };
        let run = Run {
            program,
            arguments: words.collect(),
            ..run.clone()
        };
        let ended = status(&start_and_wait(prepared, &run)?);
        if ended != 0 {
            return Err(format!("the image's {event} ended with status {ended}").into());
        }
    }
    Ok(())
}

const KILLED_ALL: &str = "everything in the sandbox was killed";

/// Says which limit ended it, if one did, and what came of that.
fn say_limit(outcome: &Outcome, wall: Option<Duration>, then: &str) {
    match (outcome.end, wall) {
        (End::Limit(Limit::Wall), Some(time)) => {
            say(&format!("the time of {time:?} was up; {then}"));
        }
        (End::Limit(limit), _) => say(&format!("the limit of {limit} was reached; {then}")),
        _ => {}
    }
}

/// What a run takes that is worth being small for.
const LONG: Duration = Duration::from_millis(200);

fn start_and_wait(prepared: &sandboxlib::Prepared, run: &Run) -> Result<Outcome, Failure> {
    let mut command = prepared.command(&run.program);
    command.args(&run.arguments);
    command.cwd(run.directory.clone());
    for (name, value) in &run.environment {
        command.env(name, value);
    }
    if run.as_pid_1 {
        command.as_pid_1();
    }
    let counts_output = run.config.limits.output.is_some();
    if run.tty {
        terminal::give(&mut command, counts_output)?;
    } else if counts_output {
        command.stdout(Stdio::Piped).stderr(Stdio::Piped);
    }
    sandboxlib::spawn::shed_program_pages_after(LONG);
    // From here on no signal is lost: it waits until there is a command to give it to.
    sandboxlib::spawn::block_signals(SIGNALS_TO_FORWARD)
        .map_err(|e| format!("cannot block signals: {}", settings::system(&e)))?;
    let mut child = command.spawn()?;
    Ok(if run.tty {
        child.wait_interactive(SIGNALS_TO_FORWARD)?
    } else if counts_output {
        child.wait_relaying(SIGNALS_TO_FORWARD)?
    } else {
        child.wait_forwarding(SIGNALS_TO_FORWARD)?
    })
}

/// The exit status that tells how the command ended.
fn status(outcome: &Outcome) -> u8 {
    const KILLED: i32 = 9;
    let from_signal = |number: i32| u8::try_from(128 + number).unwrap_or(u8::MAX);
    let from_code = |code: i32| u8::try_from(code & 0xff).unwrap_or(u8::MAX);
    match outcome.end {
        End::Exited(status) => from_code(status),
        End::Signalled(number) => from_signal(number),
        End::Limit(Limit::Wall) => TIMED_OUT,
        // One that came to a limit was no success, whatever it says.
        End::Limit(_) => match (outcome.exit_code, outcome.signal) {
            (Some(code), _) if code != 0 => from_code(code),
            (_, Some(number)) => from_signal(number),
            _ => from_signal(KILLED),
        },
        _ => from_signal(KILLED),
    }
}

/// What a run used, in one line.
fn usage(outcome: &Outcome) -> String {
    let end = match outcome.end {
        End::Exited(status) => format!("exit status {status}"),
        End::Signalled(number) => format!("ended by signal {number}"),
        End::Limit(Limit::Wall) => "timed out".to_owned(),
        End::Limit(limit) => format!("ended by the limit of {limit}"),
        _ => "killed".to_owned(),
    };
    let seconds = |time: std::time::Duration| format!("{:.3} s", time.as_secs_f64());
    let memory = outcome.peak_memory.map_or(String::new(), |bytes| {
        format!(", peak memory {} KiB", bytes.div_ceil(1024))
    });
    format!(
        "{end} after {}, {} of it in user mode and {} in the kernel{memory}",
        seconds(outcome.wall),
        seconds(outcome.user),
        seconds(outcome.system)
    )
}

fn say_failure(failure: &Failure) {
    failure.message().iter().for_each(|line| say(line));
    for hint in failure.hints() {
        say(&format!("hint: {hint}"));
    }
}

/// Prints a message of this program. Where it cannot be printed there is nobody to tell.
fn say(message: &str) {
    let text = format!("{}: {}\n", options::NAME, bytes::line(message));
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints what was asked for. A reader that has seen enough is no failure.
fn print(text: &str) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    match out
        .write_all(bytes::lines(text).as_bytes())
        .and_then(|()| out.flush())
    {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {}", settings::system(&e)).into())
        }
        _ => Ok(0),
    }
}
