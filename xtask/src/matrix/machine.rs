//! Virtual machines with Debian's kernels, by emulation: they need no privilege and no /dev/kvm.
//!
//! A machine has no disk: everything is in its initramfs, from which it moves to a tmpfs first,
//! because pivot_root(2) refuses an initramfs. The console is its first serial port; what the
//! rows tell comes over the second, where no message of the kernel's gets in between.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::programs::{Programs, Told, variables};
use super::rows::{KERNELS, Kernel, Row, Who};
use crate::apt::{self, Private};
use crate::{Result, repo};

/// Where the programs are in the machine.
const PLACE: &str = "/opt/matrix";
/// For all rows of a machine, in seconds. A row takes about half a minute.
const TIMEOUT: &str = "900";

/// Taken from this machine, with their libraries: what the rows' scripts and the backends call.
const PROGRAMS: [(&str, &str); 7] = [
    ("/bin/sh", "dash"),
    ("/usr/bin/mount", "mount"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/bwrap", "bubblewrap"),
    ("/usr/bin/newuidmap", "uidmap"),
    ("/usr/bin/newgidmap", "uidmap"),
];
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: &str = "cat chmod chown cp echo ip ls mkdir poweroff sleep stty switch_root true";

/// What a machine is made of.
#[derive(Debug)]
pub(super) struct Machine {
    vmlinuz: PathBuf,
    qemu: Vec<OsString>,
    modules: Option<PathBuf>,
}

impl Machine {
    /// Fetches what is missing for one with the kernel of this version. Not to be called by two
    /// at a time: they would fetch the same.
    ///
    /// # Errors
    /// Why there can be no such machine here.
    pub(super) fn get(version: &str) -> Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            return Err("the kernels are those for x86-64".into());
        }
        let kernel = KERNELS.iter().find(|kernel| kernel.version == version);
        let kernel = kernel.ok_or_else(|| format!("no kernel {version}"))?;
        for (program, package) in PROGRAMS.into_iter().chain([(BUSYBOX, "busybox-static")]) {
            if !Path::new(program).exists() {
                return Err(format!("there is no {program} (package {package})").into());
            }
        }
        let cache = repo::shared_dir("matrix")?;
        let vmlinuz = fetch_kernel(kernel, &cache)?;
        let (qemu, modules) = qemu(&cache)?;
        Ok(Self {
            vmlinuz,
            qemu,
            modules,
        })
    }

    /// Runs rows, each with what was told of it.
    ///
    /// # Errors
    /// Whatever kept it from being started.
    pub(super) fn run(&self, rows: &[&Row], programs: &Programs) -> Result<Vec<Told>> {
        let work = tempfile::tempdir()?;
        let initrd = image(work.path(), rows, programs)?;
        let told = work.path().join("told");
        let console = work.path().join("console");
        fs::write(&told, "")?;
        let mut qemu = Command::new("timeout");
        qemu.args(["--kill-after=5", TIMEOUT]).args(&self.qemu);
        if let Some(modules) = &self.modules {
            qemu.env("QEMU_MODULE_DIR", modules);
        }
        qemu.args(
            "-accel tcg -cpu max -m 768 -smp 1 -no-reboot -nodefaults -display none".split(' '),
        )
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-serial")
        .arg(format!("file:{}", told.display()))
        .arg("-kernel")
        .arg(&self.vmlinuz)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .stdin(Stdio::null());
        let output = qemu.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let seen = fs::read(&console).unwrap_or_default();
        let seen = String::from_utf8_lossy(&seen);
        let told = fs::read_to_string(&told)?;
        Ok(rows
            .iter()
            .map(|row| {
                let mut lines = told.lines().filter_map(|line| line.split_once(' '));
                match lines.find(|(name, _)| *name == row.name) {
                    Some((_, json)) => serde_json::from_str(json).map_err(|e| e.to_string()),
                    None => Err(format!(
                        "the machine told nothing ({}): {} {}",
                        output.status,
                        said.trim(),
                        tail(&seen)
                    )),
                }
            })
            .collect())
    }
}

