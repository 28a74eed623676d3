//! The program under test.

use std::path::PathBuf;
use std::process::Command;

/// It is where RUN_SANDBOX says, for a user who cannot look into the checkout; else where cargo
/// has put it.
pub(crate) fn run_sandbox() -> Command {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_run-sandbox"));
    Command::new(std::env::var_os("RUN_SANDBOX").map_or_else(built, PathBuf::from))
}
