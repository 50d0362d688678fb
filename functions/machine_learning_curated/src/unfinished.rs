//! What was left unfinished before machine_learning_curated.

use futures::stream::{self, StreamExt, TryStreamExt};
use lake::error::Error;
use lake::key::ObjectKey;
use lake::lake::Lake;
use lake::layout::{self, Slice, Span};
use lake::object;
use lake::partitions::Occupied;
use lake::store::list_all;
use lake::tables::MACHINE_LEARNING_CURATED;

use crate::{Day, current_version};

/// Step trainer objects whose rows were derived from other versions than there are.
pub(crate) async fn find(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let zone = layout::TRUSTED_STEP_TRAINER;
    let mut keys = Vec::new();
    let mut occupied = Occupied::default();
    let listed = list_all(lake.store.as_ref(), zone).await?;
    let slices: Vec<Slice> =
        listed.iter().filter_map(|object| Slice::of_key(&object.key, zone)).collect();
    for of_day in slices.chunk_by(|a, b| a.date == b.date) {
        let Some(date) = of_day.first().map(|slice| slice.date) else { continue };
        let day = &Day::list(lake, layout::TRUSTED_ACCELEROMETER, date, Span::ALWAYS).await?;
        let mut compared = stream::iter(of_day.to_vec())
            .map(|slice| async move {
                let target = slice.key(layout::CURATED_MACHINE_LEARNING);
                let noted = object::note(lake, &target).await?;
                Ok::<_, Error>((slice, noted, current_version(lake, slice, day).await?))
            })
            .buffered(lake.bounds.looks_at_once);
        while let Some((slice, noted, version)) = compared.try_next().await? {
            let key = slice.key(zone);
            if let Some(noted) = &noted {
                occupied.add(date, noted.occupancy(), &key);
            }
            if noted.map(|noted| noted.footer.version) != version {
                keys.push(key);
            }
        }
    }
    keys.extend(occupied.unsettled(lake, &MACHINE_LEARNING_CURATED).await?);
    Ok(keys)
}
