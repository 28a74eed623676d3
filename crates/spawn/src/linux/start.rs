//! The parent's side of a start: everything the child needs is made here, before it is born.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;
use std::time::{Duration, Instant};

use sandboxlib_core::{FailedStep, IdRange, MapWriter, NamespaceSet, ProcessLimits, SpawnError};

use super::control::{Control, Word};
use super::dumpable::Dumpable;
use super::first::First;
use super::limits::{Groups, Monitor, Urgent, go_first, nice};
use super::lower::{Lowered, map_text, process_limits};
use super::ops::Call;
use super::order::Order;
use super::passing::{Moves, Passing, above, duplicate};
use super::poll::{self, Interest};
use super::pool::{Pool, was_gone};
use super::process::{Child, Host};
use super::setup::{self, Birth, Entry, Tail};
use super::stack::Stack;
use super::template::Template;
use super::terminal::Terminal;
use super::wire::{Message, kind};
use super::{Ready, init, raw};
use crate::ask::{From, ask};
use crate::prepared::no_first_process;
use crate::run::Run;
use crate::words::text;
use judge::{groups_error, judge};

/// Starts a command in a sandbox of its own: one that stands ready, if there is any that suits.
pub(super) fn start(ready: &Ready, pool: Option<&Pool>, run: &Run) -> Result<Child, SpawnError> {
    let (lowered, steps) = (&ready.lowered, &*ready.script.steps);
    let mut terminal = Terminal::new(run, lowered.ptmx.as_deref())?;
    let (passing, ends) = Passing::open(run, terminal.as_mut())?;
    let terminal = terminal.as_ref();
    if let Some(pool) = pool.filter(|_| !run.as_pid_1)
        && let Some(mut parked) = pool.take()
    {
        let order = order(lowered, steps, run, terminal, &passing.pairs()?)?;
        loop {
            match start_parked(parked, ready, &order, run, terminal) {
                // Somebody has killed it while it waited.
                Err(error) if was_gone(&error) => {}
                done => return done.map(|child| child.with(ends)),
            }
            match pool.take() {
                Some(next) => parked = next,
                None => break,
            }
        }
    }
    let top = run.fds.iter().map(|(_, to)| *to).max().unwrap_or(2).max(2);
    let moves = passing.moves(top)?;
    let (order, first);
    let then = if run.as_pid_1 {
        first = First::new(ready, run, &command_limits(lowered, steps, run)?)?;
        Then::Becomes(run, &first)
    } else {
        order = self::order(lowered, steps, run, terminal, &[])?;
        Then::Runs(run, &order)
    };
    let bearing = Bearing {
        lowered,
        steps,
        moves: &moves,
        top,
        then,
        single: true,
        terminal,
        via: None,
    };
    bear_by_template(ready, bearing).map(|child| child.with(ends))
}

/// Sets a sandbox up in which nothing runs yet: for a single command, which Landlock then restricts
/// by itself, or for many, which are restricted together.
pub(super) fn park(ready: &Ready, single: bool) -> Result<Child, SpawnError> {
    let moves = Passing::nowhere()?.moves(2)?;
    let bearing = Bearing {
        lowered: &ready.lowered,
        steps: &ready.script.steps,
        moves: &moves,
        top: 2,
        then: Then::Waits,
        single,
        terminal: None,
        via: None,
    };
    bear_by_template(ready, bearing)
}

/// Carries out the operations of a template, and gives the namespace of users, if it is a new one,
/// and that of mounts, in which they were carried out.
pub(super) fn found(
    lowered: &Lowered,
    steps: &[sandboxlib_core::Step],
) -> Result<(Option<OwnedFd>, OwnedFd), SpawnError> {
    let moves = Passing::nowhere()?.moves(2)?;
    let child = bear(&Bearing {
        lowered,
        steps,
        moves: &moves,
        top: 2,
        then: Then::Stops,
        single: true,
        terminal: None,
        via: None,
    })?;
    let namespace = |name: &str| {
        let file = fs::File::open(format!("/proc/{}/ns/{name}", child.id()));
        file.map(OwnedFd::from)
            .map_err(resources("a hold on a namespace"))
    };
    let user = lowered.namespaces.user.then(|| namespace("user"));
    Ok((user.transpose()?, namespace("mnt")?))
}

