//! The steps, and the places among them where shadows go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sandboxlib_config::SandboxPath;

use crate::{PlanStep, ShadowEntry};

/// A read-only tree of the host that the plan mounts, together with its shadows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerId(usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShadowId(usize);

#[derive(Debug)]
struct Shadow {
    at: SandboxPath,
    /// The host's directory that it looks like.
    like: PathBuf,
    mode: u32,
    entries: Vec<ShadowEntry>,
}

#[derive(Debug)]
enum Item {
    Step(PlanStep),
    /// The shadows of this layer. They come directly after it, although some are found to be
    /// needed only later: a shadow covers the directory with everything mounted there.
    Shadows(LayerId),
}

#[derive(Debug, Default)]
pub(super) struct Script {
    items: Vec<Item>,
    shadows: Vec<Shadow>,
    /// The shadows of each layer by path, so that parents come before what is in them.
    layers: Vec<BTreeMap<SandboxPath, ShadowId>>,
}

impl Script {
    pub(super) fn push(&mut self, step: PlanStep) {
        self.items.push(Item::Step(step));
    }

    /// Says that the last step has mounted a read-only tree of the host.
    pub(super) fn begin_layer(&mut self) -> LayerId {
        let id = LayerId(self.layers.len());
        self.layers.push(BTreeMap::new());
        self.items.push(Item::Shadows(id));
        id
    }

    pub(super) fn add_shadow(
        &mut self,
        layer: LayerId,
        at: SandboxPath,
        like: PathBuf,
        mode: u32,
        entries: Vec<ShadowEntry>,
    ) -> ShadowId {
        let id = ShadowId(self.shadows.len());
        self.layers[layer.0].insert(at.clone(), id);
        self.shadows.push(Shadow {
            at,
            like,
            mode,
            entries,
        });
        id
    }

    pub(super) fn shadow_path(&self, id: ShadowId) -> &SandboxPath {
        &self.shadows[id.0].at
    }

    /// The host's directory that the shadow looks like.
    pub(super) fn shadow_like(&self, id: ShadowId) -> &Path {
        &self.shadows[id.0].like
    }

    pub(super) fn add_to_shadow(&mut self, id: ShadowId, entry: ShadowEntry) {
        self.shadows[id.0].entries.push(entry);
    }

    pub(super) fn finish(self) -> Vec<PlanStep> {
        let mut shadows: Vec<Option<Shadow>> = self.shadows.into_iter().map(Some).collect();
        let mut steps = Vec::with_capacity(self.items.len());
        for item in self.items {
            match item {
                Item::Step(step) => steps.push(step),
                Item::Shadows(layer) => steps.extend(
                    self.layers[layer.0]
                        .values()
                        .filter_map(|id| shadows[id.0].take())
                        .map(|shadow| PlanStep::Shadow {
                            at: shadow.at,
                            mode: shadow.mode,
                            entries: shadow.entries,
                        }),
                ),
            }
        }
        steps
    }
}
