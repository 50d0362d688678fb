//! A lake in a folder: where its objects, its catalog, its key and its lock are.
//!
//! The folder is the bucket. What is not of the bucket lies under `.stedi/`: the embedded catalog,
//! the key (readable by its owner only), the lock, and files while they are written.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lake::catalog::StoreCatalog;
use lake::error::Error;
use lake::key::{LakeKey, Parts};
use lake::lake::{Lake, Settings};
use lake::layout;
use lake::policy::Policies;
use lake::store::{FolderStore, Store, list_all};
use lake::tables::{ACCELEROMETER_TRUSTED, STEP_TRAINER_TRUSTED, Stream, Table};

use crate::args::{PartsArgs, PolicyArgs};
use crate::failure::Failure;
use crate::feeds;

const KEY_BYTES: usize = 32;
/// How many times as many people as in an account a part is meant for. Here one process writes all parts
/// over and over while it runs through whole feeds: over those of 136,000 customers it took 8.1 s with
/// 16 parts of 8,500 people, 8.6 with 128, and 9.6 with 512.
const IN_BULK: u64 = 16;
/// Bytes of an upload that are written at once. As many as a landing object has days wait.
const PIECE_BYTES: usize = 64 << 10;
/// One process works on all six functions' documents: room for the registers of a million people.
const CACHE_BYTES_MAX: usize = 1 << 30;
/// By machine_learning_curated.
static READ_NEXT: [&Table; 2] = [&ACCELEROMETER_TRUSTED, &STEP_TRAINER_TRUSTED];

/// Whether other policies than a lake's own are refused, or become its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Refused,
    Allowed,
}

/// What a lake is opened with, or made.
#[derive(Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) policies: PolicyArgs,
    pub(crate) change: Change,
    pub(crate) parts: PartsArgs,
    /// How many people will be put into its landing zone, about, beside those who are in it.
    pub(crate) people: u64,
}

impl Opening {
    /// Of a lake that is there, as it is.
    pub(crate) fn as_it_is() -> Self {
        Self {
            policies: PolicyArgs::default(),
            change: Change::Refused,
            parts: PartsArgs::default(),
            people: 0,
        }
    }
}

/// The folder of a lake.
pub(crate) struct Home {
    folder: PathBuf,
    lock: Option<File>,
}

