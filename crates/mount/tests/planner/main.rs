//! The planner, held against a model of the kernel that knows nothing of how it plans.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod explain;
mod hide;
mod hostile;
mod model;
mod overlay;
mod properties;
mod rules;
mod scale;
mod sockets;
mod spelling;
