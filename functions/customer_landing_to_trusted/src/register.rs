//! The customer register: of each person the newest record, whole if it consents, else its time
//! only. This function's own, unreadable to others.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::stream::TryStreamExt;
use futures::try_join;
use lake::comparison::{Comparison, Versions};
use lake::customer::Customer;
use lake::error::Error;
use lake::key::{ETag, Fingerprint, KeyHash, ObjectKey, Part, Revision, Source};
use lake::lake::{Lake, Put};
use lake::landing::Landed;
use lake::layout;
use lake::manifest::Content;
use lake::quarantine;
use lake::store::list_all;
use lake::tables::Stream;
use serde::{Deserialize, Serialize};

use crate::transform::fold;

/// A part of the register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRegister {
    /// Grows with every change.
    pub revision: Revision,
    /// By `key(email)`.
    pub people: BTreeMap<KeyHash, RegisterRow>,
}

/// What the register keeps of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterRow {
    /// Time of the record that stands, epoch milliseconds.
    pub time_ms: i64,
    /// The record, if it consents.
    pub record: Option<Customer>,
    /// When the row last changed.
    pub revision: Revision,
    /// When the consent last changed.
    pub consent_revision: Revision,
}

/// What a customer landing object holds, and every part it ever had records of: whoever looks at
/// it again brings those to rest, whatever it holds by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerManifest {
    /// The landing object.
    pub landing: ObjectKey,
    /// What it holds now.
    pub content: Content,
    /// The version whose records are in the register, and all that follows from it.
    pub folded: Option<ETag>,
    /// Every part it ever had records of, as `part-NN` spells them.
    parts: BTreeSet<String>,
    /// Whether it ever had fragments.
    pub had_fragments: bool,
}

impl CustomerManifest {
    /// Every part the object ever had records of.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        self.parts.iter().filter_map(|part| Part::parse(part))
    }
}

/// Publishes what was found in a landing object, before it is folded; `None` if somebody else
/// published meanwhile.
pub(crate) async fn publish(
    lake: &Lake,
    landing: &ObjectKey,
    source: Source,
    landed: &Landed,
    named: &BTreeSet<Part>,
) -> Result<Option<CustomerManifest>, Error> {
    let key = layout::manifest(Stream::Customer, source);
    let before = lake.load::<CustomerManifest>(&key).await?;
    let known = before.as_ref().map(|before| before.value.as_ref());
    let content = Content::of(landed);
    let mut parts = known.map_or_else(BTreeSet::new, |known| known.parts.clone());
    parts.extend(named.iter().map(ToString::to_string));
    let had_fragments =
        known.is_some_and(|known| known.had_fragments) || !content.fragments.is_empty();
    let folded = known.and_then(|known| known.folded.clone());
    let landing = landing.clone();
    let manifest = CustomerManifest { landing, content, folded, parts, had_fragments };
    if known == Some(&manifest) || (known.is_none() && landed.version.is_none()) {
        return Ok(Some(manifest));
    }
    let etag = before.as_ref().map(|before| &before.etag);
    match lake.save(&key, &manifest, etag).await? {
        Put::Done(_) => Ok(Some(manifest)),
        Put::Moved => Ok(None),
    }
}

/// Names parts in the manifest of a landing object that is being read, before its records are folded
/// into them.
pub(crate) async fn name_parts(
    lake: &Lake,
    landing: &ObjectKey,
    named: &BTreeSet<Part>,
) -> Result<(), Error> {
    let key = layout::manifest(Stream::Customer, Source::of(landing));
    for _ in 0..lake.bounds.attempts_max {
        let before = lake.load::<CustomerManifest>(&key).await?;
        let known = before.as_ref().map(|before| before.value.as_ref());
        let mut manifest = known.cloned().unwrap_or_else(|| CustomerManifest {
            landing: landing.clone(),
            content: Content::default(),
            folded: None,
            parts: BTreeSet::new(),
            had_fragments: false,
        });
        manifest.parts.extend(named.iter().map(ToString::to_string));
        if known == Some(&manifest) {
            return Ok(());
        }
        let etag = before.as_ref().map(|before| &before.etag);
        if let Put::Done(_) = lake.save(&key, &manifest, etag).await? {
            return Ok(());
        }
    }
    Err(lake.contended(format!("name the parts of {landing}"), "its manifest"))
}