impl Home {
    /// Takes the folder for this process alone, making what is missing.
    pub(crate) fn take(folder: &Path) -> Result<Self, Failure> {
        if !Self::may_hold_a_lake(folder)? {
            return Err(Failure::Usage(format!(
                "{} holds other things and no lake; name a new folder with --lake",
                folder.display()
            )));
        }
        let private = folder.join(".stedi");
        fs::create_dir_all(&private).map_err(Failure::io(&private))?;
        let path = private.join("lock");
        let lock = File::create(&path).map_err(Failure::io(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), lock: Some(lock) }),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::Usage(format!(
                "{} is in use by another stedi; wait for it, or stop it",
                folder.display()
            ))),
            Err(fs::TryLockError::Error(error)) => Err(Failure::io(&path)(error)),
        }
    }

    /// Looks into the folder of a lake that must be there.
    pub(crate) fn visit(folder: &Path) -> Result<Self, Failure> {
        if !folder.join(layout::SETTINGS).is_file() {
            return Err(Failure::Usage(format!(
                "there is no lake in {}; make one with `stedi run --lake {}`",
                folder.display(),
                folder.display()
            )));
        }
        Ok(Self { folder: folder.to_owned(), lock: None })
    }

    fn may_hold_a_lake(folder: &Path) -> Result<bool, Failure> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            entries => entries.map_err(Failure::io(folder))?,
        };
        let is_lake = folder.join(".stedi").is_dir() || folder.join(layout::SETTINGS).is_file();
        let has_landed = |stream: Stream| folder.join(layout::landing(stream)).is_dir();
        if is_lake || Stream::ALL.into_iter().any(has_landed) {
            return Ok(true);
        }
        // It is empty, but for where the feeds are to land.
        for entry in entries {
            let entry = entry.map_err(Failure::io(folder))?;
            let is_to_land = entry.file_name() == "landing"
                && fs::read_dir(entry.path()).is_ok_and(|mut below| below.next().is_none());
            if !is_to_land {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Opens the store; what an interrupted process left half-written is removed.
    pub(crate) fn store(&self) -> Result<FolderStore, Failure> {
        let scratch = self.folder.join(".stedi/scratch");
        match self.lock {
            Some(_) => FolderStore::open(&self.folder, &scratch).map_err(Failure::io(&self.folder)),
            None => Ok(FolderStore::read_only(&self.folder, &scratch)),
        }
    }

    /// Opens the embedded catalog.
    pub(crate) fn catalog(&self) -> Result<StoreCatalog, Failure> {
        let folder = self.folder.join(".stedi/catalog");
        let scratch = self.folder.join(".stedi/catalog-scratch");
        let store = match self.lock {
            Some(_) => FolderStore::open(&folder, &scratch).map_err(Failure::io(&folder))?,
            None => FolderStore::read_only(&folder, &scratch),
        };
        Ok(StoreCatalog::new(Arc::new(store)))
    }

    /// What the lake recorded of itself; `None` if there is none yet.
    pub(crate) async fn settings(&self, store: &dyn Store) -> Result<Option<Settings>, Failure> {
        Lake::recorded_settings(store).await.map_err(|error| match error {
            Error::Unreadable { key, reason } => Failure::Usage(format!(
                "{}: {reason}; restore it, or make a new lake from the landing zone",
                self.folder.join(key.as_str()).display()
            )),
            error => error.into(),
        })
    }

    /// Opens a lake that is there, to look at it.
    pub(crate) async fn look(&self) -> Result<Lake, Failure> {
        self.open(Arc::new(self.store()?), Opening::as_it_is()).await
    }

    /// Opens the lake over `store`, or makes it.
    pub(crate) async fn open(
        &self,
        store: Arc<dyn Store>,
        opening: Opening,
    ) -> Result<Lake, Failure> {
        let recorded = self.settings(store.as_ref()).await?;
        let parts = match (opening.parts.parts, &recorded) {
            (Some(parts), _) => parts,
            (None, Some(settings)) => settings.parts,
            (None, None) => {
                let landed = list_all(store.as_ref(), layout::landing(Stream::Customer)).await?;
                let landed = landed.iter().map(|object| (&object.key, object.size_bytes));
                Parts::for_people((opening.people + feeds::people(landed)) / IN_BULK)
            }
        };
        let kept = recorded.as_ref().map_or_else(Policies::default, |settings| settings.policies);
        let key = self.key(recorded.is_some())?;
        let catalog = Arc::new(self.catalog()?);
        let policies = opening.policies.over(kept);
        if opening.change == Change::Allowed {
            let changed = Lake::change_policies(store.as_ref(), &key, parts, policies).await;
            changed.map_err(|error| self.refused(error))?;
        }
        let opened = Lake::open(store, catalog, key, parts, policies).await;
        let mut lake = opened.map_err(|error| self.refused(error))?;
        lake.bounds.cache_bytes_max = CACHE_BYTES_MAX;
        lake.bounds.kept_when_written = &READ_NEXT;
        // In a folder a look costs less than to be listed, and than to read what others need not.
        lake.bounds.looks_per_page = usize::MAX;
        lake.bounds.parts_looked_at = usize::MAX;
        // What is uploaded is written to a file at once, and there is no least size of it.
        lake.bounds.upload_bytes_max = 0;
        lake.bounds.piece_bytes = PIECE_BYTES;
        // Nobody ends this process when its time is over.
        lake.bounds.compacted_date_bytes_max = u64::MAX;
        lake.clock = Arc::new(now_ms);
        Ok(lake)
    }

    fn refused(&self, error: Error) -> Failure {
        match error {
            Error::Settings(source) => Failure::Settings { folder: self.folder.clone(), source },
            error => error.into(),
        }
    }

    /// Reads the key of the lake, or makes it for a new one.
    fn key(&self, must_exist: bool) -> Result<LakeKey, Failure> {
        let path = self.folder.join(".stedi/key");
        let digits = match fs::read_to_string(&path) {
            Ok(digits) => {
                only_for_its_owner(&path)?;
                digits
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => make_key(&path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Failure::Usage(format!(
                    "{} is missing: restore the key this lake was made with, or make a new lake",
                    path.display()
                )));
            }
            Err(error) => return Err(Failure::io(&path)(error)),
        };
        let secret = hex::decode(digits.trim()).ok();
        secret.and_then(|secret| LakeKey::new(&secret)).ok_or_else(|| {
            Failure::Usage(format!(
                "{} is not a key: restore the key this lake was made with",
                path.display()
            ))
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "tells how long an invocation has been lost")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn make_key(path: &Path) -> Result<String, Failure> {
    let mut secret = [0; KEY_BYTES];
    getrandom::fill(&mut secret)
        .map_err(|error| Failure::Other(format!("make a key for the lake: {error}")))?;
    let digits = hex::encode(secret);
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(digits.as_bytes()));
    written.map_err(Failure::io(path))?;
    Ok(digits)
}

fn only_for_its_owner(path: &Path) -> Result<(), Failure> {
    let mode = fs::metadata(path).map_err(Failure::io(path))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} can be read by others than its owner: `chmod 600` it",
        path.display()
    )))
}
