#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod explain;
mod plan;
mod planner;
mod view;

pub use error::PlanError;
pub use plan::{Attributes, BindSource, MountPlan, Node, PlanStep, ShadowEntry};
pub use planner::plan;
pub use view::{Entry, EntryKind, FsView, HostFs, MemoryFs};
