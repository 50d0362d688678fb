//! Whether people have accelerometer data that is trusted, and which landing object is witness.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use lake::error::Error;
use lake::key::{KeyHash, Source};
use lake::lake::Lake;
use lake::manifest::{self, Manifest};
use lake::tables::Stream;

use crate::transform::{Doubt, Doubts};

/// The people who have accelerometer data that is trusted, each with a landing object that is
/// witness.
pub(crate) type Witnesses = BTreeMap<KeyHash, Source>;

/// Decides for trusted people: a landing object must hold a reading of theirs that the consent
/// covers.
///
/// One is enough. The landing object that was witness before is looked at first, then the one that
/// changed; only then others are looked for in the index, a few at a time until everybody is found
/// or none is left. So a further landing object of people who have a witness costs no look, and
/// somebody with years of readings costs no more than somebody with a day's.
pub(crate) async fn decide(lake: &Lake, doubts: &[&Doubts]) -> Result<Witnesses, Error> {
    let mut search = Search::confirmed(lake, doubts).await?;
    let changed = search.missing(doubts).map(|(person, doubt)| (*person, doubt.changed.clone()));
    search.among(lake, changed.collect()).await?;
    // Whoever had no witness before has none but what changed.
    let anywhere = search
        .missing(doubts)
        .filter(|(_, doubt)| doubt.witness.is_some() || doubt.anywhere)
        .map(|(person, _)| *person)
        .collect();
    let found = manifest::sources(lake, Stream::Accelerometer, &anywhere).await?;
    search.among(lake, found).await?;
    Ok(search.witnesses)
}

/// The people whose witness still is one. No other is looked for.
pub(crate) async fn still(lake: &Lake, doubts: &[&Doubts]) -> Result<Witnesses, Error> {
    Ok(Search::confirmed(lake, doubts).await?.witnesses)
}

#[derive(Default)]
struct Search {
    /// The people without a witness so far, with the dates of their consents, epoch milliseconds.
    missing: BTreeMap<KeyHash, i64>,
    witnesses: Witnesses,
    looked_at: BTreeSet<Source>,
}

impl Search {
    /// Those of the doubts of whom there is no witness so far.
    fn missing<'a>(
        &self,
        doubts: &'a [&'a Doubts],
    ) -> impl Iterator<Item = (&'a KeyHash, &'a Doubt)> {
        let doubts = doubts.iter().copied().flatten();
        doubts.filter(|(person, _)| self.missing.contains_key(person))
    }

    /// Begins with a look whether those who were witnesses still are.
    async fn confirmed(lake: &Lake, doubts: &[&Doubts]) -> Result<Self, Error> {
        let mut search = Self::default();
        let mut people: BTreeMap<Source, Vec<KeyHash>> = BTreeMap::new();
        for (person, doubt) in doubts.iter().copied().flatten() {
            search.missing.insert(*person, doubt.since_ms);
            if let Some(witness) = doubt.witness {
                people.entry(witness).or_default().push(*person);
            }
        }
        let sources = people.keys().copied().collect();
        let mut manifests = pin!(load(lake, sources));
        while let Some((source, manifest)) = manifests.try_next().await? {
            for person in people.remove(&source).unwrap_or_default() {
                let since_ms = search.missing.get(&person).copied();
                if since_ms.is_some_and(|since_ms| shows(lake, &manifest, &person, since_ms)) {
                    search.found(person, source);
                }
            }
        }
        Ok(search)
    }

    /// Looks for witnesses among some landing objects for each of the people.
    async fn among(
        &mut self,
        lake: &Lake,
        sources: BTreeMap<KeyHash, BTreeSet<Source>>,
    ) -> Result<(), Error> {
        let mut queue: VecDeque<_> = sources.into_iter().collect();
        let mut stride = 1;
        loop {
            let next = self.next(&mut queue, stride, lake.bounds.concurrency);
            if next.is_empty() {
                return Ok(());
            }
            stride = (2 * stride).min(lake.bounds.concurrency);
            self.looked_at.extend(&next);
            let mut manifests = pin!(load(lake, next));
            while let Some((source, manifest)) = manifests.try_next().await? {
                self.look(lake, source, &manifest);
            }
        }
    }

    /// The next landing objects to look at, `stride` for each of the people who are missing, one
    /// after the other.
    fn next(
        &self,
        queue: &mut VecDeque<(KeyHash, BTreeSet<Source>)>,
        stride: usize,
        count_max: usize,
    ) -> BTreeSet<Source> {
        let mut next = BTreeSet::new();
        while next.len() < count_max.max(1)
            && let Some((person, mut left)) = queue.pop_front()
        {
            if !self.missing.contains_key(&person) {
                continue;
            }
            let unseen = std::iter::from_fn(|| left.pop_first());
            next.extend(unseen.filter(|source| !self.looked_at.contains(source)).take(stride));
            if !left.is_empty() {
                queue.push_back((person, left));
            }
        }
        next
    }

    /// Of the people in a landing object and the missing, the fewer lead the way.
    fn look(&mut self, lake: &Lake, source: Source, manifest: &Manifest) {
        // The missing are often of one part, the first digits of whose hashes are the same.
        let bounds = self.missing.first_key_value().zip(self.missing.last_key_value());
        let Some(((first, _), (last, _))) = bounds else { return };
        let there: Vec<_> = manifest.keys.range(first..=last).map(|(person, _)| person).collect();
        let found: Vec<KeyHash> = if there.len() < self.missing.len() {
            let shown = |person: &KeyHash| {
                let since_ms = self.missing.get(person);
                since_ms.is_some_and(|since_ms| shows(lake, manifest, person, *since_ms))
            };
            there.into_iter().filter(|person| shown(person)).copied().collect()
        } else {
            let missing = self.missing.iter();
            let shown = missing.filter(|(person, ms)| shows(lake, manifest, person, **ms));
            shown.map(|(person, _)| *person).collect()
        };
        for person in found {
            self.found(person, source);
        }
    }

    fn found(&mut self, person: KeyHash, witness: Source) {
        self.missing.remove(&person);
        self.witnesses.insert(person, witness);
    }
}

/// Whether a landing object holds readings of a person that their consent, of that date, covers.
pub(crate) fn shows(lake: &Lake, manifest: &Manifest, person: &KeyHash, since_ms: i64) -> bool {
    let from_ms = lake.settings.policies.consent.covers_from(since_ms);
    let span = manifest.keys.get(person).copied().flatten();
    span.is_some_and(|span| span.last_ms >= from_ms)
}

/// The manifests of some landing objects, a few at a time.
fn load(
    lake: &Lake,
    sources: BTreeSet<Source>,
) -> impl stream::Stream<Item = Result<(Source, Arc<Manifest>), Error>> {
    stream::iter(sources)
        .map(move |source| async move {
            let found = manifest::load(lake, Stream::Accelerometer, source).await?;
            Ok(found.map(|found| (source, found.value)))
        })
        .buffered(lake.bounds.concurrency)
        .try_filter_map(|found| async move { Ok(found) })
}
