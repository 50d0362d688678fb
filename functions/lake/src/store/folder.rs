//! A store in a folder: an object is a file, its key the path below the folder.
//!
//! Tags are made of inode, size and modification time. What this store writes gets a modification
//! time of its own, so that a tag never comes back; files that others put there (the landing zone)
//! have the time the kernel gave them.
//!
//! Conditional writes are atomic within a process. One process at a time works on a lake: the
//! local environment holds a lock for it.

use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tracing::warn;

use super::{
    ByteRange, Object, ObjectMeta, ObjectStream, Page, Precondition, Store, StoreError, Upload,
};
use crate::key::{ETag, ObjectKey};

const CHUNK_BYTES: usize = 1 << 17;
const PAGE_MAX: usize = 64 << 10;
const STRIPES: usize = 64;
/// How often a folder is listed from which another process takes files meanwhile.
const LISTINGS_MAX: usize = 64;
/// A folder may be pruned between its making and its use; this often at the most.
const PARENT_ATTEMPTS_MAX: usize = 16;
/// Folders this far below the root stay when they are empty (`landing/customer`).
const KEPT_DEPTH: usize = 2;

/// A store in a folder. What lies in a folder or file whose name begins with a dot, directly below
/// the root, is not part of it. Its clones are the same store.
#[derive(Clone)]
pub struct FolderStore {
    root: Arc<Path>,
    scratch: Arc<Path>,
    stripes: Arc<[Mutex<()>; STRIPES]>,
    /// Listings share it; what is deleted waits for them.
    listed: Arc<RwLock<()>>,
    written: Arc<AtomicU64>,
}

impl FolderStore {
    /// Opens the store in `root`; `scratch`, on the same file system and outside the store's keys,
    /// takes files while they are written. What an interrupted process left there is removed.
    pub fn open(root: &Path, scratch: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        if scratch.exists() {
            fs::remove_dir_all(scratch)?;
        }
        fs::create_dir_all(scratch)?;
        Ok(Self::read_only(root, scratch))
    }

    /// Opens the store in `root` for reading, and leaves the scratch folder as it is.
    pub fn read_only(root: &Path, scratch: &Path) -> Self {
        Self {
            root: root.into(),
            scratch: scratch.into(),
            stripes: Arc::new(std::array::from_fn(|_| Mutex::new(()))),
            listed: Arc::default(),
            written: Arc::default(),
        }
    }

    /// Copies a file from elsewhere into the store, if what is there differs from it; says whether
    /// it did.
    pub fn import(&self, file: &Path, key: &ObjectKey) -> Result<bool, StoreError> {
        let path = self.path("put", key)?;
        let copy = || -> io::Result<bool> {
            if same_content(file, &path)? {
                return Ok(false);
            }
            let scratch = self.scratch_file();
            fs::copy(file, &scratch)?;
            let copied = File::options().write(true).open(&scratch)?;
            self.publish(&copied, &scratch, &path, key, &Precondition::None)?;
            Ok(true)
        };
        copy().map_err(unavailable("put", key))
    }

    fn scratch_file(&self) -> PathBuf {
        let time = self.next_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.scratch.join(time.as_nanos().to_string())
    }

    fn path(&self, operation: &'static str, key: &ObjectKey) -> Result<PathBuf, StoreError> {
        let text = key.as_str();
        let reason = if text.is_empty() || text.contains('\0') {
            "a key is not empty and has no NUL"
        } else if text.starts_with('.') {
            "names beginning with a dot are not part of the store"
        } else if text.split('/').any(|name| matches!(name, "" | "." | "..")) {
            "a folder has no names that are empty, `.` or `..`"
        } else {
            return Ok(self.root.join(text));
        };
        Err(StoreError::InvalidKey { operation, key: key.clone(), reason })
    }

