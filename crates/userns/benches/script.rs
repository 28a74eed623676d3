//! How long it takes to make a script of a plan: `cargo bench -p sandboxlib-userns`.

use divan::Bencher;
use sandboxlib_config::{Config, Mount, MountKind, Root, RootAccess, SandboxPath};
use sandboxlib_core::{Backend as _, HostFacts, negotiate};
use sandboxlib_mount::{MemoryFs, plan};
use sandboxlib_userns::Userns;

fn main() {
    divan::main();
}

#[divan::bench(args = [0, 10, 100, 1000])]
#[allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot do its work has nothing to say"
)]
fn binds(bencher: Bencher<'_, '_>, binds: usize) {
    let mut config = Config::new(Root::Dir("/root".into()));
    config.root_access = Some(RootAccess::ReadOnly);
    let proc = SandboxPath::new("/proc").unwrap();
    config.mounts = vec![Mount::new(proc, MountKind::Proc)];
    let mut files = MemoryFs::new().dir("/root/proc");
    for n in 0..binds {
        files = files.dir(format!("/src/{n}")).dir(format!("/root/m/{n}"));
        let target = SandboxPath::new(format!("/m/{n}")).unwrap();
        config
            .mounts
            .push(Mount::bind_read_only(format!("/src/{n}"), target));
    }
    let facts = HostFacts::linux(1000, 1000);
    let effective = negotiate(&config, &Userns.support(&facts)).unwrap();
    let plan = plan(effective.config(), &files).unwrap();
    bencher
        .with_inputs(|| plan.clone())
        .bench_values(|plan| Userns.prepare(&effective, plan, &facts));
}