/// The last lines of a console.
fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}

/// The kernel, from the cache or from Debian.
fn fetch_kernel(kernel: &Kernel, cache: &Path) -> Result<PathBuf> {
    let dir = cache.join("kernels");
    let vmlinuz = dir.join(kernel.version);
    if vmlinuz.exists() {
        return Ok(vmlinuz);
    }
    eprintln!(
        "fetching Linux {} to {} (once)",
        kernel.version,
        dir.display()
    );
    fs::create_dir_all(&dir)?;
    let apt = Private::new(&cache.join("debs"), kernel.suite)?;
    let names = apt.names(kernel.package)?;
    let name = names
        .iter()
        .filter(|name| name.ends_with("-cloud-amd64"))
        .max_by_key(|name| numbers(name))
        .ok_or_else(|| format!("{} has no {}*-cloud-amd64", kernel.suite, kernel.package))?;
    let unpacked = tempfile::tempdir_in(&dir)?;
    let deb = apt.download(name, None)?;
    apt::unpack_only(&deb, "*/vmlinuz*", unpacked.path())?;
    fs::remove_file(deb)?;
    let found = find(unpacked.path(), "vmlinuz").ok_or_else(|| format!("{name} has no vmlinuz"))?;
    // In the same directory, so that it is there whole or not at all.
    fs::rename(found, &vmlinuz)?;
    Ok(vmlinuz)
}

/// The numbers in a name, to tell the newer one.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// The first file whose name begins so.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    entries.into_iter().find_map(|entry| {
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            find(&entry.path(), name)
        } else {
            let right = entry.file_name().to_string_lossy().starts_with(name);
            (right && kind.is_file()).then(|| entry.path())
        }
    })
}

/// The emulator: this machine's, or one from Debian with all that it needs, in the cache. The
/// words to start it, and where its modules are, if it does not know.
fn qemu(cache: &Path) -> Result<(Vec<OsString>, Option<PathBuf>)> {
    const NAME: &str = "qemu-system-x86_64";
    if repo::have(NAME) {
        return Ok((vec![NAME.into()], None));
    }
    let dir = cache.join("qemu");
    if !dir.exists() {
        eprintln!("fetching {NAME} to {} (once)", dir.display());
        fs::create_dir_all(cache)?;
        let apt = Private::new(&cache.join("debs"), "bookworm")?;
        let part = tempfile::tempdir_in(cache)?;
        for deb in apt.download_whole("qemu-system-x86")? {
            apt::unpack(&deb, part.path())?;
        }
        fs::rename(part.keep(), &dir)?;
    }
    let usr = dir.join("usr");
    let libraries = [
        dir.join("lib/x86_64-linux-gnu"),
        usr.join("lib/x86_64-linux-gnu"),
    ];
    // By its own loader and with its own libraries: whatever release of Debian this machine has.
    let words = vec![
        libraries[0].join("ld-linux-x86-64.so.2").into(),
        "--library-path".into(),
        std::env::join_paths(&libraries)?,
        usr.join("bin").join(NAME).into(),
        "-L".into(),
        usr.join("share/qemu").into(),
        "-L".into(),
        usr.join("share/seabios").into(),
    ];
    Ok((words, Some(libraries[1].join("qemu"))))
}