/// What becomes of a child when the sandbox is set up.
#[derive(Clone, Copy)]
enum Then<'a> {
    /// It is the init program, and this is its command.
    Runs(&'a Run, &'a Order),
    /// It becomes the command.
    Becomes(&'a Run, &'a First),
    /// It is the init program, and waits for commands.
    Waits,
    /// Nothing: it was for its mounts alone.
    Stops,
}

/// What a child is born with.
struct Bearing<'a> {
    lowered: &'a Lowered,
    steps: &'a [sandboxlib_core::Step],
    moves: &'a Moves,
    top: RawFd,
    then: Then<'a>,
    /// Whether it is for one command at most.
    single: bool,
    terminal: Option<&'a Terminal>,
    via: Option<&'a Template>,
}

/// From a template, where there is one and it can be entered.
fn bear_by_template(ready: &Ready, bearing: Bearing<'_>) -> Result<Child, SpawnError> {
    let template = ready.keeper.template(&ready.lowered, &ready.script.steps);
    if let Some(template) = template {
        let born = bear(&Bearing {
            lowered: &template.lowered,
            via: Some(&template),
            ..bearing
        });
        match born {
            Err(error)
                if matches!(error.step, FailedStep::Script { .. } | FailedStep::Clone(_)) =>
            {
                // Whatever it was, the long way does not need it.
                ready.keeper.give_up();
            }
            done => return done,
        }
    }
    bear(&bearing)
}

/// Starts the command of a sandbox that was set up before.
fn start_parked(
    mut child: Child,
    ready: &Ready,
    order: &Order,
    run: &Run,
    terminal: Option<&Terminal>,
) -> Result<Child, SpawnError> {
    child.begin_now();
    order
        .send(child.control(), None)
        .map_err(|error| SpawnError::new(FailedStep::Died, error))?;
    hear(
        &mut child,
        &ready.lowered,
        &ready.script.steps,
        Some(run),
        terminal,
    )?;
    Ok(child)
}

/// Starts one of many commands in a sandbox that was set up before, and stays.
pub(super) fn start_in(
    host: &Host,
    lowered: &Lowered,
    steps: &[sandboxlib_core::Step],
    run: &Run,
) -> Result<Child, SpawnError> {
    if run.as_pid_1 {
        return Err(no_first_process("the session has a first process"));
    }
    let mut terminal = Terminal::new(run, lowered.ptmx.as_deref())?;
    let (passing, ends) = Passing::open(run, terminal.as_mut())?;
    let terminal = terminal.as_ref();
    let order = order(lowered, steps, run, terminal, &passing.pairs()?)?;
    let (control, theirs) = Control::pair()?;
    order
        .send(host.control(), Some(&theirs))
        .map_err(|error| SpawnError::new(FailedStep::Session, error))?;
    drop(theirs);
    let mut child = Child::guest(host, control);
    hear(&mut child, lowered, steps, Some(run), terminal)?;
    Ok(child.with(ends))
}

fn order(
    lowered: &Lowered,
    steps: &[sandboxlib_core::Step],
    run: &Run,
    terminal: Option<&Terminal>,
    pairs: &[(RawFd, RawFd)],
) -> Result<Order, SpawnError> {
    let limits = command_limits(lowered, steps, run)?;
    let nice = lowered.tree.as_ref().map_or(0, |_| nice());
    let nice = u32::try_from(nice).unwrap_or(0);
    let terminal = terminal.map_or(c"", |terminal| &terminal.argument);
    let looks = lowered.tree.as_ref().is_some_and(Monitor::would_look);
    Ok(Order::new(run, &limits, nice, terminal, pairs)?.looks(looks))
}

/// The limits of each process of a command: its own, and those of the sandbox.
fn command_limits<'a>(
    lowered: &'a Lowered,
    steps: &[sandboxlib_core::Step],
    run: &Run,
) -> Result<Cow<'a, CStr>, SpawnError> {
    if run.limits == ProcessLimits::default() {
        let limits = lowered.limits.as_ref();
        return Ok(limits.map_or(c"", |(limits, _)| limits).into());
    }
    let sandboxs = steps.iter().find_map(|step| match step {
        sandboxlib_core::Step::ProcessLimits(limits) => Some(*limits),
        _ => None,
    });
    process_limits(&run.limits.and(sandboxs.unwrap_or_default())).map(Cow::Owned)
}

