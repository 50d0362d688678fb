//! `stedi quarantine`: what could not be read, with file, place and reason.

use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use lake::key::ObjectKey;
use lake::layout;
use lake::reader::{Excerpt, Fragment};
use lake::store::{Store, StoreError, list_all};
use lake::tables::Stream;

use crate::args::QuarantineArgs;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::Output;
use crate::status::block_on;

const ZONE: &str = "quarantine/";

pub(crate) fn quarantine(args: &QuarantineArgs, output: &mut Output) -> Result<(), Failure> {
    let home = Home::visit(&args.lake)?;
    let store = home.store()?;
    block_on(async {
        match &args.explain {
            None => list(&store, output).await,
            Some(file) => explain(&store, &landing_key(&args.lake, file), output).await,
        }
    })
}

async fn list(store: &dyn Store, output: &mut Output) -> Result<(), Failure> {
    let mut count = 0;
    for object in list_all(store, ZONE).await? {
        let landing = object.key.after(ZONE).and_then(|rest| rest.split_once('/'));
        let landing = landing.and_then(|(_, landing)| landing.strip_suffix(".jsonl"));
        let mut fragments = Fragments::open(store, object.key.clone()).await?;
        while let Some(fragment) = fragments.next().await? {
            count += 1;
            writeln!(
                output,
                "{}: byte {}, {} bytes, {}: {}",
                landing.unwrap_or(object.key.as_str()),
                fragment.offset_bytes,
                fragment.length_bytes,
                fragment.reason,
                fragment.message
            )?;
        }
    }
    writeln!(output, "{count} in quarantine")
}

async fn explain(
    store: &dyn Store,
    landing: &ObjectKey,
    output: &mut Output,
) -> Result<(), Failure> {
    let stream = Stream::ALL.into_iter().find(|s| landing.after(layout::landing(*s)).is_some());
    let Some(stream) = stream else {
        return Err(Failure::Usage(format!(
            "{landing} is no landing object; name one as `stedi quarantine` lists it"
        )));
    };
    let mut fragments = Fragments::open(store, layout::quarantine(stream, landing)).await?;
    let mut any = false;
    while let Some(fragment) = fragments.next().await? {
        any = true;
        let range = fragment.surroundings();
        let offset = range.start;
        let source = excerpt(store, landing, Excerpt::new(range)).await?;
        writeln!(output, "{landing}: {}", fragment.explain(&source, offset))?;
    }
    if !any {
        writeln!(output, "nothing of {landing} is in quarantine")?;
    }
    Ok(())
}

/// A landing object may be named by its key, or by its path.
fn landing_key(lake: &Path, file: &str) -> ObjectKey {
    let below = Path::new(file).strip_prefix(lake).ok().and_then(Path::to_str);
    ObjectKey::new(below.unwrap_or(file))
}

/// The fragments of a quarantine, one after another.
struct Fragments {
    key: ObjectKey,
    chunks: Option<BoxStream<'static, Result<Bytes, StoreError>>>,
    rest: Vec<u8>,
    /// Where in `rest` the next line begins.
    at: usize,
}

impl Fragments {
    async fn open(store: &dyn Store, key: ObjectKey) -> Result<Self, Failure> {
        let chunks = store.stream(&key).await?.map(|object| object.chunks);
        Ok(Self { key, chunks, rest: Vec::new(), at: 0 })
    }

    async fn next(&mut self) -> Result<Option<Fragment>, Failure> {
        let Some(chunks) = &mut self.chunks else { return Ok(None) };
        let mut seen = self.at;
        let end = loop {
            if let Some(feed) = self.rest[seen..].iter().position(|byte| *byte == b'\n') {
                break seen + feed + 1;
            }
            self.rest.drain(..self.at);
            self.at = 0;
            seen = self.rest.len();
            match chunks.try_next().await? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None if self.rest.is_empty() => return Ok(None),
                None => break seen,
            }
        };
        let line = String::from_utf8_lossy(&self.rest[self.at..end]).trim_end().to_owned();
        self.at = end;
        let fragment = Fragment::from_line(&line);
        fragment
            .map(Some)
            .map_err(|error| Failure::Other(format!("{}: {error}; run `stedi replay`", self.key)))
    }
}

async fn excerpt(
    store: &dyn Store,
    key: &ObjectKey,
    mut excerpt: Excerpt,
) -> Result<Vec<u8>, Failure> {
    let Some(mut object) = store.stream(key).await? else { return Ok(Vec::new()) };
    while let Some(chunk) = object.chunks.try_next().await? {
        excerpt.push(&chunk);
    }
    Ok(excerpt.finish())
}
