//! What was left unfinished before machine_learning_curated.

use futures::stream::{self, StreamExt, TryStreamExt};
use lake::comparison::{Comparison, Versions, versions_below};
use lake::error::Error;
use lake::key::{ETag, Fingerprint, ObjectKey};
use lake::lake::Lake;
use lake::layout::{self, Slice};
use lake::object;
use lake::partitions::Occupied;
use lake::store::list_all;
use lake::tables::MACHINE_LEARNING_CURATED;

use crate::{Day, version};

/// Step trainer objects whose rows were derived from other versions than there are.
pub(crate) async fn find(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let zone = layout::TRUSTED_STEP_TRAINER;
    let mut comparison = Comparison::begin(lake, env!("CARGO_PKG_NAME")).await?;
    let mut keys = Vec::new();
    let mut occupied = Occupied::default();
    let steps = list_all(lake.store.as_ref(), zone).await?;
    let steps: Vec<(Slice, ETag)> = steps
        .into_iter()
        .filter_map(|object| Some((Slice::of_key(&object.key, zone)?, object.etag)))
        .collect();
    let targets = versions_below(lake, layout::CURATED_MACHINE_LEARNING).await?;
    let mut days = Day::list_all(lake, layout::TRUSTED_ACCELEROMETER).await?;
    for of_day in steps.chunk_by(|(a, _), (b, _)| a.date == b.date) {
        let Some(date) = of_day.first().map(|(slice, _)| slice.date) else { continue };
        let day = &days.remove(&date).unwrap_or_default();
        let mut unknown = Vec::new();
        for (slice, etag) in of_day {
            let target = targets.get(&slice.key(layout::CURATED_MACHINE_LEARNING));
            match comparison.knows(versions(lake, *slice, etag, target, day)) {
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
            } else if let Some((target, steps)) = target.zip(steps) {
                let versions = versions(lake, slice, &steps.etag, Some(&target.etag), day);
                comparison.note(versions, vec![target.occupancy()]);
            }
        }
    }
    keys.extend(occupied.unsettled(lake, &MACHINE_LEARNING_CURATED).await?);
    comparison.end(lake).await?;
    Ok(keys)
}

/// Those of a slice, of what was made of it, and of what it is joined with if it has rows.
fn versions(
    lake: &Lake,
    slice: Slice,
    steps: &ETag,
    target: Option<&ETag>,
    day: &Day,
) -> Fingerprint {
    let joined = version(lake, steps, &day.overlapping(slice.span()));
    Versions::under(&format!("{} {}", joined.rule, joined.policies))
        .version(&slice.to_string(), Some(steps))
        .version(&joined.digest, target)
        .fingerprint()
}
