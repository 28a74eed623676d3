//! The least that a spawn with a root of its own can cost on this kernel: a yardstick for
//! `cargo xtask bench`, which builds and drives it, and no sandbox to be used.
//!
//! `floor LETTERS [--root DIR] [--at DIR] [--bind SOURCE TARGET]... [--heap MIB] PROGRAM`
//!
//! | letter | what is done |
//! |---|---|
//! | `u` `m` `p` `i` `t` `n` | a user, mount, process id, IPC, UTS, network namespace of its own |
//! | `R` | the tree at `--root` (`/` without it), read-only, as the root, with `/dev`, a tmpfs at `/tmp` and, with `p`, `/proc`. It is put together at `--at`, which has to be another place if the root is `/` |
//! | `l` | the loopback interface of the network namespace is up |
//! | `v` | the child shares the caller's memory, and the caller stands until it executes |
//! | `s` | nothing of all this: posix_spawn(3), as a program without any sandbox would |
//!
//! The program is the first process of its process id namespace: there is no init. Nothing is
//! checked, hardened, reported or cleaned up, so whoever does any of it has to be slower.
//!
//! It does no more than it is told: [`told`] says how.
#![allow(
    clippy::print_stderr,
    reason = "a program of the benchmark's, which says why it stops"
)]

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod told;

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    let done = linux::main();
    #[cfg(not(target_os = "linux"))]
    let done: Result<(), &str> = Err("there are no namespaces here");
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
