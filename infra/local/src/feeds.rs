//! Finds the feeds in a folder of data, and puts them into the landing zone.

use std::fs;
use std::path::{Path, PathBuf};

use lake::key::ObjectKey;
use lake::layout;
use lake::tables::Stream;

use crate::failure::Failure;

/// A file of a feed.
pub(crate) struct FeedFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Where it goes in the landing zone.
    pub(crate) key: ObjectKey,
}

/// The files of the feeds in a folder: `landing/<stream>/…`, `<stream>/landing/…` or `<stream>/…`.
pub(crate) fn find(data: &Path) -> Result<Vec<FeedFile>, Failure> {
    if !data.is_dir() {
        return Err(Failure::Usage(format!(
            "{} is not a folder; name the folder of the feeds with --data",
            data.display()
        )));
    }
    let mut files = Vec::new();
    for stream in Stream::ALL {
        let folder = feed_folder(data, stream);
        if let Some(folder) = folder {
            collect(&folder, layout::landing(stream), &mut files)?;
        }
    }
    if files.is_empty() {
        return Err(Failure::Usage(format!(
            "{} holds no feed; want files under landing/<stream>/, <stream>/landing/ or <stream>/, \
             where <stream> is customer, accelerometer or step_trainer",
            data.display()
        )));
    }
    Ok(files)
}

fn feed_folder(data: &Path, stream: Stream) -> Option<PathBuf> {
    let name = stream.name();
    let candidates =
        [data.join("landing").join(name), data.join(name).join("landing"), data.join(name)];
    candidates.into_iter().find(|folder| folder.is_dir())
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<FeedFile>) -> Result<(), Failure> {
    let mut entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(Failure::io(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| {
            Failure::Usage(format!("{}: the name is not UTF-8; rename it", path.display()))
        })?;
        let key = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{key}/"), files)?;
        } else {
            files.push(FeedFile { path, key: ObjectKey::new(key) });
        }
    }
    Ok(())
}
