//! Compiles the probe, which the library carries.
//!
//! By the same compiler as everything else, for the target at hand: static, without libc, so that
//! it runs in an empty root. Where that does not work, the library is built without it and the
//! suite says so when it is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=probe");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("probe");
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let known = os == "linux" && ["aarch64", "x86_64"].contains(&arch.as_str());
    let mut why = "";
    if !known {
        // It makes the system calls of Linux by bare instructions, and what it looks at, such as
        // mounts and namespaces, is Linux' too.
        why = "the probe is a program for Linux on x86-64 and 64-bit ARM";
    } else if !compile(&out) {
        why = "the probe could not be compiled";
        println!("cargo::warning={why}: every case will be skipped");
    }
    if !why.is_empty() {
        let _ = fs::write(&out, []);
    }
    println!("cargo::rustc-env=SANDBOXLIB_NO_PROBE={why}");
}

fn compile(out: &Path) -> bool {
    let host = env::var("HOST").unwrap_or_default();
    let target = env::var("TARGET").unwrap_or_default();
    // A foreign object needs a linker that knows it; rustc brings one for every target. It also
    // stands in where there is no C compiler.
    let native: &[&str] = &[];
    let own: &[&str] = &["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"];
    let ways = if target == host {
        [native, own]
    } else {
        [own, native]
    };
    ways.iter().any(|linker| rustc(out, &target, linker))
}

fn rustc(out: &Path, target: &str, linker: &[&str]) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command
        .args([
            "--edition=2024",
            "--crate-name=sandboxlib_probe",
            "--crate-type=bin",
        ])
        .args([
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Crelocation-model=static",
        ])
        .args(["-Coverflow-checks=off", "-Cdebuginfo=0", "-Cstrip=symbols"])
        .args(["-Clink-arg=-nostdlib", "-Clink-arg=-static"])
        .args(linker)
        .args(["--target", target, "-o"])
        .arg(out)
        .arg("probe/main.rs");
    if linker.is_empty() {
        command.arg("-Clink-arg=-nostartfiles");
    }
    command.status().is_ok_and(|status| status.success())
}