/// Makes the initramfs of a machine that runs these rows.
fn image(work: &Path, rows: &[&Row], programs: &Programs) -> Result<PathBuf> {
    let root = work.join("root");
    let place = root.join(PLACE.trim_start_matches('/'));
    for dir in [
        "bin",
        "dev",
        "etc",
        "home/tester",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "var/tmp",
    ] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::create_dir_all(&place)?;
    for (program, package) in PROGRAMS {
        add_program(&root, program).map_err(|why| format!("{program} ({package}): {why}"))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox"))
        .map_err(|why| format!("{BUSYBOX} (package busybox-static): {why}"))?;
    for applet in APPLETS.split(' ') {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    for file in programs.files() {
        fs::copy(&file, place.join(file.file_name().unwrap_or_default()))?;
    }
    for (name, text) in [
        (
            "passwd",
            "root:x:0:0:root:/root:/bin/sh\ntester:x:1000:1000:tester:/home/tester:/bin/sh\n",
        ),
        ("group", "root:x:0:\ntester:x:1000:\n"),
        ("subuid", "tester:100000:65536\n"),
        ("subgid", "tester:100000:65536\n"),
    ] {
        fs::write(root.join("etc").join(name), text)?;
    }
    for row in rows {
        write_script(&place.join(format!("prepare-{}", row.name)), row.prepare)?;
        write_script(&place.join(format!("row-{}", row.name)), row.environment)?;
    }
    write_script(&root.join("init"), &init(rows))?;
    let archive = work.join("initrd");
    let pack = format!(
        "cd '{}' && {BUSYBOX} find . | {BUSYBOX} cpio -o -H newc -R 0:0 >'{}' 2>/dev/null",
        root.display(),
        archive.display()
    );
    repo::run(Command::new("sh").args(["-c", &pack]))?;
    Ok(archive)
}

fn write_script(path: &Path, text: &str) -> Result {
    fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Copies a program, with its set-user-id bit, and the libraries that ldd(1) names.
fn add_program(root: &Path, program: &str) -> Result {
    let add = |path: &str| -> Result {
        let to = root.join(path.trim_start_matches('/'));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        let mode = fs::metadata(path)?.permissions();
        fs::copy(path, &to)?;
        fs::set_permissions(&to, mode)?;
        Ok(())
    };
    add(program)?;
    let libraries = repo::output(Command::new("ldd").arg(program))?;
    let mut paths = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    paths.try_for_each(add)
}

/// The first process of the machine.
fn init(rows: &[&Row]) -> String {
    let mut text = String::from(
        "export PATH=/usr/bin:/bin\n\
         if [ ! -e /run/moved ]; then\n\
         mkdir /new && mount -t tmpfs -o mode=755 new /new\n\
         for f in /*; do [ $f = /new ] || cp -a $f /new/; done\n\
         : >/new/run/moved\n\
         exec switch_root /new /init\n\
         fi\n\
         chmod 1777 /tmp /var/tmp\n\
         mount -t proc -o nosuid,nodev,noexec proc /proc\n\
         mount -t sysfs -o nosuid,nodev,noexec sys /sys\n\
         mount -t cgroup2 none /sys/fs/cgroup\n\
         mount -t devtmpfs dev /dev\n\
         mkdir -p /dev/pts /dev/shm\n\
         mount -t devpts -o ptmxmode=666 none /dev/pts\n\
         mount -t tmpfs -o mode=1777 none /dev/shm\n\
         ip link set lo up\n\
         stty -F /dev/ttyS1 raw\n",
    );
    for (name, value) in variables(Path::new(PLACE)) {
        let _ = writeln!(text, "export {name}='{value}'");
    }
    for row in rows {
        let name = row.name;
        let words = match row.who {
            Who::Root => "",
            Who::User | Who::Ranged => "setpriv --reuid=1000 --regid=1000 --clear-groups --",
        };
        let _ = writeln!(
            text,
            "echo 'row {name}'\n\
             told=$(AS='{words}' ROW={PLACE}/row-{name} {PLACE}/prepare-{name}) && \
             printf '%s %s\\n' {name} \"$told\" >/dev/ttyS1"
        );
    }
    text.push_str("poweroff -f\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_is_told_by_its_numbers() {
        let newest = |names: &[&'static str]| *names.iter().max_by_key(|n| numbers(n)).unwrap();
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
        ];
        assert_eq!(newest(&names), names[1]);
    }

    #[test]
    fn the_end_of_a_console_is_told() {
        assert_eq!(tail("a\nb\n"), "a | b");
        let long = "x\n".repeat(100);
        assert_eq!(tail(&long).matches('x').count(), 8);
    }
}
