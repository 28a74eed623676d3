//! The limits of each process, by their numbers (setrlimit(2)).

use sandboxlib_core::ProcessLimits;

/// The resources that are limited, each with what it is limited to.
#[allow(
    clippy::cast_lossless,
    clippy::unnecessary_cast,
    reason = "the numbers have a sign with some C libraries, and none with others"
)]
pub(crate) fn resources(limits: &ProcessLimits) -> impl Iterator<Item = (u32, u64)> {
    [
        (libc::RLIMIT_FSIZE as u32, limits.file_size),
        (libc::RLIMIT_NOFILE as u32, limits.open_files),
        (libc::RLIMIT_STACK as u32, limits.stack),
        (libc::RLIMIT_CORE as u32, limits.core),
        (libc::RLIMIT_CPU as u32, limits.cpu_seconds),
        (libc::RLIMIT_NPROC as u32, limits.processes),
    ]
    .into_iter()
    .filter_map(|(resource, most)| Some((resource, most?)))
}
