//! What was left unfinished before machine_learning_curated.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use lake::comparison::{Comparison, Versions, readable};
use lake::days::Days;
use lake::error::Error;
use lake::key::{ETag, Fingerprint, ObjectKey};
use lake::lake::Lake;
use lake::layout::{self, Slice};
use lake::object::{self, Version};
use lake::partitions::Occupied;
use lake::tables::{MACHINE_LEARNING_CURATED, STEP_TRAINER_TRUSTED};

use crate::{Day, version};

/// Step trainer objects whose rows were derived from other versions than there are.
pub(crate) async fn find(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let zone = layout::TRUSTED_STEP_TRAINER;
    let mut comparison = Comparison::begin(lake, env!("CARGO_PKG_NAME")).await;
    let mut keys = Vec::new();
    let mut occupied = Occupied::default();
    // Which have rows their sizes tell. An object with rows that looked as if it had none would never be
    // joined again: a test of `bytes_max_without_rows` holds the two apart.
    let without_max = object::bytes_max_without_rows(&STEP_TRAINER_TRUSTED)?;
    let mut steps = Days::below(lake.store.as_ref(), zone);
    let mut targets = Days::below(lake.store.as_ref(), layout::CURATED_MACHINE_LEARNING);
    let mut motions = Days::below(lake.store.as_ref(), layout::TRUSTED_ACCELEROMETER);
    while let Some(date) = steps.peek().await? {
        let (steps, targets, motions) =
            try_join!(steps.take(date), targets.take(date), motions.take(date))?;
        let day = &Day { objects: motions };
        let targets: BTreeMap<Slice, ETag> =
            targets.into_iter().map(|(slice, target)| (slice, target.etag)).collect();
        let mut unknown = Vec::new();
        for (slice, object) in steps {
            let has_rows = object.size_bytes > without_max;
            let joined = version(lake, &object.etag, &day.motions(slice, u64::from(has_rows)));
            match comparison.knows(versions(slice, &joined, targets.get(&slice))) {
                Some(dates) => {
                    dates.into_iter().for_each(|(date, rows)| occupied.add(date, rows, slice));
                }
                None => unknown.push(slice),
            }
        }
        let mut compared = stream::iter(unknown)
            .map(|slice| async move {
                let (key, target) = (slice.key(zone), slice.key(layout::CURATED_MACHINE_LEARNING));
                let target = readable(&target, object::note(lake, &target).await)?;
                let steps = readable(&key, object::note(lake, &key).await)?;
                Ok::<_, Error>((slice, target, steps))
            })
            .buffered(lake.bounds.looks_at_once);
        while let Some((slice, target, steps)) = compared.try_next().await? {
            if let Some(target) = &target {
                occupied.add(date, target.occupancy(), slice);
            }
            let current = steps
                .as_ref()
                .map(|steps| version(lake, &steps.etag, &day.motions(slice, steps.rows)));
            if target.as_ref().map(|target| &target.footer.version) != current.as_ref() {
                keys.push(slice.key(zone));
            } else if let Some((target, joined)) = target.zip(current) {
                let versions = versions(slice, &joined, Some(&target.etag));
                comparison.note(versions, vec![(date, target.occupancy())]);
                comparison.keep_progress(lake).await;
            }
        }
    }
    let unsettled = occupied.unsettled(lake, &MACHINE_LEARNING_CURATED).await?;
    keys.extend(unsettled.into_iter().map(|slice| slice.key(zone)));
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