    fn stripe(&self, key: &ObjectKey) -> std::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let stripe = hasher.finish() as usize % STRIPES;
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A modification time that no earlier write of this process had.
    #[expect(clippy::disallowed_methods, reason = "file times are the folder's own matter")]
    fn next_time(&self) -> SystemTime {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX - 1);
        let before = self
            .written
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now_ns.max(last + 1)))
            .unwrap_or_default();
        UNIX_EPOCH + Duration::from_nanos(now_ns.max(before + 1))
    }

    fn write(
        &self,
        path: &Path,
        key: &ObjectKey,
        bytes: &[u8],
        when: &Precondition,
    ) -> io::Result<Option<ETag>> {
        if bytes.is_empty()
            && !matches!(when, Precondition::IfMatch(_))
            && let Some(etag) = self.write_marker(path, key)?
        {
            return Ok(Some(etag));
        }
        let scratch = self.scratch_file();
        let mut file = File::create_new(&scratch)?;
        file.write_all(bytes)?;
        self.publish(&file, &scratch, path, key, when)
    }

    /// Moves a finished scratch file to its place, if the precondition holds; removes it otherwise.
    fn publish(
        &self,
        file: &File,
        scratch: &Path,
        path: &Path,
        key: &ObjectKey,
        when: &Precondition,
    ) -> io::Result<Option<ETag>> {
        file.set_modified(self.next_time())?;
        let etag = etag(&file.metadata()?);
        let _guard = self.stripe(key);
        let holds = match when {
            Precondition::None => true,
            Precondition::IfAbsent => look(path)?.is_none(),
            Precondition::IfMatch(noted) => {
                look(path)?.is_some_and(|metadata| self::etag(&metadata) == *noted)
            }
        };
        if !holds {
            fs::remove_file(scratch)?;
            return Ok(None);
        }
        place(scratch, path)?;
        Ok(Some(etag))
    }

    /// Makes an empty file where there is none. It is whole at once, and needs no renaming: there
    /// are very many markers.
    fn write_marker(&self, path: &Path, key: &ObjectKey) -> io::Result<Option<ETag>> {
        let _guard = self.stripe(key);
        for _ in 0..PARENT_ATTEMPTS_MAX {
            match File::create_new(path) {
                Ok(file) => {
                    file.set_modified(self.next_time())?;
                    return Ok(Some(etag(&file.metadata()?)));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    path.parent().map(fs::create_dir_all).transpose()?;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn remove(&self, path: &Path, key: &ObjectKey) -> io::Result<()> {
        let _guard = self.stripe(key);
        let _unlisted = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        match fs::remove_file(path) {
            Err(error) if missing(&error) => return Ok(()),
            removed => removed?,
        }
        let mut folder = path.parent();
        while let Some(empty) = folder {
            let depth = empty.strip_prefix(&self.root).map_or(0, |below| below.iter().count());
            if depth <= KEPT_DEPTH || fs::remove_dir(empty).is_err() {
                break;
            }
            folder = empty.parent();
        }
        Ok(())
    }

    /// Lists the files below `folder`, in key order.
    ///
    /// Names are read before files are looked at. Where one vanished in between, another may have
    /// taken its place that was not there yet. What this process deletes waits; for another's, the
    /// folder is listed again.
    fn page(&self, folder: &str, prefix: &str, after: &str) -> io::Result<Page> {
        let _listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..LISTINGS_MAX {
            let mut objects = Vec::new();
            match self.walk(folder, prefix, after, &mut objects)? {
                Walked::Whole => return Ok(Page { objects, more: false }),
                Walked::Full => return Ok(Page { objects, more: true }),
                Walked::Vanished => {}
            }
        }
        Err(io::Error::other(format!("{folder}: another process takes files from it")))
    }

    /// Collects the files below `folder`, in key order, until `page` is full.
    fn walk(
        &self,
        folder: &str,
        prefix: &str,
        after: &str,
        page: &mut Vec<ObjectMeta>,
    ) -> io::Result<Walked> {
        let mut entries = Vec::new();
        let listing = match fs::read_dir(self.root.join(folder)) {
            Err(error) if missing(&error) => return Ok(Walked::Whole),
            listing => listing?,
        };
        for entry in listing {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|name| {
                io::Error::other(format!("{folder}{}: the name is not UTF-8", name.display()))
            })?;
            if folder.is_empty() && name.starts_with('.') {
                continue;
            }
            let kind = entry.file_type()?;
            let is_folder = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
            let slash = if is_folder { "/" } else { "" };
            let key = format!("{folder}{name}{slash}");
            let covers_prefix = is_folder && prefix.starts_with(&key);
            let before = key.as_str() <= after && !(is_folder && after.starts_with(&key));
            if (key.starts_with(prefix) || covers_prefix) && !before {
                entries.push((key, is_folder, entry));
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, is_folder, entry) in entries {
            if is_folder {
                match self.walk(&key, prefix, after, page)? {
                    Walked::Whole => {}
                    stopped => return Ok(stopped),
                }
            } else if let Some(metadata) = look(&entry.path())? {
                if page.len() == PAGE_MAX {
                    return Ok(Walked::Full);
                }
                page.push(meta(&ObjectKey::new(key), &metadata));
            } else if fs::symlink_metadata(entry.path()).is_err_and(|error| missing(&error)) {
                return Ok(Walked::Vanished);
            }
        }
        Ok(Walked::Whole)
    }
}

/// How far a folder was walked.
enum Walked {
    Whole,
    /// The page is full, and more follow.
    Full,
    /// A file was gone that had been there.
    Vanished,
}

/// Moves a finished file to its place, making the folders it needs.
fn place(scratch: &Path, path: &Path) -> io::Result<()> {
    for _ in 0..PARENT_ATTEMPTS_MAX {
        match fs::rename(scratch, path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                path.parent().map(fs::create_dir_all).transpose()?;
            }
            renamed => return renamed,
        }
    }
    fs::remove_file(scratch)?;
    Err(io::Error::other("its folder vanishes again and again"))
}

fn same_content(a: &Path, b: &Path) -> io::Result<bool> {
    let Some((mut b, b_metadata)) = open(b)? else { return Ok(false) };
    let mut a = File::open(a)?;
    if a.metadata()?.size() != b_metadata.size() {
        return Ok(false);
    }
    let (mut a_chunk, mut b_chunk) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    loop {
        let length = a.read(&mut a_chunk)?;
        if length == 0 {
            return Ok(true);
        }
        b.read_exact(&mut b_chunk[..length])?;
        if a_chunk[..length] != b_chunk[..length] {
            return Ok(false);
        }
    }
}

fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The file's metadata; `None` if there is no such file.
fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file().then_some(metadata)),
        Err(error) if missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    let file = match File::open(path) {
        Err(error) if missing(&error) => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

/// Written digit by digit: every look at a file makes one, and formatting was half of what a look
/// took.
fn etag(metadata: &Metadata) -> ETag {
    let time_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    let mut tag = String::with_capacity(64);
    push_hex(&mut tag, metadata.ino().into());
    tag.push('-');
    push_hex(&mut tag, metadata.size().into());
    tag.push('-');
    push_hex(&mut tag, time_ns.cast_unsigned());
    ETag::new(tag)
}

fn push_hex(text: &mut String, number: u128) {
    let digits = (u128::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let digit = (number >> (4 * digit)) as u32 & 0xf;
        text.extend(char::from_digit(digit, 16));
    }
}

fn meta(key: &ObjectKey, metadata: &Metadata) -> ObjectMeta {
    ObjectMeta { key: key.clone(), etag: etag(metadata), size_bytes: metadata.size() }
}

fn read(path: &Path, key: &ObjectKey, range: &ByteRange) -> io::Result<Option<Object>> {
    let Some((mut file, metadata)) = open(path)? else { return Ok(None) };
    let size = metadata.size();
    let range = match range {
        ByteRange::All => 0..size,
        ByteRange::Bounded(range) => range.start.min(size)..range.end.min(size),
        ByteRange::Suffix(length) => size.saturating_sub(*length)..size,
    };
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
    file.seek(SeekFrom::Start(range.start))?;
    (&mut file).take(range.end - range.start).read_to_end(&mut bytes)?;
    unmoved(&file, &metadata)?;
    Ok(Some(Object { meta: meta(key, &metadata), bytes: bytes.into() }))
}

/// A file that is written in place while it is read would give bytes of two versions.
fn unmoved(file: &File, before: &Metadata) -> io::Result<()> {
    if etag(&file.metadata()?) == etag(before) {
        Ok(())
    } else {
        Err(io::Error::other("the file changed while it was read"))
    }
}

fn unavailable<'a>(
    operation: &'static str,
    key: &'a ObjectKey,
) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| match source.kind() {
        ErrorKind::InvalidFilename => {
            let reason = "a name in it is longer than the file system has names";
            StoreError::InvalidKey { operation, key: key.clone(), reason }
        }
        _ => StoreError::Unavailable { operation, key: key.clone(), source: source.into() },
    }
}

