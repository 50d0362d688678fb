//! What was left unfinished between a landing zone of readings and its trusted table.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Applied, Rule, rule_of};
use crate::error::Error;
use crate::key::{ETag, ObjectKey, Part, Revision};
use crate::lake::Lake;
use crate::layout::{self, ReadingDate};
use crate::manifest::Manifest;
use crate::object::{self, Occupancy};
use crate::partitions::Occupied;
use crate::quarantine;
use crate::store::list_all;

/// Landing objects that were added, replaced, deleted or not wholly derived; replay markers; parts
/// of the register that were not applied.
pub(super) async fn find<R: Rule>(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let store = lake.store.as_ref();
    let mut keys = BTreeSet::new();
    let landed = list_all(store, layout::landing(R::STREAM)).await?;
    let mut landed: BTreeMap<ObjectKey, ETag> =
        landed.into_iter().map(|object| (object.key, object.etag)).collect();
    let mut occupied = Occupied::default();
    let manifests = list_all(store, &layout::manifests(R::STREAM)).await?;
    let mut compared = pin!(lake.look_at_each(manifests, |key| compare::<R>(lake, key)));
    while let Some(compared) = compared.try_next().await? {
        let Some(Compared { landing, version, slices, is_derived }) = compared else { continue };
        for (date, occupancy) in slices {
            occupied.add(date, occupancy, &landing);
        }
        if landed.remove(&landing) != version || !is_derived {
            keys.insert(landing);
        }
    }
    keys.extend(landed.into_keys());
    keys.extend(occupied.unsettled(lake, R::TABLE).await?);
    for marker in list_all(store, layout::REPLAY).await? {
        let landing = layout::replayed(&marker.key);
        if landing.is_some_and(|key| key.after(layout::landing(R::STREAM)).is_some()) {
            keys.insert(marker.key);
        }
    }
    let behind: Vec<Option<ObjectKey>> = stream::iter(lake.settings.parts.all())
        .map(|part| behind::<R>(lake, part))
        .buffered(lake.parts_at_once())
        .try_collect()
        .await?;
    keys.extend(behind.into_iter().flatten());
    Ok(keys.into_iter().collect())
}

/// The part of the customer table that announces a part of the register, if that was not applied.
async fn behind<R: Rule>(lake: &Lake, part: Part) -> Result<Option<ObjectKey>, Error> {
    let applied = lake.load::<Applied>(&layout::applied(R::STREAM, part)).await?;
    let applied = applied.map_or(Revision(0), |applied| applied.value.revision);
    let (revision, _) = R::changed(lake, part, applied).await?;
    Ok((revision > applied).then(|| layout::customer_part(R::REGISTER_ZONE, part)))
}

/// A manifest beside what is derived from its landing object.
struct Compared {
    landing: ObjectKey,
    version: Option<ETag>,
    slices: Vec<(ReadingDate, Occupancy)>,
    /// Whether that is what the manifest wants.
    is_derived: bool,
}

async fn compare<R: Rule>(lake: &Lake, key: ObjectKey) -> Result<Option<Compared>, Error> {
    let Some(manifest) = lake.load::<Manifest>(&key).await? else { return Ok(None) };
    let manifest = manifest.value;
    let mut is_derived = true;
    let mut slices = Vec::new();
    let (sequence, rule) = (manifest.sequence.to_string(), rule_of::<R>(lake));
    let policies = lake.settings.changes.consent;
    for slice in manifest.slices.keys() {
        let noted = object::note(lake, &slice.key(R::TABLE.location)).await?;
        is_derived &= noted.as_ref().is_some_and(|noted| {
            let version = &noted.footer.version;
            version.source == sequence && version.rule == rule && version.policies == policies
        });
        if let Some(noted) = noted {
            slices.push((slice.date, noted.occupancy()));
        }
    }
    if is_derived && manifest.had_fragments {
        let wanted = manifest.content.quarantine.as_deref();
        is_derived = quarantine::is_at(lake, R::STREAM, &manifest.landing, wanted).await?;
    }
    let (landing, version) = (manifest.landing.clone(), manifest.content.version.clone());
    Ok(Some(Compared { landing, version, slices, is_derived }))
}
