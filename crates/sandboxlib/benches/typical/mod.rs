//! A sandbox as a build wants it, described on a host that is in memory: the same on every
//! machine, whatever that has.

use sandboxlib::config::{Config, Mount, MountKind, Root, RootAccess, SandboxPath};
use sandboxlib::core::{Backend as _, HostFacts, Launch, negotiate};
use sandboxlib::mount::{MemoryFs, MountPlan, plan};
use sandboxlib::userns::Userns;

/// Whatever went wrong.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The description, and the host.
pub(crate) struct Typical {
    config: Config,
    files: MemoryFs,
    facts: HostFacts,
}

impl Typical {
    /// With as many read-only binds besides.
    pub(crate) fn new(binds: usize) -> Result<Self> {
        let mut config = Config::new(Root::Dir("/srv/debian12".into()));
        let build = SandboxPath::new("/build")?;
        config.root_access = Some(RootAccess::ReadOnly);
        config.mounts = vec![
            Mount::new(SandboxPath::new("/proc")?, MountKind::Proc),
            Mount::new(SandboxPath::new("/dev")?, MountKind::Dev),
            Mount::tmpfs(SandboxPath::new("/tmp")?),
            Mount::bind_read_only("/usr", SandboxPath::new("/usr")?),
            Mount::bind("/home/me/hello-2.10", build),
        ];
        let mut files = MemoryFs::new().dir("/usr/bin").dir("/home/me/hello-2.10");
        for dir in ["proc", "dev", "tmp", "usr/bin", "etc"] {
            files = files.dir(format!("/srv/debian12/{dir}"));
        }
        files = files.symlink("/srv/debian12/bin", "usr/bin");
        for n in 0..binds {
            files = files
                .dir(format!("/src/{n}"))
                .dir(format!("/srv/debian12/m/{n}"));
            let target = SandboxPath::new(format!("/m/{n}"))?;
            config
                .mounts
                .push(Mount::bind_read_only(format!("/src/{n}"), target));
        }
        let mut facts = HostFacts::linux(1000, 1000);
        facts.landlock = 6;
        Ok(Self {
            config,
            files,
            facts,
        })
    }

    /// The planner's part.
    pub(crate) fn plan(&self) -> Result<MountPlan> {
        Ok(plan(&self.config, &self.files)?)
    }

    /// What is negotiated, and the backend's part.
    pub(crate) fn launch(&self, plan: MountPlan) -> Result<Launch> {
        let effective = negotiate(&self.config, &Userns.support(&self.facts))?;
        Ok(Userns.prepare(&effective, plan, &self.facts)?)
    }
}
