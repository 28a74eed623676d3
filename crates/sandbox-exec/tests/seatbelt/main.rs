//! The profiles, held against what was configured, by a reader of the profile language that
//! knows nothing of how they are made.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod golden;
mod host;
mod model;
mod properties;
mod refusals;
mod sbpl;
mod size;