/// Has a sandbox set up, and its command started if there is one already.
fn bear(bearing: &Bearing<'_>) -> Result<Child, SpawnError> {
    let Bearing {
        lowered,
        steps,
        moves,
        top,
        then,
        single,
        terminal,
        via,
    } = *bearing;
    let waits = matches!(then, Then::Waits | Then::Stops);
    let first = match then {
        Then::Becomes(_, first) => Some(first),
        _ => None,
    };
    if !lowered.close_range {
        let source = io::Error::from_raw_os_error(libc::ENOSYS);
        return Err(SpawnError::new(FailedStep::Streams, source));
    }
    let init = init::program()?.as_raw_fd();
    // Where a number that is asked for is in the way, a duplicate above it stands in.
    let moved = if init > top {
        None
    } else {
        Some(duplicate(init, top)?)
    };
    let init = moved.as_ref().map_or(init, |fd| fd.as_raw_fd());
    let (control, theirs) = Control::pair()?;
    let theirs = above(theirs, top)?;
    let held = match &lowered.filter {
        Some(filter) => Some(duplicate(filter.file.as_raw_fd(), top)?),
        None => None,
    };
    let filter = held.as_ref().map(|fd| fd.as_raw_fd());
    let procfs_held = lowered.old.then(|| procfs(top)).transpose()?;
    let procfs = procfs_held.as_ref().map(|fd| fd.as_raw_fd());
    let host_proc = match via {
        Some(template) => Some(duplicate(template.procfs.as_raw_fd(), top)?),
        None => None,
    };
    let init_name = text(format!("self/fd/{init}"))?;
    let groups = match &lowered.tree {
        Some(tree) => Some(Groups::make(tree).map_err(|e| groups_error(lowered, steps, e))?),
        None => None,
    };
    let mut held_groups = Vec::new();
    for fd in groups.iter().flat_map(Groups::entrances) {
        held_groups.push(duplicate(fd, top)?);
    }
    let entrances: Vec<RawFd> = held_groups.iter().map(AsRawFd::as_raw_fd).collect();
    // Whatever it leads to, the number is taken.
    let place = duplicate(init, top)?;
    let later = place.as_raw_fd();
    let handled = lowered.wall().filter(|_| waits && single);
    let wall_place = match handled {
        Some(_) => Some(duplicate(init, top)?),
        None => None,
    };
    let wall = wall_place.as_ref().map(AsRawFd::as_raw_fd);
    let mut keep = vec![theirs.as_raw_fd(), init, later];
    keep.extend(wall);
    keep.extend(filter);
    keep.extend(procfs);
    keep.extend(host_proc.as_ref().map(AsRawFd::as_raw_fd));
    keep.extend(&entrances);
    keep.extend(
        moves
            .list
            .iter()
            .map(|(from, _)| *from)
            .filter(|fd| *fd > 2),
    );
    keep.sort_unstable();
    keep.dedup();
    let numbers = [
        theirs.as_raw_fd().to_string(),
        // 0 is a standard stream, and so never a filter.
        filter.unwrap_or(0).to_string(),
        lowered.filter.as_ref().map_or(0, |f| f.len()).to_string(),
        procfs.unwrap_or(0).to_string(),
        u32::from(waits).to_string(),
        later.to_string(),
        u32::from(waits && lowered.filter.as_ref().is_some_and(|f| f.leaves_init)).to_string(),
        wall.unwrap_or(0).to_string(),
        handled.unwrap_or(0).to_string(),
    ];
    let numbers: Vec<_> = numbers.into_iter().map(text).collect::<Result<_, _>>()?;
    let argv: Vec<*const u8> = std::iter::once(c"sandbox-init".as_ptr())
        .chain(numbers.iter().map(|number| number.as_ptr()))
        .map(<*const _>::cast)
        .chain([ptr::null()])
        .collect();
    let envp = [ptr::null()];
    let sources = vec![Cell::new(-1); lowered.slots];
    let birth = Birth {
        ops: &lowered.ops,
        sources: &sources,
        keep: &keep,
        later,
        wall,
        control: theirs.as_raw_fd(),
        init,
        groups: &entrances,
        filter,
        procfs,
        init_name: &init_name,
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        streams: &moves.list,
        host_proc: host_proc.as_ref().map(AsRawFd::as_raw_fd),
        first,
        stops: matches!(then, Then::Stops),
        tail: Tail::after(u32::try_from(steps.len()).unwrap_or(u32::MAX - 3)),
    };
    // Whether the child waits for this thread's word before all else.
    let awaits_maps = lowered.parent_maps.is_some();
    if let Then::Runs(_, order) = then
        && !awaits_maps
    {
        // Before there is anybody to read it, so that nobody waits until this thread runs again.
        let sent = order.send(&control, None);
        sent.map_err(resources("an order"))?;
    }
    let began = Instant::now();
    let stack = Stack::new()?;
    let _restored = lowered.changes_ids().then(Dumpable::keep);
    // From the moment when the command runs, there may be many who want a processor.
    let _urgent = lowered.tree.as_ref().and_then(|_| Urgent::new());
    let (pid, pidfd) = match via {
        Some(template) => {
            // Who becomes the command says nothing, and who is watched is watched from the start.
            let speaks = first.is_none() && lowered.tree.is_none() && !awaits_maps;
            clone_inside(template, &stack, &birth, speaks.then_some(&control))?
        }
        None => clone(lowered.namespaces, &stack, &birth)?,
    };
    let mut child = Child::new(pid, pidfd, control, began, lowered.namespaces.pid);
    if let (Some(tree), Some(groups)) = (&lowered.tree, groups) {
        child.watch(Monitor::new(
            tree,
            groups,
            &lowered.tmpfs,
            pid,
            first.is_some(),
        ));
        if first.is_none() {
            go_first(pid);
        }
    }
    drop(theirs);
    let told = write_maps(lowered, &mut child).and_then(|()| match then {
        Then::Runs(run, order) => {
            if awaits_maps {
                // Where it cannot be heard any more, the child has told why.
                let _ = order.send(child.control(), None);
            }
            hear(&mut child, lowered, steps, Some(run), terminal)
        }
        Then::Becomes(run, first) => hear_first(&mut child, lowered, steps, run, first),
        Then::Waits | Then::Stops => hear(&mut child, lowered, steps, None, None),
    });
    drop(held_groups);
    // Until here the child may use what this frame holds.
    if let Err(error) = told {
        // The stack and the strings must outlive the child's use of them.
        child.bury();
        return Err(error);
    }
    child.has_begun();
    Ok(child)
}

