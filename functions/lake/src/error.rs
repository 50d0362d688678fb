//! What may go wrong while a record of an event is worked on.

use crate::catalog::CatalogError;
use crate::events::EventError;
use crate::key::ObjectKey;
use crate::layout::{LANDING_KEY_BYTES_MAX, STATE};
use crate::policy::UnknownPolicy;
use crate::store::StoreError;
use crate::tables::Table;

/// Why a piece of work was not done. It is delivered again, whatever it is; whether that may help is
/// in the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog did not do what it was asked.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The event could not be understood.
    #[error(transparent)]
    Event(#[from] EventError),
    /// An object of the lake's own is not what the lake writes.
    #[error("read {key}: {reason}; {}", remedy(key))]
    Unreadable {
        /// The object.
        key: ObjectKey,
        /// What is wrong with it.
        reason: String,
    },
    /// The key of a landing object leaves no room for the keys of what belongs to it.
    #[error(
        "read {key}: its key has {} bytes; rename it to one of at most {LANDING_KEY_BYTES_MAX}",
        key.as_str().len()
    )]
    LandingKey {
        /// Of the landing object.
        key: ObjectKey,
    },
    /// Rows could not be put into the form they are stored in.
    #[error("derive {what}: {source}")]
    Encode {
        /// What was being derived.
        what: String,
        /// What Arrow or Parquet said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Others changed what this work depends on, again and again.
    #[error("{what}: {moved} kept changing, gave up after {attempts} attempts")]
    Contended {
        /// The work.
        what: String,
        /// What moved at the last attempt.
        moved: String,
        /// How often it was tried.
        attempts: usize,
    },
    /// The lake was made otherwise than this command or function is set.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The program is wrong.
    #[error("panicked: {reason}; this is an error of the program: report it with the object's key")]
    Panicked {
        /// What the panic said.
        reason: String,
    },
}

/// What helps where an object is not what the lake writes. What is derived is derived again; what the
/// lake remembers is nowhere else.
fn remedy(key: &ObjectKey) -> &'static str {
    match key.after(STATE) {
        Some(_) => {
            "restore the version of it before (infra/README.md, Restore), and never delete it"
        }
        None => "delete it and replay what it belongs to",
    }
}

impl Error {
    /// Rows could not be put into the form of a table.
    pub fn encode(
        table: &Table,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Encode { what: table.name.to_owned(), source: source.into() }
    }

    /// Whether the same work may succeed when it is delivered again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Catalog(error) => error.is_retryable(),
            Self::Contended { .. } => true,
            Self::Event(_)
            | Self::Unreadable { .. }
            | Self::LandingKey { .. }
            | Self::Encode { .. }
            | Self::Settings(_)
            | Self::Panicked { .. } => false,
        }
    }
}

/// Why a lake is refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It was made by another version of the layout.
    #[error(
        "the lake has layout version {found}, this program knows version {known}: use the program \
         that made the lake, or make a new lake from its landing zone"
    )]
    LayoutVersion {
        /// Of the lake.
        found: u32,
        /// Of this program.
        known: u32,
    },
    /// Its registers are split otherwise.
    #[error(
        "the lake has {found} parts, not {wanted}: the number is fixed when a lake is made; set it \
         to {found}, or make a new lake from its landing zone"
    )]
    Parts {
        /// Of the lake.
        found: u16,
        /// Of this command or function.
        wanted: u16,
    },
    /// It was derived under other policies.
    #[error(
        "the lake was derived with {found}, not {wanted}: keep its policies, or change them with \
         `stedi replay` (in an account: infra/README.md, Change the policies)"
    )]
    Policies {
        /// Of the lake.
        found: String,
        /// Of this command or function.
        wanted: String,
    },
    /// Its policies were changed while this process worked.
    #[error(
        "{key} was derived under policies that are newer than those this process began with: begin \
         it again"
    )]
    Superseded {
        /// The object.
        key: ObjectKey,
    },
    /// Its hashes and pseudonyms were made with another key.
    #[error("the lake was made with another key: restore the key it was made with")]
    Key,
    /// A policy has a value nobody knows.
    #[error(transparent)]
    Policy(#[from] UnknownPolicy),
}
