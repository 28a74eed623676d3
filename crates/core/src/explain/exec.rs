//! What comes last: the working directory and the programs.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sandboxlib_config::SandboxPath;

use super::errno::{EACCES, EAGAIN, EINVAL, ELOOP, ENOENT, ENOSYS, ENOTDIR, EPERM, ETXTBSY};
use super::{Diagnosis, Hints, birth, confinement, no_such_call, seccomp};
use crate::{ExecProblem, Knob};

pub(super) fn working_directory(out: &mut Hints, path: &SandboxPath, errno: i32) {
    let knob = Knob::Path(path.as_path().to_owned());
    match errno {
        ENOENT => out.add(
            knob,
            format!(
                "make {path:?} in the root, bind it, or choose another working directory: it does not \
                 exist inside the sandbox"
            ),
        ),
        ENOTDIR => out.add(
            knob,
            format!("choose another working directory: {path:?} is or leads through what is no directory"),
        ),
        ELOOP => out.add(
            knob,
            format!("choose another working directory: {path:?} leads through links that go round in circles"),
        ),
        EACCES => out.add(
            knob,
            format!(
                "let the sandbox's user enter {path:?}: it and every directory above need search \
                 permission, and it must not be masked"
            ),
        ),
        _ => {}
    }
}

pub(super) fn command(
    out: &mut Hints,
    program: &Path,
    problem: &ExecProblem,
    errno: i32,
    d: &Diagnosis,
) {
    match problem {
        ExecProblem::NotFound => not_found(out, program),
        ExecProblem::NotExecutable => not_executable(out, program, d),
        ExecProblem::InterpreterMissing(path) => interpreter_missing(out, path),
        ExecProblem::LoaderMissing(path) => loader_missing(out, path),
        ExecProblem::BadFormat => bad_format(out, program, d),
        ExecProblem::TooLong => out.add(
            Knob::Request("arguments and environment"),
            "pass fewer or shorter arguments and variables (a file of arguments, xargs): one may \
             have 128 KiB, and all together a quarter of the stack limit (`ulimit -s`)",
        ),
        ExecProblem::Other => match errno {
            EACCES => not_executable(out, program, d),
            // A program whose file capabilities count whether it knows of them or not is not
            // started with fewer.
            EPERM => {
                out.add(
                    Knob::Capability("file capabilities"),
                    "if the program has file capabilities (`getcap`), let the sandbox keep them, \
                     or take them off a copy (`setcap -r`)",
                );
                if d.filtered {
                    seccomp(out, "execve");
                }
                confinement(out, d);
            }
            ETXTBSY => out.add(
                Knob::Path(program.to_owned()),
                "somebody still has the program open for writing: close it before",
            ),
            ELOOP => out.add(
                Knob::Path(program.to_owned()),
                "the program's path leads through links, or its interpreter through interpreters, \
                 that go round in circles",
            ),
            EAGAIN => birth::too_many_processes(out),
            ENOSYS => no_such_call(out, "execveat", d),
            _ => {}
        },
    }
}

fn not_found(out: &mut Hints, program: &Path) {
    let name = program.to_string_lossy();
    let advice = if name.contains('/') {
        format!("install {program:?} in the root, or bind it: it is looked for inside")
    } else {
        format!("install {program:?} in the root, or bind it: it is looked for along PATH inside")
    };
    out.add(
        Knob::Program {
            name: Cow::Owned(name.into_owned()),
            package: None,
        },
        advice,
    );
}

fn not_executable(out: &mut Hints, program: &Path, d: &Diagnosis) {
    if d.mounted_with("noexec") {
        out.add(
            Knob::Mount(Cow::Borrowed("noexec")),
            "the program is on a file system mounted noexec: mount it with exec, or put the root \
             elsewhere",
        );
        return;
    }
    out.add(
        Knob::Path(program.to_owned()),
        if d.mount_options.is_some() {
            "make it an executable file (`chmod +x`), also the interpreter that it names, and let \
             the sandbox's user search the directories on the way"
        } else {
            "make it an executable file (`chmod +x`), also the interpreter that it names, let the \
             sandbox's user search the directories on the way, and have no file system there \
             mounted noexec"
        },
    );
    confinement(out, d);
}

fn interpreter_missing(out: &mut Hints, path: &Path) {
    if path.as_os_str().as_bytes().ends_with(b"\r") {
        out.add(
            Knob::Path(path.to_owned()),
            "the script has DOS line ends, and the name of its interpreter ends in one: convert it \
             (`dos2unix`)",
        );
        return;
    }
    let package = match path.file_name().map(OsStrExt::as_bytes) {
        Some(b"sh" | b"dash") => Some("dash"),
        Some(b"bash") => Some("bash"),
        Some(b"env") => Some("coreutils"),
        Some(b"perl") => Some("perl"),
        Some(b"python3") => Some("python3"),
        Some(b"make") => Some("make"),
        Some(b"awk") => Some("mawk"),
        Some(b"tclsh") => Some("tcl"),
        Some(b"ruby") => Some("ruby"),
        _ => None,
    };
    let name = path.to_string_lossy().into_owned();
    let advice =
        format!("install {path:?} in the root, or bind it, or let the script name another");
    out.add(
        Knob::Program {
            name: Cow::Owned(name),
            package,
        },
        advice,
    );
}

