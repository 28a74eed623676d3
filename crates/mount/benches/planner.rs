//! How long planning takes, with the files in memory: `cargo bench -p sandboxlib-mount`.

use divan::Bencher;
use sandboxlib_config::{Config, Mount, MountKind, Root, RootAccess, SandboxPath};
use sandboxlib_mount::{MemoryFs, plan};

fn main() {
    divan::main();
}

/// A read-only root with `/proc` and `/dev`, and as many read-only binds.
fn asked(binds: usize, dir: &str) -> Config {
    let path = |text: &str| SandboxPath::new(text).unwrap_or_else(|_| SandboxPath::root());
    let mut config = Config::new(Root::Dir("/root".into()));
    config.root_access = Some(RootAccess::ReadOnly);
    config.mounts = vec![
        Mount::new(path("/proc"), MountKind::Proc),
        Mount::new(path("/dev"), MountKind::Dev),
    ];
    config.mounts.extend((0..binds).map(|n| {
        let target = path(&format!("{dir}/{n}"));
        Mount::bind_read_only(format!("/src/{n}"), target)
    }));
    config
}

fn files(binds: usize) -> MemoryFs {
    let fs = MemoryFs::new().dir("/root/proc").dir("/root/dev");
    (0..binds).fold(fs.dir("/root/missing"), |fs, n| {
        fs.dir(format!("/src/{n}")).dir(format!("/root/m/{n}"))
    })
}

const BINDS: [usize; 4] = [0, 10, 100, 1000];

#[divan::bench(args = BINDS)]
fn binds(bencher: Bencher<'_, '_>, binds: usize) {
    let (config, files) = (asked(binds, "/m"), files(binds));
    bencher.bench(|| plan(&config, &files));
}

/// The mount points are missing, so there has to be a shadow with them.
#[divan::bench(args = BINDS)]
fn binds_in_a_shadow(bencher: Bencher<'_, '_>, binds: usize) {
    let (config, files) = (asked(binds, "/missing"), files(binds));
    bencher.bench(|| plan(&config, &files));
}
