//! Landing objects: read through the reader, whatever form they were delivered in.

use arrow_array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;

use crate::error::Error;
use crate::key::{ETag, ObjectKey};
use crate::lake::Lake;
use crate::quarantine;
use crate::reader::{Compression, Fragment, Reader, Sink, Summary};
use crate::tables::Stream;

/// What a landing object held when it was read.
#[derive(Default)]
pub struct Landed {
    /// Its version; `None` if there is no such object.
    pub version: Option<ETag>,
    /// Its records, in the stream's schema and the order of the object.
    pub batches: Vec<RecordBatch>,
    /// What did not become a record.
    pub fragments: Vec<Fragment>,
    /// What its quarantine says; empty without fragments.
    pub quarantine: Bytes,
    /// Counts of the whole object.
    pub summary: Summary,
}

impl Sink for Landed {
    fn batch(&mut self, batch: RecordBatch) {
        self.batches.push(batch);
    }

    fn fragment(&mut self, fragment: Fragment) {
        self.fragments.push(fragment);
    }
}

/// Reads a landing object of `stream` as it is now.
pub async fn read(lake: &Lake, stream: Stream, key: &ObjectKey) -> Result<Landed, Error> {
    let mut landed = Landed::default();
    let Some(mut object) = lake.store.stream(key).await? else { return Ok(landed) };
    let mut reader = Reader::new(stream, &lake.limits);
    while let Some(chunk) = object.chunks.next().await {
        reader.push(&chunk?, &mut landed);
    }
    landed.summary = reader.finish(&mut landed);
    let is_named_gz = key.as_str().ends_with(".gz");
    landed.summary.newline_delimited &=
        (landed.summary.compression == Compression::Gzip) == is_named_gz;
    landed.quarantine = quarantine::encode(key, &landed.fragments)?;
    landed.version = Some(object.meta.etag);
    Ok(landed)
}