pub(super) fn resources(what: &'static str) -> impl Fn(io::Error) -> SpawnError {
    move |source| SpawnError::new(FailedStep::Resources(what), source)
}

/// The caller's procfs, for a start by name (`Birth::procfs`).
fn procfs(top: RawFd) -> Result<OwnedFd, SpawnError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    let options = options
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY);
    above(
        options.open("/proc").map_err(resources("/proc"))?.into(),
        top,
    )
}

/// All signals are blocked around clone: the child starts with this thread's mask, and must not
/// run the caller's handlers in the caller's memory.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Self {
        let mut old = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises `all`, pthread_sigmask reads it and initialises `old`;
        // neither can fail with these arguments.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
            Self(old.assume_init())
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the mask is the one that pthread_sigmask returned.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

fn clone_flags(set: NamespaceSet) -> i32 {
    let flag = |there: bool, flag: i32| if there { flag } else { 0 };
    flag(set.user, libc::CLONE_NEWUSER)
        | flag(set.mount, libc::CLONE_NEWNS)
        | flag(set.pid, libc::CLONE_NEWPID)
        | flag(set.ipc, libc::CLONE_NEWIPC)
        | flag(set.uts, libc::CLONE_NEWUTS)
        | flag(set.net, libc::CLONE_NEWNET)
        | flag(set.cgroup, libc::CLONE_NEWCGROUP)
}

