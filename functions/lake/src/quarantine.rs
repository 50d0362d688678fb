//! The quarantine: what could not be read of a landing object, with its place and the reason.
//!
//! It is derived, as everything past landing is: replaced with its landing object, gone with it.
//! It holds personal data as delivered, so that few may read it.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::key::{ETag, ObjectKey};
use crate::lake::{Lake, Put};
use crate::landing::Landed;
use crate::layout;
use crate::reader::Fragment;
use crate::store::{ByteRange, Precondition};
use crate::tables::Stream;

/// What the quarantine of a landing object says of these fragments; nothing if there are none.
pub fn encode(landing: &ObjectKey, fragments: &[Fragment]) -> Result<Bytes, Error> {
    let mut lines = String::new();
    for fragment in fragments {
        let line = fragment.to_line().map_err(|source| Error::Encode {
            what: format!("the quarantine of {landing}"),
            source: source.into(),
        })?;
        lines.push_str(&line);
        lines.push('\n');
    }
    Ok(lines.into())
}

/// Tells one quarantine from another; `None` if there is none.
pub fn digest(quarantine: &[u8]) -> Option<String> {
    (!quarantine.is_empty()).then(|| hex::encode(Sha256::digest(quarantine)))
}

/// Whether the quarantine of a landing object is the one of this digest.
pub async fn is_at(
    lake: &Lake,
    stream: Stream,
    landing: &ObjectKey,
    wanted: Option<&str>,
) -> Result<bool, Error> {
    let key = layout::quarantine(stream, landing);
    let found = lake.store.get(&key, ByteRange::All).await?;
    Ok(found.and_then(|found| digest(&found.bytes)).as_deref() == wanted)
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
    let found = lake.store.get(&key, ByteRange::All).await?;
    let (etag, bytes) = match found {
        Some(object) => (Some(object.meta.etag), object.bytes),
        None => (None, Bytes::new()),
    };
    let wanted = landed.quarantine.clone();
    let put = if wanted == bytes {
        return Ok(Put::Done(etag.unwrap_or_else(|| ETag::new(""))));
    } else if wanted.is_empty() {
        lake.store.delete(&key).await?;
        Put::Done(ETag::new(""))
    } else {
        lake.put(&key, wanted, Precondition::unchanged(etag.as_ref())).await?
    };
    let current = lake.store.head(landing).await?.map(|meta| meta.etag);
    Ok(if current == landed.version { put } else { Put::Moved })
}
