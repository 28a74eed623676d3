//! `cargo xtask lint`: what a change must pass before it is looked at.

use crate::{Result, repo, tidy};

pub(crate) fn main() -> Result {
    repo::run(repo::cargo().args(["fmt", "--all", "--check"]))?;
    repo::run(repo::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-Dwarnings",
    ]))?;
    repo::run(
        repo::cargo()
            .args(["doc", "--workspace", "--all-features", "--no-deps"])
            .env("RUSTDOCFLAGS", "-Dwarnings"),
    )?;
    tidy::main()
}
