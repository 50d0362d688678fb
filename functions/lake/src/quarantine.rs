//! The quarantine: what could not be read of a landing object, with its place and the reason.
//!
//! It is derived, as everything past landing is: replaced with its landing object, gone with it.
//! It holds personal data as delivered, so that few may read it.

use crate::error::Error;
use crate::key::ObjectKey;
use crate::lake::{Lake, Put};
use crate::landing::Landed;
use crate::layout;
use crate::store::{ByteRange, Precondition};
use crate::tables::Stream;

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
        None => (None, bytes::Bytes::new()),
    };
    let mut wanted = String::new();
    for fragment in &landed.fragments {
        let line = fragment
            .to_line()
            .map_err(|source| Error::Encode { what: key.to_string(), source: source.into() })?;
        wanted.push_str(&line);
        wanted.push('\n');
    }
    let put = if wanted.as_bytes() == bytes.as_ref() {
        return Ok(Put::Done(etag.unwrap_or_else(|| crate::key::ETag::new(""))));
    } else if wanted.is_empty() {
        lake.store.delete(&key).await?;
        Put::Done(crate::key::ETag::new(""))
    } else {
        lake.put(&key, wanted.into(), Precondition::unchanged(etag.as_ref())).await?
    };
    let current = lake.store.head(landing).await?.map(|meta| meta.etag);
    Ok(if current == landed.version { put } else { Put::Moved })
}
