//! What was left unfinished before machine_learning_curated.

use lake::error::Error;
use lake::key::ObjectKey;
use lake::lake::Lake;
use lake::layout::{self, ReadingDate, Slice, Span};
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
    let mut listed: Option<(ReadingDate, Day)> = None;
    for object in list_all(lake.store.as_ref(), zone).await? {
        let Some(slice) = Slice::of_key(&object.key, zone) else { continue };
        let noted = object::note(lake, &slice.key(layout::CURATED_MACHINE_LEARNING)).await?;
        let day = match listed.take() {
            Some((date, day)) if date == slice.date => day,
            _ => Day::list(lake, layout::TRUSTED_ACCELEROMETER, slice.date, Span::ALWAYS).await?,
        };
        let version = current_version(lake, slice, &day).await?;
        listed = Some((slice.date, day));
        if noted.as_ref().map(|noted| &noted.footer.version) != version.as_ref() {
            keys.push(object.key.clone());
        }
        if let Some(noted) = noted {
            occupied.add(slice.date, noted.occupancy(), &object.key);
        }
    }
    keys.extend(occupied.unsettled(lake, &MACHINE_LEARNING_CURATED).await?);
    Ok(keys)
}
