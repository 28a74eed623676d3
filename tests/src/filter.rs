use std::path::PathBuf;

use crate::Compiled;

/// A launcher that answers EPERM to unshare, mount and clone with namespaces, and ENOSYS to
/// clone3, as the default profile of container engines does.
#[derive(Debug)]
pub struct Filter(Compiled);

impl Filter {
    /// Builds it; `None`, and a skip, where there is no compiler.
    ///
    /// # Panics
    /// If it does not compile.
    #[must_use]
    pub fn build() -> Option<Self> {
        Compiled::new(include_str!("../tests/hints/filter.c"), &[]).map(Self)
    }

    /// The program: `filter COMMAND [ARG...]`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path()
    }
}
