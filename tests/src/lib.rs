//! What the cross-crate tests have in common: the program under test, roots to run it in, and
//! ways to look at the host that do not depend on what the program says.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "part of the tests, where a surprise ends the test"
)]

mod compile;
mod filter;
mod program;
mod root;
mod shell;
mod skip;
pub mod snapshot;
mod terminal;
pub mod watch;

pub use compile::Compiled;
pub use filter::Filter;
pub use program::{Done, RunSandbox, run_sandbox};
pub use root::{Lab, TinyRoot, install};
pub use shell::sh;
pub use skip::{have, host_can, must_work, skip};
pub use terminal::Terminal;
