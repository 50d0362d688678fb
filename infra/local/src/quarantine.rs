//! `stedi quarantine`: what could not be read, with file, place and reason.

use std::path::Path;

use lake::key::ObjectKey;
use lake::layout;
use lake::reader::{Excerpt, Fragment};
use lake::store::{ByteRange, Store, list_all};
use lake::tables::Stream;

use crate::args::QuarantineArgs;
use crate::failure::Failure;
use crate::home::Home;
use crate::status::block_on;

const ZONE: &str = "quarantine/";

pub(crate) fn quarantine(args: &QuarantineArgs) -> Result<(), Failure> {
    let home = Home::visit(&args.lake)?;
    let store = home.store()?;
    block_on(async {
        match &args.explain {
            None => list(&store).await,
            Some(file) => explain(&store, &landing_key(&args.lake, file)).await,
        }
    })
}

async fn list(store: &dyn Store) -> Result<(), Failure> {
    let mut count = 0;
    for object in list_all(store, ZONE).await? {
        let landing = object.key.after(ZONE).and_then(|rest| rest.split_once('/'));
        let landing = landing.and_then(|(_, landing)| landing.strip_suffix(".jsonl"));
        for fragment in fragments(store, &object.key).await? {
            count += 1;
            println!(
                "{}: byte {}, {} bytes, {}: {}",
                landing.unwrap_or(object.key.as_str()),
                fragment.offset_bytes,
                fragment.length_bytes,
                fragment.reason,
                fragment.message
            );
        }
    }
    println!("{count} in quarantine");
    Ok(())
}

async fn explain(store: &dyn Store, landing: &ObjectKey) -> Result<(), Failure> {
    let stream = Stream::ALL.into_iter().find(|s| landing.after(layout::landing(*s)).is_some());
    let Some(stream) = stream else {
        return Err(Failure::Usage(format!(
            "{landing} is no landing object; name one as `stedi quarantine` lists it"
        )));
    };
    let key = layout::quarantine(stream, landing);
    let fragments = fragments(store, &key).await?;
    if fragments.is_empty() {
        println!("nothing of {landing} is in quarantine");
    }
    for fragment in fragments {
        let range = fragment.surroundings();
        let offset = range.start;
        let source = excerpt(store, landing, Excerpt::new(range)).await?;
        println!("{landing}: {}", fragment.explain(&source, offset));
    }
    Ok(())
}

/// A landing object may be named by its key, or by its path.
fn landing_key(lake: &Path, file: &str) -> ObjectKey {
    let below = Path::new(file).strip_prefix(lake).ok().and_then(Path::to_str);
    ObjectKey::new(below.unwrap_or(file))
}

async fn fragments(store: &dyn Store, key: &ObjectKey) -> Result<Vec<Fragment>, Failure> {
    let Some(object) = store.get(key, ByteRange::All).await? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&object.bytes);
    let unreadable = |error| Failure::Other(format!("{key}: {error}; run `stedi replay`"));
    text.lines().map(|line| Fragment::from_line(line).map_err(unreadable)).collect()
}

async fn excerpt(
    store: &dyn Store,
    key: &ObjectKey,
    mut excerpt: Excerpt,
) -> Result<Vec<u8>, Failure> {
    let Some(object) = store.get(key, ByteRange::All).await? else { return Ok(Vec::new()) };
    excerpt.push(&object.bytes);
    Ok(excerpt.finish())
}