fn clone(
    namespaces: NamespaceSet,
    stack: &Stack,
    birth: &Birth<'_>,
) -> Result<(u32, OwnedFd), SpawnError> {
    let flags = clone_flags(namespaces) | libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    let blocked = Blocked::all();
    // SAFETY: the stack is this start's own, and `birth` with all that it refers
    // to lives in the caller's frame; `start` keeps both until the child has executed the init
    // program, which it tells, or is dead, which `bury` waits for. setup::run does not return.
    let cloned = unsafe {
        raw::clone(
            raw::arg(flags),
            stack.top(),
            &raw mut pidfd,
            setup::run,
            ptr::from_ref(birth).cast_mut().cast(),
        )
    };
    drop(blocked);
    match cloned {
        // SAFETY: with CLONE_PIDFD the kernel has put a new descriptor there.
        Ok(pid) => Ok((u32::try_from(pid).unwrap_or(0), unsafe {
            OwnedFd::from_raw_fd(pidfd)
        })),
        Err(errno) => Err(SpawnError::new(
            FailedStep::Clone(namespaces),
            io::Error::from_raw_os_error(errno),
        )),
    }
}

/// The same in the namespaces of a template, from where the kernel copies the mounts.
///
/// A process cannot come back from another user namespace, so one is made for the way there. It
/// shares everything with the caller, and the child is the caller's own.
///
/// There is nothing to do for this thread until the child has something to say, or that process
/// cannot have it born: to be woken before costs both a part of what it takes to go there. With
/// `control` this thread waits for the child's word, and for a moment at most: where there is
/// none, whoever waits next finds out why.
fn clone_inside(
    template: &Template,
    stack: &Stack,
    birth: &Birth<'_>,
    control: Option<&Control>,
) -> Result<(u32, OwnedFd), SpawnError> {
    const MOMENT: Duration = Duration::from_millis(10);
    let namespaces = template.lowered.namespaces;
    let flags = clone_flags(namespaces) | libc::CLONE_VM | libc::CLONE_PIDFD | libc::CLONE_PARENT;
    let way = Stack::new()?;
    let entry = Entry {
        namespaces: template.entrance(),
        flags: raw::arg(flags),
        stack: stack.top(),
        birth,
        done: Cell::new(Err((Call::Enter, libc::ECHILD))),
    };
    let blocked = Blocked::all();
    let waits = control.map_or(libc::CLONE_VFORK, |_| 0);
    // SAFETY: the stack is memory that nobody else uses, and it and `entry` live in this frame,
    // which waits for the process; setup::enter does not return. For the child that it makes the
    // same holds as in `clone`.
    let made = unsafe {
        raw::clone(
            raw::arg(libc::CLONE_VM | libc::CLONE_FILES | waits),
            way.top(),
            ptr::null_mut(),
            setup::enter,
            ptr::from_ref(&entry).cast_mut().cast(),
        )
    };
    drop(blocked);
    let failed = |call: Call, errno| {
        let source = io::Error::new(
            io::Error::from_raw_os_error(errno).kind(),
            format!(
                "{}: {}",
                Call::name(call as u32),
                io::Error::from_raw_os_error(errno)
            ),
        );
        SpawnError::new(FailedStep::Clone(namespaces), source)
    };
    let way = made.map_err(|errno| failed(Call::Clone, errno))?;
    if let Some(control) = control {
        let mut interests = [Interest::read(control.0.as_raw_fd())];
        // Whatever it says to that, the process is waited for.
        let _ = poll::wait(-1, &mut interests, Some(MOMENT));
    }
    // No signal tells its end: it is waited for by its number alone.
    // SAFETY: waitpid with a number, and no status.
    unsafe {
        let way = libc::pid_t::try_from(way).unwrap_or(0);
        while libc::waitpid(way, ptr::null_mut(), libc::__WALL) < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
    match entry.done.get() {
        // SAFETY: with CLONE_PIDFD the kernel has made a new descriptor, in the table that the
        // process shared with this one, and nobody else knows it.
        Ok((pid, pidfd)) => Ok((u32::try_from(pid).unwrap_or(0), unsafe {
            OwnedFd::from_raw_fd(pidfd)
        })),
        Err((call, errno)) => Err(failed(call, errno)),
    }
}

/// Writes the id maps if that is the parent's part, and tells the child to go on.
fn write_maps(lowered: &Lowered, child: &mut Child) -> Result<(), SpawnError> {
    let Some((uids, gids, writer)) = &lowered.parent_maps else {
        return Ok(());
    };
    let pid = child.id();
    let written = match writer {
        MapWriter::Helpers {
            newuidmap,
            newgidmap,
        } => map_by_helper(newuidmap, pid, uids).and_then(|()| map_by_helper(newgidmap, pid, gids)),
        MapWriter::Parent | MapWriter::Child => {
            fs::write(format!("/proc/{pid}/uid_map"), map_text(uids))
                .and_then(|()| fs::write(format!("/proc/{pid}/gid_map"), map_text(gids)))
        }
    };
    written.map_err(|source| {
        let index = lowered.ops.first().map_or(0, |op| op.step as usize);
        let step = sandboxlib_core::Step::IdMap {
            uids: uids.clone(),
            gids: gids.clone(),
            writer: writer.clone(),
        };
        let step = Box::new(step);
        SpawnError::new(
            FailedStep::Script {
                index,
                step,
                detail: "write",
            },
            source,
        )
    })?;
    go_on(child)
}

fn go_on(child: &Child) -> Result<(), SpawnError> {
    child
        .control()
        .say(&Message::new(kind::GO))
        .map_err(resources("a word to the child"))
}

fn map_by_helper(program: &Path, pid: u32, ranges: &[IdRange]) -> io::Result<()> {
    let mut command = std::process::Command::new(program);
    command.arg(pid.to_string());
    for r in ranges {
        command.args([
            r.inside.to_string(),
            r.outside.to_string(),
            r.count.to_string(),
        ]);
    }
    // It may have to ask a directory service who somebody is.
    let (status, said) = ask(command, From::Stderr, Duration::from_secs(60))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let name = program.display();
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{name}: {}", said.trim()),
    ))
}