/// Records that a version of a landing object is folded. Who finds another version in the manifest
/// leaves it: whoever published that one folds it.
pub(crate) async fn record_folded(
    lake: &Lake,
    landing: &ObjectKey,
    version: Option<&ETag>,
) -> Result<(), Error> {
    let key = layout::manifest(Stream::Customer, Source::of(landing));
    for _ in 0..lake.bounds.attempts_max {
        let Some(found) = lake.load::<CustomerManifest>(&key).await? else { return Ok(()) };
        let mut manifest = (*found.value).clone();
        if manifest.content.version.as_ref() != version || manifest.folded.as_ref() == version {
            return Ok(());
        }
        manifest.folded = version.cloned();
        if let Put::Done(_) = lake.save(&key, &manifest, Some(&found.etag)).await? {
            return Ok(());
        }
    }
    Err(lake.contended(format!("record that {landing} is folded"), "its manifest"))
}

/// The landing objects that were added, replaced or deleted since they were folded.
pub(crate) async fn unfolded(
    lake: &Lake,
    comparison: &mut Comparison,
) -> Result<Vec<ObjectKey>, Error> {
    let store = lake.store.as_ref();
    let manifests = layout::manifests(Stream::Customer);
    let quarantined = layout::quarantined(Stream::Customer);
    let (landed, manifests, quarantined) = try_join!(
        list_all(store, layout::landing(Stream::Customer)),
        list_all(store, &manifests),
        list_all(store, &quarantined),
    )?;
    let landed = landed.into_iter();
    let mut landed: BTreeMap<Source, (ObjectKey, ETag)> =
        landed.map(|object| (Source::of(&object.key), (object.key, object.etag))).collect();
    // Also of landing objects that are gone.
    let quarantined = quarantined.into_iter().filter_map(|object| {
        let landing = layout::landing_of_quarantine(Stream::Customer, &object.key)?;
        Some((Source::of(&landing), object.etag))
    });
    let quarantined: BTreeMap<Source, ETag> = quarantined.collect();
    let mut unknown = Vec::new();
    for manifest in manifests {
        let Some(source) = layout::source_of_manifest(Stream::Customer, &manifest.key) else {
            continue;
        };
        let version = landed.get(&source).map(|(_, version)| version);
        let quarantine = quarantined.get(&source);
        let versions = versions(&manifest.key, &manifest.etag, version, quarantine);
        if comparison.knows(versions).is_some() {
            landed.remove(&source);
        } else {
            unknown.push(manifest);
        }
    }
    let load = |key: ObjectKey| async move {
        Ok::<_, Error>(lake.load::<CustomerManifest>(&key).await?.map(|found| (key, found)))
    };
    let mut unfolded = Vec::new();
    let mut manifests = pin!(lake.look_at_each(unknown, load));
    while let Some(manifest) = manifests.try_next().await? {
        let Some((key, found)) = manifest else { continue };
        let manifest = &found.value;
        let version = landed.remove(&Source::of(&manifest.landing)).map(|(_, version)| version);
        let mut is_folded = manifest.content.version == version && manifest.folded == version;
        let mut quarantine = None;
        if is_folded && manifest.had_fragments {
            let found = quarantine::find(lake, Stream::Customer, &manifest.landing).await?;
            is_folded = found.digest == manifest.content.quarantine;
            quarantine = found.etag;
        }
        if is_folded {
            let quarantine = quarantine.as_ref();
            let versions = versions(&key, &found.etag, version.as_ref(), quarantine);
            comparison.note(versions, Vec::new());
            comparison.keep_progress(lake).await;
        } else {
            unfolded.push(manifest.landing.clone());
        }
    }
    unfolded.extend(landed.into_values().map(|(landing, _)| landing));
    Ok(unfolded)
}

fn versions(
    manifest: &ObjectKey,
    etag: &ETag,
    landed: Option<&ETag>,
    quarantine: Option<&ETag>,
) -> Fingerprint {
    Versions::under("folded")
        .version("landing", landed)
        .version("quarantine", quarantine)
        .version(manifest.as_str(), Some(etag))
        .fingerprint()
}

/// Folds records into a part of the register.
pub(crate) async fn fold_into(
    lake: &Lake,
    part: Part,
    records: Vec<Customer>,
) -> Result<(), Error> {
    if records.is_empty() {
        return Ok(());
    }
    let key = layout::customer_register(part);
    for _ in 0..lake.bounds.attempts_max {
        let before = lake.load::<CustomerRegister>(&key).await?;
        let mut register =
            before.as_ref().map_or_else(CustomerRegister::default, |found| (*found.value).clone());
        let next = register.revision.next();
        let mut changed = false;
        for record in &records {
            let person = lake.key.person(record.email());
            if let Some(row) = fold(register.people.get(&person), record, next) {
                register.people.insert(person, row);
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
        register.revision = next;
        let etag = before.as_ref().map(|before| &before.etag);
        if let Put::Done(_) = lake.save(&key, &register, etag).await? {
            return Ok(());
        }
    }
    Err(lake.contended(format!("fold into {key}"), "the register"))
}
