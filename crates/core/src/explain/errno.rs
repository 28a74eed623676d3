//! The errnos that mean something here, with Linux's numbers (asm-generic/errno.h).

pub(super) const EPERM: i32 = 1;
pub(super) const ENOENT: i32 = 2;
pub(super) const EAGAIN: i32 = 11;
pub(super) const ENOMEM: i32 = 12;
pub(super) const EACCES: i32 = 13;
pub(super) const EBUSY: i32 = 16;
pub(super) const EEXIST: i32 = 17;
pub(super) const EXDEV: i32 = 18;
pub(super) const ENODEV: i32 = 19;
pub(super) const ENOTDIR: i32 = 20;
pub(super) const EISDIR: i32 = 21;
pub(super) const EINVAL: i32 = 22;
pub(super) const ENFILE: i32 = 23;
pub(super) const EMFILE: i32 = 24;
pub(super) const ETXTBSY: i32 = 26;
pub(super) const ENOSPC: i32 = 28;
pub(super) const EROFS: i32 = 30;
pub(super) const ENAMETOOLONG: i32 = 36;
pub(super) const ENOSYS: i32 = 38;
pub(super) const ELOOP: i32 = 40;
pub(super) const EUSERS: i32 = 87;
pub(super) const ESTALE: i32 = 116;
pub(super) const EDQUOT: i32 = 122;