/// Waits for the child's word that the command runs, or why it does not.
///
/// Without a command it is the word that everything is set up for one.
fn hear(
    child: &mut Child,
    lowered: &Lowered,
    steps: &[sandboxlib_core::Step],
    run: Option<&Run>,
    terminal: Option<&Terminal>,
) -> Result<(), SpawnError> {
    let tail = Tail::after(u32::try_from(steps.len()).unwrap_or(u32::MAX - 3));
    let nothing = Run::new("");
    let run = run.unwrap_or(&nothing);
    loop {
        let (message, file) = word(child)?;
        match (message.kind, terminal) {
            (kind::TERMINAL, Some(terminal)) => {
                child.connect(terminal.opened(file)?);
                go_on(child)?;
            }
            _ => return judge(message, lowered, steps, run, tail),
        }
    }
}

/// The same of a child that becomes the command: it says nothing but which step failed, and when it
/// has executed the command its end of the socket is closed.
fn hear_first(
    child: &mut Child,
    lowered: &Lowered,
    steps: &[sandboxlib_core::Step],
    run: &Run,
    first: &First,
) -> Result<(), SpawnError> {
    let tail = Tail::after(u32::try_from(steps.len()).unwrap_or(u32::MAX - 3));
    let next = |child: &mut Child| child.first_word().map_err(resources("the control socket"));
    let mut word = next(child)?;
    // Held until the command runs.
    let later = match &mut word {
        Some((message, file)) if message.kind == kind::LATER => file.take(),
        _ => None,
    };
    if later.is_some() {
        word = next(child)?;
    }
    let failure = word.map(|(message, _)| message).or_else(|| first.failure());
    match failure {
        Some(message) => judge(message, lowered, steps, run, tail),
        None if !first.has_begun() => Err(died()),
        None => {
            child.is_the_command();
            Ok(())
        }
    }
}

fn died() -> SpawnError {
    SpawnError::new(
        FailedStep::Died,
        io::Error::other("it ended without a word"),
    )
}

/// The next word of the child, and the descriptor that came with it.
fn word(child: &mut Child) -> Result<Word, SpawnError> {
    match child.first_word() {
        Ok(Some(word)) => Ok(word),
        Ok(None) => {
            let mut error = died();
            if child.is_guest() {
                error.step = FailedStep::Session;
            }
            Err(error)
        }
        Err(error) => Err(resources("the control socket")(error)),
    }
}

mod judge;
#[cfg(test)]
mod properties;