#[async_trait]
impl Store for FolderStore {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        let path = self.path("head", key)?;
        let metadata = look(&path).map_err(unavailable("head", key))?;
        Ok(metadata.map(|metadata| meta(key, &metadata)))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        let path = self.path("get", key)?;
        read(&path, key, &range).map_err(unavailable("get", key))
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        let path = self.path("get", key)?;
        let Some((file, metadata)) = open(&path).map_err(unavailable("get", key))? else {
            return Ok(None);
        };
        let meta = meta(key, &metadata);
        let key = key.clone();
        let chunks = futures::stream::try_unfold((file, metadata), move |(mut file, metadata)| {
            let key = key.clone();
            async move {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                // Without filling the chunk with zeros before.
                let read = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
                read.map_err(unavailable("get", &key))?;
                if chunk.is_empty() {
                    unmoved(&file, &metadata).map_err(unavailable("get", &key))?;
                    return Ok(None);
                }
                Ok(Some((Bytes::from(chunk), (file, metadata))))
            }
        });
        Ok(Some(ObjectStream { meta, chunks: Box::pin(chunks) }))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError> {
        let path = self.path("put", key)?;
        let written = self.write(&path, key, &bytes, &when).map_err(unavailable("put", key))?;
        written.ok_or_else(|| StoreError::Precondition { key: key.clone() })
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        let path = self.path("put", key)?;
        let scratch = self.scratch_file();
        let file = File::create_new(&scratch).map_err(unavailable("put", key))?;
        let scratch = Scratch { path: Some(scratch) };
        Ok(Box::new(Upwards { store: self.clone(), key: key.clone(), path, file, scratch }))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let path = self.path("delete", key)?;
        self.remove(&path, key).map_err(unavailable("delete", key))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError> {
        let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        let after = after.map_or("", ObjectKey::as_str);
        self.page(folder, prefix, after).map_err(unavailable("list", &ObjectKey::new(prefix)))
    }
}

/// A file that is being written, outside the store's keys.
struct Upwards {
    store: FolderStore,
    key: ObjectKey,
    path: PathBuf,
    file: File,
    scratch: Scratch,
}

/// A scratch file, removed when it is dropped, unless it was moved to its place.
struct Scratch {
    path: Option<PathBuf>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = fs::remove_file(&path)
        {
            warn!("remove {}: {error}", path.display());
        }
    }
}

#[async_trait]
impl Upload for Upwards {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.file.write_all(&bytes).map_err(unavailable("put", &self.key))
    }

    async fn complete(mut self: Box<Self>, when: Precondition) -> Result<ETag, StoreError> {
        let Self { store, key, path, file, scratch } = self.as_mut();
        let moved = scratch.path.as_ref().map_or(Ok(None), |scratch| {
            store.publish(file, scratch, path, key, &when).map_err(unavailable("put", key))
        })?;
        // It was moved or removed.
        scratch.path = None;
        moved.ok_or_else(|| StoreError::Precondition { key: key.clone() })
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter() {
        for number in
            [0, 1, 0xf, 0x10, 0xdead_beef, u128::from(u64::MAX), (-1_i128).cast_unsigned()]
        {
            let mut text = String::new();
            push_hex(&mut text, number);
            assert_eq!(text, format!("{number:x}"));
        }
    }
}
