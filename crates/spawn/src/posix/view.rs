use std::ffi::OsString;
use std::io;
use std::path::Path;

use sandboxlib_config::Config;
use sandboxlib_mount::{Entry, FsView, HostFs};

/// A view of this host for the planning of one configuration. Nothing can be mounted here, so
/// plain paths do.
#[derive(Debug)]
pub struct HostView(HostFs);

impl HostView {
    /// A view for planning `config`.
    #[must_use]
    pub fn new(_: &Config) -> Self {
        Self(HostFs)
    }
}

impl FsView for HostView {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.0.entry(path)
    }

    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.0.entry_following(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Entry)>> {
        self.0.list(path)
    }
}
