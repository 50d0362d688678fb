//! The quarantine: what could not be read of a landing object, with its place and the reason.
//!
//! It is derived, as everything past landing is: replaced with its landing object, gone with it.
//! It holds personal data as delivered, so that few may read it.
//!
//! Of the lines of a landing object no more is kept in memory than
//! [`Bounds::small_bytes_max`](crate::lake::Bounds), beside their digest; more of them are written
//! as the landing object passes once again. What lies there is compared by its digest.

use bytes::Bytes;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::key::{ETag, ObjectKey};
use crate::lake::{Lake, Put};
use crate::landing::{Landed, Piece, Records};
use crate::layout;
use crate::reader::Fragment;
use crate::store::Precondition;
use crate::tables::Stream;

/// What the quarantine of a landing object says.
#[derive(Default)]
pub struct Quarantined {
    /// Tells it from another; `None` if there is none.
    pub digest: Option<String>,
    /// Its lines; `None` if they are too many to be kept.
    lines: Option<Bytes>,
}

/// The lines of a quarantine, one after another.
pub struct Lines {
    digest: Sha256,
    any: bool,
    kept: Option<String>,
    kept_bytes_max: u64,
}

impl Lines {
    /// No lines yet.
    pub fn new(lake: &Lake) -> Self {
        let kept_bytes_max = lake.bounds.small_bytes_max;
        Self { digest: Sha256::new(), any: false, kept: Some(String::new()), kept_bytes_max }
    }

    /// Adds a fragment.
    pub fn add(&mut self, landing: &ObjectKey, fragment: &Fragment) -> Result<(), Error> {
        let line = line(landing, fragment)?;
        self.digest.update(&line);
        self.any = true;
        let fits = |kept: &String| (kept.len() + line.len()) as u64 <= self.kept_bytes_max;
        self.kept = self.kept.take().filter(fits).map(|kept| kept + &line);
        Ok(())
    }

    /// The quarantine they make.
    pub fn finish(self) -> Quarantined {
        let digest = self.any.then(|| hex::encode(self.digest.finalize()));
        Quarantined { digest, lines: self.kept.map(Into::into) }
    }
}

fn line(landing: &ObjectKey, fragment: &Fragment) -> Result<String, Error> {
    let mut line = fragment.to_line().map_err(|source| Error::Encode {
        what: format!("the quarantine of {landing}"),
        source: source.into(),
    })?;
    line.push('\n');
    Ok(line)
}

/// A quarantine as it lies there.
#[derive(Default)]
pub struct Found {
    /// Its version; `None` if there is none.
    pub etag: Option<ETag>,
    /// As [`Quarantined::digest`].
    pub digest: Option<String>,
}

/// Finds the quarantine of a landing object.
pub async fn find(lake: &Lake, stream: Stream, landing: &ObjectKey) -> Result<Found, Error> {
    let key = layout::quarantine(stream, landing);
    let Some(mut object) = lake.store.stream(&key).await? else { return Ok(Found::default()) };
    let mut digest = Sha256::new();
    let mut any = false;
    while let Some(chunk) = object.chunks.try_next().await? {
        any |= !chunk.is_empty();
        digest.update(&chunk);
    }
    let digest = any.then(|| hex::encode(digest.finalize()));
    Ok(Found { etag: Some(object.meta.etag), digest })
}

/// Makes the quarantine of a landing object equal to what was found in it. `Moved` means that
/// somebody else did something to it meanwhile: read the landing object again.
pub async fn derive(
    lake: &Lake,
    stream: Stream,
    landing: &ObjectKey,
    landed: &Landed,
) -> Result<Put, Error> {
    let key = layout::quarantine(stream, landing);
    let Found { etag, digest } = find(lake, stream, landing).await?;
    let wanted = &landed.quarantine;
    let when = Precondition::unchanged(etag.as_ref());
    let put = if wanted.digest == digest {
        return Ok(Put::Done(etag.unwrap_or_else(|| ETag::new(""))));
    } else if wanted.digest.is_none() {
        lake.store.delete(&key).await?;
        Put::Done(ETag::new(""))
    } else if let Some(lines) = &wanted.lines {
        lake.put(&key, lines.clone(), when).await?
    } else {
        upload(lake, stream, landing, landed, when).await?
    };
    let current = lake.store.head(landing).await?.map(|meta| meta.etag);
    Ok(if current == landed.version { put } else { Put::Moved })
}

/// Writes the quarantine as the landing object passes once again.
async fn upload(
    lake: &Lake,
    stream: Stream,
    landing: &ObjectKey,
    landed: &Landed,
    when: Precondition,
) -> Result<Put, Error> {
    let Some(mut records) = Records::again(lake, stream, landing).await? else {
        return Ok(Put::Moved);
    };
    if Some(records.version()) != landed.version.as_ref() {
        return Ok(Put::Moved);
    }
    let mut upload = lake.pieces(layout::quarantine(stream, landing));
    while let Some(piece) = records.next().await? {
        if let Piece::Fragment(fragment) = piece {
            upload.write(line(landing, &fragment)?.as_bytes()).await?;
        }
    }
    upload.complete(when).await
}
