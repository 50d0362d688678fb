//! What a lake records of itself when it is made.

use serde::{Deserialize, Serialize};

use crate::error::SettingsError;
use crate::key::{LakeKey, Parts};
use crate::layout::LAYOUT_VERSION;
use crate::policy::{Changes, Policies};

/// What a lake records of itself when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Version of the layout.
    pub layout_version: u32,
    /// Number of parts of every register.
    pub parts: Parts,
    /// What its tables were derived under.
    pub policies: Policies,
    /// When these were last changed.
    #[serde(default)]
    pub changes: Changes,
    /// Which key its hashes and pseudonyms were made with.
    pub key_fingerprint: String,
}

impl Settings {
    /// Those of a new lake.
    pub(super) fn wanted(key: &LakeKey, parts: Parts, policies: Policies) -> Self {
        Self {
            layout_version: LAYOUT_VERSION,
            parts,
            policies,
            changes: Changes::default(),
            key_fingerprint: key.fingerprint(),
        }
    }

    /// Refuses to go on where these settings differ from those of a lake.
    pub(super) fn agree_with(&self, found: &Self) -> Result<(), SettingsError> {
        if found.layout_version != self.layout_version {
            return Err(SettingsError::LayoutVersion {
                found: found.layout_version,
                known: self.layout_version,
            });
        }
        if found.parts != self.parts {
            return Err(SettingsError::Parts {
                found: found.parts.into(),
                wanted: self.parts.into(),
            });
        }
        if found.key_fingerprint != self.key_fingerprint {
            return Err(SettingsError::Key);
        }
        if found.policies != self.policies {
            return Err(SettingsError::Policies {
                found: found.policies.to_string(),
                wanted: self.policies.to_string(),
            });
        }
        Ok(())
    }
}
