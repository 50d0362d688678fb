//! Brings parts of the curated register, and what follows from them, up to customer_trusted and to
//! the accelerometer's manifests.
//!
//! Parts that are asked for together are decided on together: their people have the same landing
//! objects as witness, each of which is looked at once for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::FutureExt;
use futures::stream::{self, StreamExt};
use futures::try_join;
use lake::customer::Customer;
use lake::error::Error;
use lake::function::Done;
use lake::key::{ETag, KeyHash, Part};
use lake::lake::{Lake, Put};
use lake::layout;
use lake::registers::{CuratedRegister, TrustedPart, TrustedRow};
use lake::report::Report;
use lake::tables::{CUSTOMER_CURATED, Table};

use crate::look::People;
use crate::presence::{self, Witnesses};
use crate::project::{self, Noted};
use crate::transform::{self, Doubt, Doubts, Follow};
use crate::trusted_part;

/// The tables it registers.
const TABLES: [&Table; 1] = [&CUSTOMER_CURATED];

/// How an attempt at a part ends.
enum End {
    Done(Report),
    /// What moved meanwhile: it is attempted again.
    Moved(&'static str),
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Curates parts, of which these people are asked for. An error is of what they share: each alone may
/// do without it.
pub(crate) async fn curate(
    lake: &Lake,
    mut parts: BTreeMap<Part, Arc<People>>,
) -> Result<Vec<Done<Part>>, Error> {
    let mut done = Vec::new();
    let mut moved = BTreeMap::new();
    for conflicts in 0..lake.bounds.attempts_max as u64 {
        if parts.is_empty() {
            return Ok(done);
        }
        for (part, end) in attempt(lake, &parts).await? {
            let outcome = match end {
                End::Done(report) => Ok(Report { conflicts, ..report }),
                End::Failed(error) => Err(error),
                End::Moved(what) => {
                    moved.insert(part, what);
                    continue;
                }
            };
            parts.remove(&part);
            done.push((part, outcome));
        }
    }
    done.extend(parts.into_keys().map(|part| {
        let moved = moved.get(&part).copied().unwrap_or_default();
        (part, Err(lake.contended(format!("curate part {part}"), moved)))
    }));
    Ok(done)
}

/// One attempt.
///
/// Everything that was decided on is compared with the register as it was noted *before*; so a
/// slow invocation either finds the register moved, or has read what is newer. One case is left:
/// others found nothing to change while this one, having read something older, did. Therefore what
/// a write decided on presence is unconfirmed until it was decided again after the write, and what
/// follows from it is written; who dies in between leaves that to whoever comes next.
///
/// Who asks for very many people reads what the runs of the owners say of them, and not the register
/// ([`crate::wide`]). Therefore they say what the register said before anything is decided, and who lost
/// their last witness before that is decided again.
async fn attempt(
    lake: &Lake,
    parts: &BTreeMap<Part, Arc<People>>,
) -> Result<Vec<(Part, End)>, Error> {
    let mut ends = Vec::new();

    let begun =
        each(lake, parts.clone(), |(part, people)| (part, Begun::begin(lake, part, people)));
    let ((), begun) = try_join!(lake.register(&TABLES), begun.map(Ok))?;
    let begun = going_on(begun, &mut ends);
    let doubts: Vec<&Doubts> = begun.iter().map(|(_, begun)| &begun.follow.doubts).collect();
    let decided = presence::decide(lake, &doubts).await?;

    let saved = each(lake, begun, |(part, begun)| (part, begun.save(lake, part, &decided)));
    let saved = going_on(saved.await, &mut ends);
    // Whoever withdrew waits for nobody else's witness.
    let (certain, saved): (Vec<_>, Vec<_>) =
        saved.into_iter().partition(|(_, saved)| saved.register.unconfirmed.is_empty());
    let none = Witnesses::new();
    let ended = each(lake, certain, |(part, saved)| (part, saved.conclude(lake, part, &none)));
    let _: Vec<(Part, ())> = going_on(ended.await, &mut ends);

    let doubts: Vec<&Doubts> = saved.iter().map(|(_, saved)| &saved.doubted).collect();
    let decided = presence::decide(lake, &doubts).await?;

    let ended = each(lake, saved, |(part, saved)| (part, saved.conclude(lake, part, &decided)));
    let _: Vec<(Part, ())> = going_on(ended.await, &mut ends);
    Ok(ends)
}

/// Does something with each part, a few at a time.
async fn each<P, T, S: Future<Output = T>>(
    lake: &Lake,
    parts: impl IntoIterator<Item = P>,
    step: impl Fn(P) -> (Part, S),
) -> Vec<(Part, T)> {
    stream::iter(parts)
        .map(|part| {
            let (part, step) = step(part);
            async move { (part, step.await) }
        })
        .buffered(lake.bounds.concurrency)
        .collect()
        .await
}

/// The parts that did not end with a step.
fn going_on<T>(taken: Vec<(Part, Result<T, End>)>, ends: &mut Vec<(Part, End)>) -> Vec<(Part, T)> {
    let mut on = Vec::new();
    for (part, step) in taken {
        match step {
            Ok(next) => on.push((part, next)),
            Err(end) => ends.push((part, end)),
        }
    }
    on
}

/// A part as it was noted, and what it has to follow.
struct Begun {
    noted: Noted,
    etag: Option<ETag>,
    before: CuratedRegister,
    follow: Follow,
}

impl Begun {
    async fn begin(lake: &Lake, part: Part, people: Arc<People>) -> Result<Self, End> {
        let register = layout::curated_register(part);
        let register = lake.load::<CuratedRegister>(&register);
        let (noted, register) = try_join!(project::note(lake, part), register)?;
        let (etag, before) = register.map(|register| (register.etag, register.value)).unzip();
        let before = before.map_or_else(CuratedRegister::default, |before| (*before).clone());
        if noted.said() < before.revision {
            project::say(lake, &before, noted.said()).await?;
        }
        match read_trusted(lake, part, &before, &people).await? {
            Some(follow) => Ok(Self { noted, etag, before, follow }),
            None => Err(End::Done(Report::default())),
        }
    }

    /// Saves the register that follows.
    async fn save(self, lake: &Lake, part: Part, decided: &Witnesses) -> Result<Saved, End> {
        let Self { noted, mut etag, before, follow } = self;
        let register = transform::follow(&before, follow, decided);
        if register != before {
            match lake.save(&layout::curated_register(part), &register, etag.as_ref()).await? {
                Put::Done(put) => etag = Some(put),
                Put::Moved => return Err(End::Moved("the register")),
            }
            if transform::has_lost(&register) {
                project::say(lake, &register, before.revision).await?;
            }
        }
        let doubted = transform::doubted(&register);
        Ok(Saved { noted, etag, register, doubted })
    }
}

/// A part whose register is saved, but for the people of whom it is not certain.
struct Saved {
    noted: Noted,
    etag: Option<ETag>,
    register: CuratedRegister,
    doubted: Doubts,
}

impl Saved {
    /// Projects what was decided, and then confirms it: who dies in between leaves it unconfirmed,
    /// so that whoever comes next projects it, be it for another reason.
    async fn conclude(self, lake: &Lake, part: Part, decided: &Witnesses) -> Result<(), End> {
        let Self { noted, etag, mut register, doubted } = self;
        let is_as_before =
            |(person, doubt): (&KeyHash, &Doubt)| doubt.witness == decided.get(person).copied();
        if !doubted.iter().all(is_as_before) {
            return Err(End::Moved("the accelerometer's manifests"));
        }
        let report = match project::project(lake, part, &noted, &register).await? {
            Ok(report) => report,
            Err(what) => return Err(End::Moved(what)),
        };
        if !register.unconfirmed.is_empty() {
            register.unconfirmed.clear();
            let key = layout::curated_register(part);
            if lake.save(&key, &register, etag.as_ref()).await? == Put::Moved {
                return Err(End::Moved("the register"));
            }
        }
        Err(End::Done(report))
    }
}

/// What the part of customer_trusted says now, beside the register; `None` if there is neither.
async fn read_trusted(
    lake: &Lake,
    part: Part,
    before: &CuratedRegister,
    people: &People,
) -> Result<Option<Follow>, Error> {
    let followed = before.trusted.as_ref().map(|trusted| &trusted.etag);
    // Where nobody is asked for, the part itself changed, as a rule.
    let is_followed = !people.is_empty() && {
        let key = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
        let Some(current) = lake.store.head(&key).await? else { return Ok(None) };
        Some(&current.etag) == followed
    };
    let mut changed = None;
    if !is_followed {
        let Some(found) = trusted_part(lake, part, None).await? else { return Ok(None) };
        if Some(&found.etag) != followed {
            let records = Customer::from_batch(&found.value.batch);
            let rows = records.iter().filter_map(|record| trusted_row(lake, record));
            let etag = found.etag.clone();
            let revision = found.value.footer.version.source.clone();
            changed = Some((TrustedPart { etag, revision }, rows.collect()));
        }
    }
    Ok(Some(Follow::new(before, changed, people, lake.settings.policies.consent)))
}

fn trusted_row(lake: &Lake, record: &Customer) -> Option<(KeyHash, TrustedRow)> {
    let bytes = serde_json::to_vec(record).ok()?;
    let row = TrustedRow {
        digest: lake.key.record(&bytes),
        since_ms: record.research_since_ms()?,
        device: record.serial_number().map(|serial_number| lake.key.device(serial_number)),
    };
    Some((lake.key.person(record.email()), row))
}
