//! The policies of a lake: one typed setting each, the same in Lambda's environment, in the local
//! command and in the footer of every derived object.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A policy's value that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {value:?} is not one of {allowed}")]
pub struct UnknownPolicy {
    /// Name of the setting.
    pub setting: &'static str,
    /// What was given.
    pub value: String,
    /// What may be given, separated by commas.
    pub allowed: String,
}

macro_rules! policy {
    ($(#[$doc:meta])* $name:ident, $setting:literal, $($(#[$value_doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$value_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// The values it may take, as they are spelled in settings.
            pub const ALLOWED: &'static [&'static str] = &[$($text),+];

            /// The value as it is spelled in settings.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownPolicy;

            fn from_str(value: &str) -> Result<Self, UnknownPolicy> {
                match value {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownPolicy {
                        setting: $setting,
                        value: value.to_owned(),
                        allowed: Self::ALLOWED.join(", "),
                    }),
                }
            }
        }
    };
}

policy! {
    /// Which readings a consent covers.
    Consent, "consent",
    /// Every reading of a person who consents now.
    #[default]
    Any = "any",
    /// Only the readings recorded at or after the date of the consent.
    AsOf = "as-of",
}

policy! {
    /// Which accelerometer readings a step reading is paired with.
    Pairing, "pairing",
    /// All of the same time.
    #[default]
    Timestamp = "timestamp",
    /// Those of the same time and the same person.
    Customer = "customer",
}

policy! {
    /// What machine_learning_curated says of who was measured.
    Identity, "identity",
    /// Keyed pseudonyms: rows of one person can be grouped, the person is not named.
    #[default]
    Pseudonym = "pseudonym",
    /// Nothing: both columns are null.
    None = "none",
    /// The e-mail address and the serial number as they were delivered.
    Clear = "clear",
}

impl Consent {
    /// First time a consent given at `since_ms` covers, epoch milliseconds.
    pub fn covers_from(self, since_ms: i64) -> i64 {
        match self {
            Self::Any => i64::MIN,
            Self::AsOf => since_ms,
        }
    }
}

/// The policies of a lake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// Which readings a consent covers.
    pub consent: Consent,
    /// Which accelerometer readings a step reading is paired with.
    pub pairing: Pairing,
    /// What machine_learning_curated says of who was measured.
    pub identity: Identity,
}

/// When each policy of a lake was last changed: the number of that change of the lake's policies; 0
/// where it has been the same since the lake was made.
///
/// A policy that goes from A to B and back to A is told apart by it: else what is derived would come
/// back to the byte, with its tag in the store, and a write that was slow enough to span both changes
/// would win.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Of the consent policy.
    pub consent: u32,
    /// Of the pairing policy.
    pub pairing: u32,
    /// Of the identity policy.
    pub identity: u32,
}

impl Changes {
    /// The number of the last change.
    pub fn last(self) -> u32 {
        self.consent.max(self.pairing).max(self.identity)
    }

    /// These, and the change from some policies to others.
    #[must_use]
    pub fn and(self, before: Policies, after: Policies) -> Self {
        let number = self.last().saturating_add(1);
        let change = |same: bool, known: u32| if same { known } else { number };
        Self {
            consent: change(before.consent == after.consent, self.consent),
            pairing: change(before.pairing == after.pairing, self.pairing),
            identity: change(before.identity == after.identity, self.identity),
        }
    }
}

impl fmt::Display for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consent, pairing, identity } = self;
        write!(f, "consent={consent} pairing={pairing} identity={identity}")
    }
}
