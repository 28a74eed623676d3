use std::borrow::Cow;
use std::collections::BTreeMap;

use sandboxlib_config::Feature;

use crate::Hint;

/// Why something cannot be had, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The cause, as a lower-case fragment that can stand behind `because `.
    pub text: Cow<'static, str>,
    /// The cures.
    pub hints: Vec<Hint>,
}

impl Reason {
    /// A cause without a cure.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: text.into(),
            hints: Vec::new(),
        }
    }

    /// Adds a cure.
    #[must_use]
    pub fn hint(mut self, hint: Hint) -> Self {
        self.hints.push(hint);
        self
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a backend can enforce on a host, and why not where it cannot.
///
/// A backend starts with [`Support::nothing`] and adds what it has, so that a feature invented
/// after it was written is refused and not promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    unusable: Option<Reason>,
    features: BTreeMap<Feature, Option<Reason>>,
    otherwise: Reason,
}

impl Support {
    /// Supports no feature, for the reason given unless [`lacks`](Self::lacks) gives another.
    #[must_use]
    pub fn nothing(otherwise: Reason) -> Self {
        Self {
            unusable: None,
            features: BTreeMap::new(),
            otherwise,
        }
    }

    /// The backend cannot run anything on this host.
    #[must_use]
    pub fn unusable(reason: Reason) -> Self {
        Self {
            unusable: Some(reason.clone()),
            ..Self::nothing(reason)
        }
    }

    /// Adds features that are enforced.
    #[must_use]
    pub fn with(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        self.features
            .extend(features.into_iter().map(|f| (f, None)));
        self
    }

    /// Takes a feature away, with its own reason.
    #[must_use]
    pub fn lacks(mut self, feature: Feature, reason: Reason) -> Self {
        self.features.insert(feature, Some(reason));
        self
    }

    /// Whether the backend can run anything at all here.
    ///
    /// # Errors
    /// The reason why not.
    pub fn usable(&self) -> Result<(), &Reason> {
        self.unusable.as_ref().map_or(Ok(()), Err)
    }

    /// Whether `feature` is enforced here.
    ///
    /// # Errors
    /// The reason why not.
    pub fn feature(&self, feature: Feature) -> Result<(), &Reason> {
        match self.features.get(&feature) {
            Some(None) => self.usable(),
            Some(Some(reason)) => Err(reason),
            None => Err(&self.otherwise),
        }
    }
}
