//! The program under test.

use std::path::PathBuf;
use std::process::Command;

/// It is where RUN_SANDBOX says, for a user who cannot look into the checkout; else where cargo
/// has put it.
pub(crate) fn run_sandbox() -> Command {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_run-sandbox"));
    let program = std::env::var_os("RUN_SANDBOX").map_or_else(built, PathBuf::from);
    let mut command = Command::new(program);
    // The checkout may be in a place that is hidden.
    command.current_dir("/");
    command
}
