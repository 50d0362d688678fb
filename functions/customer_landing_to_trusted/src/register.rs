//! The customer register: of each person the newest record, whole if it consents, else its time
//! only. This function's own, unreadable to others.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::stream::StreamExt;
use lake::comparison::{Comparison, LandingObjects, Listed, Versions, readable};
use lake::customer::Customer;
use lake::error::Error;
use lake::key::{ETag, KeyHash, ObjectKey, Part, Revision, Source};
use lake::lake::{Lake, Put, Versioned};
use lake::landing::Landed;
use lake::layout;
use lake::manifest::Content;
use lake::quarantine;
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

/// A manifest that was published.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) manifest: CustomerManifest,
    /// Its version; `None` if there is nothing to be said of the landing object.
    etag: Option<ETag>,
}

/// The manifest of a landing object.
pub(crate) async fn manifest(
    lake: &Lake,
    landing: &ObjectKey,
) -> Result<Option<Versioned<CustomerManifest>>, Error> {
    lake.load(&layout::manifest(Stream::Customer, Source::of(landing))).await
}

/// Publishes what was found in a landing object, before it is folded.
///
/// Somebody else may have published another version of it: whoever comes last looks at the landing
/// object after that, and finds that it moved if this is the older.
pub(crate) async fn publish(
    lake: &Lake,
    landing: &ObjectKey,
    mut known: Option<Versioned<CustomerManifest>>,
    landed: &Landed,
    named: &BTreeSet<Part>,
) -> Result<Published, Error> {
    for _ in 0..lake.bounds.attempts_max {
        let (etag, before) = known.map(|known| (known.etag, known.value)).unzip();
        let before = before.as_deref();
        let content = Content::of(landed);
        let mut parts = before.map_or_else(BTreeSet::new, |before| before.parts.clone());
        parts.extend(named.iter().map(ToString::to_string));
        let had_fragments =
            before.is_some_and(|before| before.had_fragments) || !content.fragments.is_empty();
        let folded = before.and_then(|before| before.folded.clone());
        let of = landing.clone();
        let manifest = CustomerManifest { landing: of, content, folded, parts, had_fragments };
        if before == Some(&manifest) || (before.is_none() && landed.version.is_none()) {
            return Ok(Published { manifest, etag });
        }
        let key = layout::manifest(Stream::Customer, Source::of(landing));
        if let Put::Done(etag) = lake.save(&key, &manifest, etag.as_ref()).await? {
            return Ok(Published { manifest, etag: Some(etag) });
        }
        known = self::manifest(lake, landing).await?;
    }
    Err(lake.contended(format!("publish what is in {landing}"), "its manifest"))
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
        let before = manifest(lake, landing).await?;
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
    published: Published,
) -> Result<(), Error> {
    let key = layout::manifest(Stream::Customer, Source::of(landing));
    let Published { manifest: mut found, mut etag } = published;
    for _ in 0..lake.bounds.attempts_max {
        if found.content.version.as_ref() != version || found.folded.as_ref() == version {
            return Ok(());
        }
        found.folded = version.cloned();
        if let Put::Done(_) = lake.save(&key, &found, etag.as_ref()).await? {
            return Ok(());
        }
        let Some(now) = manifest(lake, landing).await? else { return Ok(()) };
        (found, etag) = ((*now.value).clone(), Some(now.etag));
    }
    Err(lake.contended(format!("record that {landing} is folded"), "its manifest"))
}

/// The landing objects that were added, replaced or deleted since they were folded.
pub(crate) async fn unfolded(
    lake: &Lake,
    comparison: &mut Comparison,
) -> Result<Vec<ObjectKey>, Error> {
    let under = Versions::under("folded");
    let listed = LandingObjects::list(lake, comparison, Stream::Customer, None, under).await?;
    let mut unfolded = listed.new.clone();
    let mut unknown = Vec::new();
    for (source, Listed { versions, manifest_bytes }) in &listed.known {
        if comparison.knows(versions.fingerprint()).is_none() {
            unknown.push((*source, *manifest_bytes));
        }
    }
    // Of these the manifests do not say where they landed.
    let mut untold = BTreeSet::new();
    let load = |source| async move {
        let key = layout::manifest(Stream::Customer, source);
        let found = readable(&key, lake.load::<CustomerManifest>(&key).await);
        (source, key, found)
    };
    let mut manifests = pin!(lake.look_at_each(unknown, load));
    while let Some((source, key, found)) = manifests.next().await {
        let Some(found) = found? else {
            untold.insert(source);
            continue;
        };
        let manifest = &found.value;
        let version = manifest.content.version.as_ref();
        let mut is_folded = manifest.folded.as_ref() == version;
        let mut quarantined = None;
        if is_folded && manifest.had_fragments {
            let found = quarantine::find(lake, Stream::Customer, &manifest.landing).await?;
            is_folded = found.digest == manifest.content.quarantine;
            quarantined = found.etag;
        }
        let manifested = (&key, &found.etag);
        let versions = under.landing_object(version, quarantined.as_ref(), manifested);
        if is_folded && listed.is_current(lake, &manifest.landing, version, versions).await? {
            comparison.note(versions.fingerprint(), Vec::new());
            comparison.keep_progress(lake).await;
        } else {
            unfolded.push(manifest.landing.clone());
        }
    }
    unfolded.extend(listed.keys(lake, &untold).await?);
    Ok(unfolded)
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
