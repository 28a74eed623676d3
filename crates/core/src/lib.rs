#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod backend;
mod capability;
pub mod doctor;
mod error;
mod explain;
mod facts;
mod filter;
mod hint;
mod landlock;
mod limits;
mod negotiate;
mod outcome;
mod script;
mod support;

pub use backend::{
    Backend, HelperArg, HelperCall, Launch, PrepareError, ScratchEntry, ScratchKind,
};
pub use capability::{CapSet, UnknownCapability};
pub use error::{ExecProblem, FailedStep, SpawnError};
pub use explain::{Diagnosis, Failure, SYSCTLS, explain};
pub use facts::{HelperFact, HostFacts, IdMapper, IdRange, KernelVersion, Os, Subordinate};
pub use filter::SyscallFilter;
pub use hint::{Hint, Knob};
pub use landlock::{FileRules, Landlock};
pub use limits::{
    Bound, CgroupDir, CgroupFacts, CgroupVersion, Counter, HeldLimit, Means, ProcessLimits,
    TreeLimits, bound_tmpfs, limit_steps,
};
pub use negotiate::{
    Degradation, EffectiveConfig, NegotiateError, Refusal, Request, negotiate, requests,
};
pub use outcome::{End, Enforcement, KillScope, Outcome, Started};
pub use script::{ChildScript, MapWriter, NamespaceSet, ProcGuard, Step};
pub use support::{Reason, Support};