fn loader_missing(out: &mut Hints, path: &Path) {
    let file = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    let package = if file.starts_with(b"ld-musl-") {
        Some("musl")
    } else if file == b"ld-linux.so.2" {
        Some("libc6-i386")
    } else if file.starts_with(b"ld-linux") {
        Some("libc6")
    } else {
        None
    };
    let name = path.to_string_lossy().into_owned();
    let advice = if path.starts_with("/nix/store") || path.starts_with("/gnu/store") {
        "bind the store that the program was built for, or use a program of the root's own"
            .to_owned()
    } else {
        format!(
            "install the C library with {path:?} in the root, bind the directories of libraries \
             that hold it (such as /lib and /lib64), or use a statically linked program"
        )
    };
    out.add(
        Knob::Program {
            name: Cow::Owned(name),
            package,
        },
        advice,
    );
}

fn bad_format(out: &mut Hints, program: &Path, d: &Diagnosis) {
    let qemu = |name: &str| Knob::Program {
        name: Cow::Owned(format!("qemu-{name}")),
        package: Some("qemu-user-static"),
    };
    match d.foreign {
        Some("i386") => {
            out.add(
                Knob::KernelConfig("CONFIG_IA32_EMULATION"),
                "use a kernel that runs programs of 32-bit x86, or a 64-bit program",
            );
            out.add(qemu("i386"), "or have qemu-user run it (binfmt_misc)");
        }
        Some(machine) => out.add(
            qemu(machine),
            format!("the program is for {machine}: have qemu-user run it (binfmt_misc, flag F)"),
        ),
        None => {
            out.add(
                Knob::Path(program.to_owned()),
                "if it is a script, let it begin with `#!` and an interpreter; if not, see whether \
                 it is whole (`file`)",
            );
            out.add(
                qemu("user"),
                "if it is a program for another processor, have qemu-user run it (binfmt_misc, \
                 flag F)",
            );
        }
    }
}

/// Making the memory and files of the run, and starting the library's own first process.
pub(super) fn own_program(out: &mut Hints, errno: i32, d: &Diagnosis) {
    const SWITCH: &str = "vm.memfd_noexec";
    match errno {
        EACCES if d.setting_is(SWITCH, |n| n >= 1) => {
            out.sysctl(
                d,
                SWITCH,
                "0",
                "allow programs in memory, which start the sandbox",
            );
        }
        EACCES => confinement(out, d),
        EPERM => {
            if d.filtered {
                seccomp(out, "");
            }
            confinement(out, d);
        }
        ENOSYS if d.filtered => seccomp(out, ""),
        EAGAIN => birth::too_many_processes(out),
        _ => {}
    }
}

pub(super) fn helper(out: &mut Hints, path: &Path, errno: i32, d: &Diagnosis) {
    let name = path.to_string_lossy();
    match errno {
        ENOENT => {
            let package = match path.file_name().map(OsStrExt::as_bytes) {
                Some(b"newuidmap" | b"newgidmap") => Some("uidmap"),
                Some(b"linux-user-chroot") => Some("linux-user-chroot"),
                Some(b"bwrap") => Some("bubblewrap"),
                _ => None,
            };
            let advice = format!("install {path:?}, or have it on the PATH of the caller");
            out.add(
                Knob::Program {
                    name: Cow::Owned(name.into_owned()),
                    package,
                },
                advice,
            );
        }
        EACCES => {
            if d.mounted_with("noexec") {
                out.add(
                    Knob::Mount(Cow::Borrowed("noexec")),
                    format!(
                        "mount the file system that {path:?} is on with exec: it is mounted noexec"
                    ),
                );
            } else {
                out.add(
                    Knob::Path(path.to_owned()),
                    format!("let the caller execute {path:?} (permissions of the file and of the directories above)"),
                );
                confinement(out, d);
            }
        }
        EPERM => {
            if d.no_new_privs {
                out.add(
                    Knob::Request("no_new_privs"),
                    format!(
                        "the caller runs with no_new_privs, so {path:?} gains no privilege: start it \
                         without (NoNewPrivileges= in a systemd unit)"
                    ),
                );
            }
            if d.mounted_with("nosuid") {
                out.add(
                    Knob::Mount(Cow::Borrowed("nosuid")),
                    format!(
                        "mount the file system that {path:?} is on with suid: it is mounted nosuid, so \
                         the program gains no privilege"
                    ),
                );
            }
            confinement(out, d);
        }
        EAGAIN => birth::too_many_processes(out),
        _ => {}
    }
}

/// Loading the system call filter.
pub(super) fn filter(out: &mut Hints, errno: i32, d: &Diagnosis) {
    if d.filtered && matches!(errno, EPERM | EACCES | ENOSYS) {
        seccomp(out, "seccomp");
    }
    if matches!(errno, EINVAL | ENOSYS) {
        out.add(
            Knob::KernelConfig("CONFIG_SECCOMP_FILTER"),
            "use a kernel with system call filters, or do without one: this one has none",
        );
    }
}

/// A child that was killed from outside.
pub(super) fn died(out: &mut Hints, d: &Diagnosis) {
    if d.filtered {
        seccomp(out, "");
    }
    out.add(
        Knob::Limit("memory"),
        "see the kernel's log (`journalctl -k`, `dmesg`) for a process killed for want of memory, \
         and raise the limit of the control group",
    );
}
