//! Compiles the attack program, which the library carries.
//!
//! By the same compiler as everything else: static, so that it runs in a root with nothing else
//! in it. Where that does not work the library is built without it, and the suite says so.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=attack");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("attack");
    let target = env::var("TARGET").unwrap_or_default();
    let known = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux")
        && env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|a| a == "x86_64" || a == "aarch64");
    let compiled = known && {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        Command::new(rustc)
            .args(["--edition=2024", "--crate-name=sandboxlib_attack"])
            .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"])
            .args(["-Ctarget-feature=+crt-static", "--target", &target, "-o"])
            .arg(&out)
            .arg("attack/main.rs")
            .status()
            .is_ok_and(|status| status.success())
    };
    if !compiled {
        println!("cargo::warning=the attack program cannot be built here: nothing will be tried");
        let _ = fs::write(&out, []);
    }
}
