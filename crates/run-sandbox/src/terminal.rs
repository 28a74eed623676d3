//! A terminal of the command's own.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;

use sandboxlib::spawn::restore_terminal;
use sandboxlib::{Command, Stdio, Tty};

use crate::settings::system;

/// Gives the command a terminal like the caller's. Standard error stays where it leads if that is
/// no terminal, unless what is printed there has to be counted.
pub(crate) fn give(command: &mut Command<'_>, counts_output: bool) -> Result<(), String> {
    command.tty(Tty::like_callers());
    let stderr = io::stderr();
    if counts_output && !stderr.is_terminal() {
        command.stderr(Stdio::Piped);
    } else if !stderr.is_terminal() {
        let fd = stderr.as_fd().try_clone_to_owned();
        let fd = fd.map_err(|e| format!("cannot pass standard error on: {}", system(&e)))?;
        command.stderr(fd);
    }
    // This program is built to abort when it panics, and says why on the terminal.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore_terminal();
        before(panic);
    }));
    Ok(())
}
