//! Compiles the init program, which the library carries.
//!
//! It is built by the same compiler as everything else, from src/init/main.rs, for the target at
//! hand: static, without libc, a few kilobytes. Where the target's core library is not at hand
//! (`cargo check` for another system), the library is built without it and says so when a
//! sandbox is started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const SOURCES: &[&str] = &[
    "src/init/main.rs",
    "src/init/support.rs",
    "src/init/exec.rs",
    "src/init/command.rs",
    "src/init/limits.rs",
    "src/init/order.rs",
    "src/init/terminal.rs",
    "src/linux/fresh.rs",
    "src/linux/pass.rs",
    "src/linux/raw.rs",
    "src/linux/reopen.rs",
    "src/linux/raw_aarch64.rs",
    "src/linux/raw_x86_64.rs",
    "src/linux/wire.rs",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("init");
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let host = env::var("HOST").unwrap_or_default();
    let target = env::var("TARGET").unwrap_or_default();
    // Without libc it is the same program for every Linux target of a processor (musl for one).
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let host_will_do = host.starts_with(&format!("{arch}-")) && host.contains("-linux-");
    let compiled = os == "linux"
        && (compile(&out, &target, &host) || (host_will_do && compile(&out, &host, &host)));
    if !compiled {
        if os == "linux" {
            println!("cargo::warning=the init program cannot be built for this target");
        }
        let _ = fs::write(&out, []);
    }
}

fn compile(out: &Path, target: &str, host: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command
        .args([
            "--edition=2024",
            "--crate-name=sandbox_init",
            "--crate-type=bin",
        ])
        .args([
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Crelocation-model=static",
        ])
        .args(["-Coverflow-checks=off", "-Cdebuginfo=0", "-Cstrip=symbols"])
        .args(["-Aunused", "--target", target, "-o"])
        .arg(out)
        .arg("src/init/main.rs");
    if target == host {
        command.args([
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-static",
            "-Clink-arg=-Wl,--build-id=none",
            "-Clink-arg=-Wl,-z,noexecstack",
        ]);
    } else {
        // A foreign object needs a linker that knows it; rustc brings one for every target. It
        // is no compiler, so it takes its options bare.
        command.args([
            "-Clinker=rust-lld",
            "-Clinker-flavor=ld.lld",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-static",
            "-Clink-arg=--build-id=none",
            "-Clink-arg=-znoexecstack",
        ]);
    }
    command.status().is_ok_and(|status| status.success())
}
