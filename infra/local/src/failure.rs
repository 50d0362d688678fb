//! What the command says when it cannot go on, and the exit code it says it with.

use std::io;
use std::path::{Path, PathBuf};

use lake::error::{Error, SettingsError};

/// Why the command stopped. One line that names the remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The user has to do something else.
    #[error("{0}")]
    Usage(String),
    /// The lake was made otherwise.
    #[error("{folder}: {source}", folder = folder.display())]
    Settings { folder: PathBuf, source: SettingsError },
    /// A file or folder could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Standard output takes no more.
    #[error("standard output: {0}; print to another place")]
    Output(io::Error),
    /// The lake could not do its work.
    #[error("{0}")]
    Lake(#[from] Error),
    /// Messages were given up, as a dead-letter queue would hold them.
    #[error(
        "{count} objects could not be worked on; the first: {first}; mend the cause and run again"
    )]
    DeadLetters { count: usize, first: String },
    /// A lake that is not what the rules give.
    #[error("not as the rules have it: {0}; run `stedi run` on the lake and verify again")]
    Differs(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Wraps an error of the file system.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Whether all that is wrong is that nobody reads any more what the command prints.
    pub(crate) fn is_cut_off(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// 2 where the user has to do something else, 1 where the work failed.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Settings { .. } | Self::Output(_) => 2,
            Self::Io { .. }
            | Self::Lake(_)
            | Self::DeadLetters { .. }
            | Self::Differs(_)
            | Self::Other(_) => 1,
        }
    }
}

impl From<lake::store::StoreError> for Failure {
    fn from(error: lake::store::StoreError) -> Self {
        Self::Lake(error.into())
    }
}

impl From<lake::catalog::CatalogError> for Failure {
    fn from(error: lake::catalog::CatalogError) -> Self {
        Self::Lake(error.into())
    }
}
