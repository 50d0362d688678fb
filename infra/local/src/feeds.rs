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
    pub(crate) size_bytes: u64,
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
            collect(&folder, layout::landing(stream), &mut Vec::new(), &mut files)?;
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

/// Bytes of a customer's records, about: one or two of 300; and how much smaller they are where the
/// file is compressed.
const CUSTOMER_BYTES: u64 = 500;
const COMPRESSION: u64 = 6;

/// About how many people some files tell of, by their sizes; files of other feeds do not count.
///
/// For the number of parts of a new lake, which is a power of two: reading the files would not say
/// anything better of how many customers there will be.
pub(crate) fn people<'a>(files: impl IntoIterator<Item = (&'a ObjectKey, u64)>) -> u64 {
    let customers = files.into_iter().filter_map(|(key, size_bytes)| {
        let name = key.after(layout::landing(Stream::Customer))?;
        Some(if name.ends_with(".gz") { size_bytes * COMPRESSION } else { size_bytes })
    });
    customers.sum::<u64>() / CUSTOMER_BYTES
}

fn feed_folder(data: &Path, stream: Stream) -> Option<PathBuf> {
    let name = stream.name();
    let candidates =
        [data.join("landing").join(name), data.join(name).join("landing"), data.join(name)];
    candidates.into_iter().find(|folder| folder.is_dir())
}

/// The files below a folder, which lies within others: by no link may it lead back to one of them.
fn collect(
    folder: &Path,
    prefix: &str,
    within: &mut Vec<PathBuf>,
    files: &mut Vec<FeedFile>,
) -> Result<(), Failure> {
    let real = fs::canonicalize(folder).map_err(Failure::io(folder))?;
    if within.contains(&real) {
        return Err(Failure::Usage(format!(
            "{} leads back to {}, in which it lies; remove the link",
            folder.display(),
            real.display()
        )));
    }
    within.push(real);
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
        let metadata = fs::metadata(&path).map_err(|error| match path.is_symlink() {
            true => Failure::Usage(format!(
                "{}: the link leads nowhere: {error}; mend it, or remove it",
                path.display()
            )),
            false => Failure::io(&path)(error),
        })?;
        if metadata.is_dir() {
            collect(&path, &format!("{key}/"), within, files)?;
        } else if metadata.is_file() {
            let size_bytes = metadata.len();
            files.push(FeedFile { path, key: ObjectKey::new(key), size_bytes });
        } else {
            return Err(Failure::Usage(format!(
                "{} is neither a file nor a folder; remove it",
                path.display()
            )));
        }
    }
    within.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_counted_by_the_sizes_of_the_customer_files() {
        let of = |files: &[(&str, u64)]| {
            let files: Vec<_> =
                files.iter().map(|(key, size)| (ObjectKey::new(*key), *size)).collect();
            people(files.iter().map(|(key, size)| (key, *size)))
        };
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[("landing/accelerometer/a.json", 1 << 40)]), 0);
        assert_eq!(
            of(&[("landing/customer/a.json", 500_000), ("landing/customer/b/c", 50)]),
            1_000
        );
        assert_eq!(of(&[("landing/customer/a.json.gz", 500_000)]), 6_000);
    }
}
