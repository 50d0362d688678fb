//! What was left unfinished before machine_learning_curated.

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use lake::comparison::{Comparison, Versions};
use lake::error::Error;
use lake::key::{ETag, Fingerprint, ObjectKey};
use lake::lake::Lake;
use lake::layout::{self, Slice};
use lake::object::{self, Version};
use lake::partitions::Occupied;
use lake::store::{list_all, versions_below};
use lake::tables::{MACHINE_LEARNING_CURATED, STEP_TRAINER_TRUSTED};

use crate::{Day, version};

/// Step trainer objects whose rows were derived from other versions than there are.
pub(crate) async fn find(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let zone = layout::TRUSTED_STEP_TRAINER;
    let mut comparison = Comparison::begin(lake, env!("CARGO_PKG_NAME")).await;
    let mut keys = Vec::new();
    let mut occupied = Occupied::default();
    let store = lake.store.as_ref();
    let (steps, targets, mut days) = try_join!(
        list_all(store, zone),
        versions_below(store, layout::CURATED_MACHINE_LEARNING),
        Day::list_all(lake, layout::TRUSTED_ACCELEROMETER),
    )?;
    // Which have rows their sizes tell. An object with rows that looked as if it had none would never be
    // joined again: a test of `bytes_max_without_rows` holds the two apart.
    let without_max = object::bytes_max_without_rows(&STEP_TRAINER_TRUSTED)?;
    let steps: Vec<(Slice, ETag, bool)> = steps
        .into_iter()
        .filter_map(|object| {
            let slice = Slice::of_key(&object.key, zone)?;
            Some((slice, object.etag, object.size_bytes > without_max))
        })
        .collect();
    for of_day in steps.chunk_by(|(a, ..), (b, ..)| a.date == b.date) {
        let Some(date) = of_day.first().map(|(slice, ..)| slice.date) else { continue };
        let day = &days.remove(&date).unwrap_or_default();
        let mut unknown = Vec::new();
        for (slice, etag, has_rows) in of_day {
            let target = targets.get(&slice.key(layout::CURATED_MACHINE_LEARNING));
            let joined = version(lake, etag, &day.motions(*slice, u64::from(*has_rows)));
            match comparison.knows(versions(*slice, &joined, target)) {
                Some(occupancies) => {
                    for occupancy in occupancies {
                        occupied.add(date, *occupancy, &slice.key(zone));
                    }
                }
                None => unknown.push(*slice),
            }
        }
        let mut compared = stream::iter(unknown)
            .map(|slice| async move {
                let target =
                    object::note(lake, &slice.key(layout::CURATED_MACHINE_LEARNING)).await?;
                let steps = object::note(lake, &slice.key(zone)).await?;
                Ok::<_, Error>((slice, target, steps))
            })
            .buffered(lake.bounds.looks_at_once);
        while let Some((slice, target, steps)) = compared.try_next().await? {
            let key = slice.key(zone);
            if let Some(target) = &target {
                occupied.add(date, target.occupancy(), &key);
            }
            let current = steps
                .as_ref()
                .map(|steps| version(lake, &steps.etag, &day.motions(slice, steps.rows)));
            if target.as_ref().map(|target| &target.footer.version) != current.as_ref() {
                keys.push(key);
            } else if let Some((target, joined)) = target.zip(current) {
                let versions = versions(slice, &joined, Some(&target.etag));
                comparison.note(versions, vec![target.occupancy()]);
                comparison.keep_progress(lake).await;
            }
        }
    }
    keys.extend(occupied.unsettled(lake, &MACHINE_LEARNING_CURATED).await?);
    comparison.register(lake, &[&MACHINE_LEARNING_CURATED]).await?;
    comparison.end(lake).await;
    Ok(keys)
}

/// Those of what a slice is joined from, and of what was made of it.
fn versions(slice: Slice, joined: &Version, target: Option<&ETag>) -> Fingerprint {
    Versions::under(&format!("{} {}", joined.rule, joined.policies))
        .version(&slice.to_string(), Some(&ETag::new(joined.source.as_str())))
        .version(&joined.digest, target)
        .fingerprint()
}
