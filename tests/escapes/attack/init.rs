//! The first process of the sandbox, which belongs to the sandbox and not to the command.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::{Args, Attack, Attempt, Named as _, any_of, processes, sys};

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("init-trace", |args| {
        processes::trace_briefly(args.pid("init"))
    }),
    ("init-memory", memory),
    ("init-environ", environ),
    ("init-stop", stop),
];

/// Where things are in its memory, and what is there.
fn memory(args: &Args) -> Attempt {
    let init = args.pid("init");
    let maps = format!("/proc/{init}/maps");
    let mem = format!("/proc/{init}/mem");
    any_of([
        fs::read(&maps)
            .named(&maps)
            .map(|bytes| format!("read {} bytes of {maps}", bytes.len())),
        fs::File::options()
            .read(true)
            .write(true)
            .open(&mem)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(0x20_0000))?;
                let _ = file.read(&mut [0; 8]);
                Ok(())
            })
            .named(&mem)
            .map(|()| format!("opened {mem}")),
        sys::read_process(init, 0x20_0000, &mut [0; 8])
            .named("process_vm_readv")
            .map(|_| "read its memory".to_owned()),
    ])
}

fn environ(args: &Args) -> Attempt {
    let init = args.pid("init");
    any_of(
        ["environ", "auxv", "stack", "syscall", "cwd", "root", "exe"].map(|name| {
            let path = format!("/proc/{init}/{name}");
            let link = fs::read_link(&path).map(|target| target.display().to_string());
            link.or_else(|_| fs::read(&path).map(|bytes| format!("{} bytes", bytes.len())))
                .named(&path)
                .map(|found| format!("{path}: {found}"))
        }),
    )
}

/// Stops or ends it by any signal.
fn stop(args: &Args) -> Attempt {
    const SIGCHLD: usize = 17;
    let init = args.pid("init");
    if init <= 0 || (init == 1 && !args.own_processes()) {
        // The machine's own: nothing is tried, and whoever looks learns that it could be.
        return Ok("the first process is the host's".to_owned());
    }
    // Those that end it unless it is protected, and last those that cannot be blocked.
    for signal in (1..=64)
        .filter(|signal| ![9, SIGCHLD, 19].contains(signal))
        .chain([19, 9])
    {
        let _ = sys::kill(init, signal);
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    let path = format!("/proc/{init}/stat");
    let stat = fs::read_to_string(&path).named(&path)?;
    match stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next())
    {
        Some(state @ ('T' | 'Z' | 't' | 'X')) => Ok(format!("it is in state {state}")),
        _ => Err("it goes on".to_owned()),
    }
}
