//! The child's part, which shares the caller's memory: no allocation, no lock, no panic.

use std::ffi::{CStr, CString, c_long};

/// What the child is to do, made before it is born.
pub(crate) struct Plan {
    pub(crate) letters: Vec<u8>,
    /// What becomes the root.
    pub(crate) root: CString,
    /// Where that is mounted on the way: on itself, or for `/`, elsewhere.
    pub(crate) at: CString,
    /// Sources, and where they go below the root.
    pub(crate) binds: Vec<(CString, CString)>,
    pub(crate) dev: CString,
    /// The nodes of the host's `/dev`, and where they go.
    pub(crate) nodes: Vec<(CString, CString)>,
    pub(crate) tmp: CString,
    pub(crate) proc: CString,
    pub(crate) uid_map: CString,
    pub(crate) gid_map: CString,
    pub(crate) program: CString,
    /// The program's arguments, ended by a null pointer.
    pub(crate) argv: [*const libc::c_char; 2],
    pub(crate) envp: [*const libc::c_char; 1],
}

/// The status of a child that could not do its part.
pub(crate) const FAILED: i32 = 99;

impl Plan {
    pub(crate) fn has(&self, letter: u8) -> bool {
        self.letters.contains(&letter)
    }

    /// Does everything up to the execution of the program.
    pub(crate) fn carry_out(&self) -> ! {
        if self.has(b'u') {
            write(c"/proc/self/setgroups", c"deny");
            write(c"/proc/self/uid_map", &self.uid_map);
            write(c"/proc/self/gid_map", &self.gid_map);
        }
        if self.has(b'R') {
            self.make_root();
        }
        if self.has(b'l') {
            loopback_up();
        }
        let no_new_privs = usize::try_from(libc::PR_SET_NO_NEW_PRIVS).unwrap_or(0);
        call("prctl", libc::SYS_prctl, [no_new_privs.into(), 1.into()]);
        let program = [
            (&*self.program).into(),
            Arg(self.argv.as_ptr() as usize),
            Arg(self.envp.as_ptr() as usize),
        ];
        call("execve", libc::SYS_execve, program);
        exit()
    }

    fn make_root(&self) {
        mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None);
        let (root, recursive) = (&*self.at, libc::MS_BIND | libc::MS_REC);
        mount(Some(&self.root), root, None, recursive, None);
        for (source, target) in &self.binds {
            mount(Some(source), target, None, recursive, None);
        }
        // struct mount_attr: set, clear, propagation, user namespace.
        let read_only = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        let attributes: [u64; 4] = [read_only, 0, 0, 0];
        let set = [
            libc::AT_FDCWD.into(),
            root.into(),
            libc::AT_RECURSIVE.into(),
            Arg(attributes.as_ptr() as usize),
            size_of_val(&attributes).into(),
        ];
        call("mount_setattr", libc::SYS_mount_setattr, set);
        let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
        mount(
            Some(c"tmpfs"),
            &self.dev,
            Some(c"tmpfs"),
            flags,
            Some(c"mode=755"),
        );
        for (source, target) in &self.nodes {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
            close(open(target, flags));
            mount(Some(source), target, None, libc::MS_BIND, None);
        }
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        mount(
            Some(c"tmpfs"),
            &self.tmp,
            Some(c"tmpfs"),
            flags,
            Some(c"mode=1777"),
        );
        if self.has(b'p') {
            let flags = flags | libc::MS_NOEXEC;
            mount(Some(c"proc"), &self.proc, Some(c"proc"), flags, None);
        }
        call("chdir", libc::SYS_chdir, [root.into()]);
        let here = c".".into();
        call("pivot_root", libc::SYS_pivot_root, [here, here]);
        call(
            "umount2",
            libc::SYS_umount2,
            [here, libc::MNT_DETACH.into()],
        );
        call("chdir", libc::SYS_chdir, [c"/".into()]);
    }
}

fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) {
    let flags = Arg(usize::try_from(flags).unwrap_or(0));
    let args = [
        source.into(),
        target.into(),
        kind.into(),
        flags,
        data.into(),
    ];
    call("mount", libc::SYS_mount, args);
}

fn open(path: &CStr, flags: i32) -> usize {
    let args = [
        libc::AT_FDCWD.into(),
        path.into(),
        flags.into(),
        0o666.into(),
    ];
    call("openat", libc::SYS_openat, args)
}

fn close(fd: usize) {
    call("close", libc::SYS_close, [fd.into()]);
}

fn write(path: &CStr, text: &CStr) {
    let fd = open(path, libc::O_WRONLY | libc::O_CLOEXEC);
    let args = [fd.into(), text.into(), text.count_bytes().into()];
    call("write", libc::SYS_write, args);
    close(fd);
}

/// netdevice(7).
fn loopback_up() {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    let args = [libc::AF_INET.into(), kind.into(), 0.into()];
    let socket = call("socket", libc::SYS_socket, args);
    // struct ifreq: 16 bytes of name, the flags as a short, and more that is not looked at.
    let mut request = [0u64; 5];
    request[0] = u64::from_ne_bytes(*b"lo\0\0\0\0\0\0");
    request[2] = (libc::IFF_UP | libc::IFF_RUNNING).unsigned_abs().into();
    let up = usize::try_from(libc::SIOCSIFFLAGS).unwrap_or(0);
    let args = [socket.into(), up.into(), Arg(request.as_ptr() as usize)];
    call("ioctl", libc::SYS_ioctl, args);
    close(socket);
}

/// An argument of a system call: a number, or the address of something that lives until the call
/// returns. Every address in this file is one of these: a C string of the plan's or a constant,
/// the lists of pointers in the plan, or a local array of the size that the call takes.
#[derive(Clone, Copy)]
struct Arg(usize);

impl From<usize> for Arg {
    fn from(number: usize) -> Self {
        Self(number)
    }
}

impl From<i32> for Arg {
    #[allow(clippy::cast_sign_loss, reason = "the register has the sign extended")]
    fn from(number: i32) -> Self {
        Self(number as isize as usize)
    }
}

impl From<&CStr> for Arg {
    fn from(text: &CStr) -> Self {
        Self(text.as_ptr() as usize)
    }
}

impl From<Option<&CStr>> for Arg {
    fn from(text: Option<&CStr>) -> Self {
        text.map_or(Self(0), Self::from)
    }
}

/// Makes a system call, and ends the child if it fails.
fn call<const N: usize>(name: &str, number: c_long, args: [Arg; N]) -> usize {
    let at = |n: usize| args.get(n).map_or(0, |arg| arg.0);
    // SAFETY: what each address refers to is said at `Arg`, and lives until the call returns; a
    // missing argument is 0. The kernel writes to none of it.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    usize::try_from(result).unwrap_or_else(|_| {
        // SAFETY: the calling thread's own errno; the caller of a child that shares it stands.
        let errno = unsafe { *libc::__errno_location() };
        complain(name, errno)
    })
}

/// Says which call failed and the number of the error, by nothing that allocates.
fn complain(name: &str, errno: i32) -> ! {
    let digits = [errno / 100, errno / 10, errno].map(|n| b'0' + u8::try_from(n % 10).unwrap_or(0));
    for text in [b"floor: ", name.as_bytes(), b": errno ", &digits, b"\n"] {
        // SAFETY: pointer and length are those of a live slice, which the kernel reads.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
    exit()
}

fn exit() -> ! {
    // SAFETY: takes a number and does not come back; no handler of the caller's is run.
    unsafe { libc::_exit(FAILED) }
}
