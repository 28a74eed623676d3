//! Overlays (overlayfs): layers that take what is changed, over directories that stay as they are.
//!
//! Overlayfs takes its directories by their names. They are attached in the scratch tmpfs, which
//! lies on top of `/` where nothing sees it, and named by relative paths, for which the one that
//! takes the changes is made the working directory.

use core::cell::Cell;
use core::ffi::CStr;

use super::mounting::{NODEV, NOSUID};
use super::ops::{Action, Call, Failed, Layer};
use super::raw::{AT_FDCWD, Fd};
use super::sys::{self, EEXIST, Held, Named as _, NewFs, Result};

/// The overlay of `action` over `covered`, a detached tree; `None` if `action` is another one.
///
/// What overlayfs has to note about files it writes into extended attributes of the kind that
/// needs no privilege (`userxattr`), also for root: who looks at a layer later finds one kind.
pub(super) fn mount(
    scratch: Fd,
    covered: &Held,
    sources: &[Cell<Fd>],
    action: &Action,
) -> Result<Option<Held>> {
    let Action::Overlay {
        layer,
        upper,
        work,
        names,
        to_lower,
        to_work,
        ..
    } = action
    else {
        return Ok(None);
    };
    for name in names {
        sys::mkdir(scratch, name, 0o700).named(Call::MkDir)?;
    }
    let [_, lower, layer_at] = names;
    sys::attach_at(covered.fd(), scratch, lower)?;
    let taking = match layer {
        Layer::Held(slot) => Held::from(sources.get(*slot)),
        Layer::Memory(size) => {
            let fs = NewFs::open(c"tmpfs")?;
            if let Some(size) = size {
                fs.option(c"size", size)?;
            }
            fs.mount(NOSUID | NODEV)?
        }
    };
    sys::attach_at(taking.fd(), scratch, layer_at)?;
    for path in upper {
        make_like(taking.fd(), path, covered.fd())?;
    }
    make(taking.fd(), work, 0o700)?;
    let overlay = NewFs::open(c"overlay")?;
    overlay.flag(c"userxattr")?;
    // Its name may have any character, some of which mean something in options. The way to the
    // others does not lead over the root of the scratch tmpfs, on which the new root lies.
    if let Some(upper) = upper.last() {
        let upper = sys::open_beneath(taking.fd(), upper)?;
        sys::fchdir(upper.fd()).named(Call::ChDir)?;
    }
    overlay.option(c"lowerdir", to_lower)?;
    overlay.option(c"upperdir", c".")?;
    overlay.option(c"workdir", to_work)?;
    let mount = overlay.mount(NOSUID | NODEV);
    sys::chdir(c"/").named(Call::ChDir)?;
    mount.map(Some)
}

fn make(dir: Fd, path: &CStr, mode: u32) -> Result<bool> {
    match sys::mkdir(dir, path, mode) {
        Ok(()) => Ok(true),
        Err(EEXIST) => Ok(false),
        Err(errno) => Err(Failed {
            call: Call::MkDir,
            errno,
        }),
    }
}

/// Makes a directory with the permissions and the owner of `model`, which the overlay shows as
/// those of its root. One that is there keeps what an earlier run gave it.
fn make_like(dir: Fd, path: &CStr, model: Fd) -> Result<()> {
    let mode = sys::mode(model).unwrap_or(0o755);
    if make(dir, path, mode)?
        && let Some((uid, gid)) = sys::owner(model)
    {
        let made = sys::open_beneath(dir, path)?;
        sys::chown_path(made.fd(), uid, gid);
    }
    Ok(())
}

/// Mounts an overlay of empty directories, to see whether it can be done.
pub(super) fn try_out() -> Result<()> {
    const LOWER: &CStr = c"lower";
    const UPPER: &CStr = c"upper";
    const WORK: &CStr = c"work";
    let dir = NewFs::open(c"tmpfs")?.mount(NOSUID | NODEV)?;
    for name in [LOWER, UPPER, WORK] {
        sys::mkdir(dir.fd(), name, 0o755).named(Call::MkDir)?;
    }
    sys::attach_at(dir.fd(), AT_FDCWD, c"/")?;
    sys::fchdir(dir.fd()).named(Call::ChDir)?;
    let overlay = NewFs::open(c"overlay")?;
    overlay.option(c"lowerdir", LOWER)?;
    overlay.option(c"upperdir", UPPER)?;
    overlay.option(c"workdir", WORK)?;
    overlay.mount(NOSUID | NODEV).map(drop)
}
