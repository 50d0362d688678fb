//! A look at parts of the curated register before anything is decided: what further readings ask for
//! mostly needs no decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use lake::error::Error;
use lake::function::Done;
use lake::key::{ETag, KeyHash, ObjectKey, Part, Source};
use lake::lake::Lake;
use lake::layout;
use lake::registers::CuratedRegister;
use lake::report::Report;
use lake::store::versions_below;

use crate::transform::{Doubts, Follow};
use crate::{Asked, presence};

/// The people of a part who are asked for, each with the landing objects of theirs that changed.
pub(crate) type People = BTreeMap<KeyHash, BTreeSet<Source>>;

/// What a look found.
#[derive(Default)]
pub(crate) struct Looked {
    /// The parts of which nothing that is asked needs a decision, or that could not be looked at.
    pub(crate) done: Vec<Done<Part>>,
    /// Those with something to decide.
    pub(crate) undecided: BTreeMap<Part, Arc<People>>,
}

impl Looked {
    fn add(&mut self, part: Part, people: People, is_decided: Result<bool, Error>) {
        match is_decided {
            Ok(true) => self.done.push((part, Ok(Report::default()))),
            Ok(false) => drop(self.undecided.insert(part, Arc::new(people))),
            Err(error) => self.done.push((part, Err(error))),
        }
    }
}

/// A part of which nothing that is asked needs a decision, if what else is to be looked at says so.
struct Asking {
    part: Part,
    people: People,
    /// Those whose witness is what changed: it must be one still.
    shaken: Doubts,
    /// Unless everybody has another witness: the version of the part of customer_trusted that the
    /// register follows. It must be the one there is.
    followed: Option<Option<ETag>>,
}

/// Looks whether what is asked of some parts needs a decision. An error is of what the looks share.
pub(crate) async fn look<'a>(
    lake: &Lake,
    parts: impl IntoIterator<Item = (&'a Part, &'a Vec<Asked>)>,
) -> Result<Looked, Error> {
    let mut looked = Looked::default();
    let mut asked = Vec::new();
    for (part, reasons) in parts {
        match people(reasons) {
            (people, true) => looked.add(*part, people, Ok(false)),
            (people, false) => asked.push((*part, people)),
        }
    }
    let registers: Vec<_> = stream::iter(asked)
        .map(async |(part, people)| (part, ask(lake, part, &people).await, people))
        .buffered(lake.parts_at_once())
        .collect()
        .await;
    let mut asking = Vec::new();
    for (part, said, people) in registers {
        match said {
            Ok(Some((shaken, followed))) => asking.push(Asking { part, people, shaken, followed }),
            Ok(None) => looked.add(part, people, Ok(false)),
            Err(error) => looked.add(part, people, Err(error)),
        }
    }
    let compared = follow_trusted(lake, asking).await?;
    let shaken: Vec<&Doubts> = compared.iter().map(|(asking, _)| &asking.shaken).collect();
    let still = presence::still(lake, &shaken).await?;
    for (Asking { part, people, shaken, .. }, follows) in compared {
        let is_still = shaken.keys().all(|person| still.contains_key(person));
        looked.add(part, people, follows.map(|follows| follows && is_still));
    }
    Ok(looked)
}

/// Whether the registers follow customer_trusted as it is, where that is asked: by a look at each
/// part, or, of very many, by a listing of all.
async fn follow_trusted(
    lake: &Lake,
    asking: Vec<Asking>,
) -> Result<Vec<(Asking, Result<bool, Error>)>, Error> {
    let looks = asking.iter().filter(|asking| asking.followed.is_some()).count();
    let listed = match looks > lake.looks_per_listing() {
        true => Some(versions_below(lake.store.as_ref(), layout::TRUSTED_CUSTOMER).await?),
        false => None,
    };
    let listed = listed.as_ref();
    let compared = stream::iter(asking)
        .map(async |asking| {
            let Some(followed) = &asking.followed else { return (asking, Ok(true)) };
            let version = version(lake, asking.part, listed).await;
            let follows = version.map(|version| version == *followed);
            (asking, follows)
        })
        .buffered(lake.bounds.looks_at_once);
    Ok(compared.collect().await)
}

/// The people who are asked for, and whether the whole part is.
fn people(reasons: &[Asked]) -> (People, bool) {
    let mut people = People::new();
    let mut whole = false;
    for reason in reasons {
        match reason {
            Asked::Whole => whole = true,
            Asked::Person(person, source) => {
                people.entry(*person).or_default().insert(*source);
            }
        }
    }
    (people, whole)
}

/// The version of a part of customer_trusted; `None` if there is none.
async fn version(
    lake: &Lake,
    part: Part,
    listed: Option<&BTreeMap<ObjectKey, ETag>>,
) -> Result<Option<ETag>, Error> {
    let key = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    match listed {
        Some(listed) => Ok(listed.get(&key).cloned()),
        None => Ok(lake.store.head(&key).await?.map(|meta| meta.etag)),
    }
}

/// Asks the register: of further readings it says, mostly, that they need no decision. Those who are
/// asked for are not trusted, or another landing object is witness, or still the one that changed.
/// `None` where something is to be decided.
///
/// Whoever made the register what it is brings what follows from it up to it. Who died before that
/// left somebody unconfirmed, or is delivered again with the part of customer_trusted.
///
/// A newer version of that part may say that somebody is trusted who was not, or since later; and
/// whoever brings the register up to it may have looked for witnesses before these readings changed:
/// so that the versions are to be compared. But not where everybody has another witness: who keeps it
/// is asked for again when it changes itself, and where a write says that they have another, or none,
/// that is decided again after the write.
async fn ask(
    lake: &Lake,
    part: Part,
    people: &People,
) -> Result<Option<(Doubts, Option<Option<ETag>>)>, Error> {
    let found = lake.load::<CuratedRegister>(&layout::curated_register(part)).await?;
    let Some(register) = found.map(|found| found.value) else { return Ok(None) };
    let consent = lake.settings.policies.consent;
    if !register.unconfirmed.is_empty() || register.consent != consent {
        return Ok(None);
    }
    let shaken = Follow::new(&register, None, people, consent).doubts;
    if shaken.values().any(|doubt| doubt.anywhere || doubt.witness.is_none()) {
        return Ok(None);
    }
    let is_trusted = |person| register.people.get(person).is_some_and(|row| row.trusted.is_some());
    let is_certain = shaken.is_empty() && people.keys().all(is_trusted);
    let followed = || register.trusted.as_ref().map(|trusted| trusted.etag.clone());
    let followed = (!is_certain).then(followed);
    Ok(Some((shaken, followed)))
}

#[cfg(test)]
mod tests {
    use lake::key::Revision;
    use lake::lake::Put;
    use lake::policy::Policies;
    use lake::registers::{CuratedRow, TrustedPart, TrustedRow};
    use lake::store::Precondition;

    use super::*;
    use crate::small::{self, done};

    /// A lake with one part.
    struct Small {
        lake: Lake,
        person: KeyHash,
        register: Option<ETag>,
    }

    impl Small {
        fn new(looks_per_page: usize) -> Self {
            let mut lake = small::open(Policies::default());
            lake.bounds.looks_per_page = looks_per_page;
            Self { person: lake.key.person("ada@test.com"), lake, register: None }
        }

        fn part(&self) -> Part {
            self.person.part(self.lake.settings.parts)
        }

        /// Puts the part of customer_trusted.
        fn put(&self, bytes: &'static str) -> ETag {
            let key = layout::customer_part(layout::TRUSTED_CUSTOMER, self.part());
            let put = self.lake.put(&key, bytes.into(), Precondition::None);
            let Put::Done(etag) = done(put).unwrap() else { panic!("it moved") };
            etag
        }

        /// Saves a register that follows that version, with such a witness of the person, if they are
        /// trusted.
        fn save(&mut self, followed: &ETag, trusted: Option<Option<Source>>) {
            let version = TrustedPart { etag: followed.clone(), revision: "1".to_owned() };
            let row = trusted.map(|witness| CuratedRow {
                trusted: Some(TrustedRow { digest: self.person, since_ms: 0, device: None }),
                witness,
                devices: BTreeSet::new(),
                revision: Revision(1),
            });
            let register = CuratedRegister {
                trusted: Some(version),
                people: row.map(|row| (self.person, row)).into_iter().collect(),
                ..CuratedRegister::default()
            };
            let key = layout::curated_register(self.part());
            let save = self.lake.save(&key, &register, self.register.as_ref());
            let Put::Done(etag) = done(save).unwrap() else { panic!("it moved") };
            self.register = Some(etag);
        }

        /// Whether readings of the person in a landing object need no decision.
        fn is_decided(&self, changed: Source) -> bool {
            let asked = vec![Asked::Person(self.person, changed)];
            let looked = done(look(&self.lake, [(&self.part(), &asked)])).unwrap();
            looked.undecided.is_empty()
        }
    }

    fn source(digit: &str) -> Source {
        Source::parse(&digit.repeat(16)).unwrap()
    }

    /// Versions are looked at one by one, and listed.
    const LOOKS_PER_PAGE: [usize; 2] = [16, 0];

    #[test]
    fn readings_of_somebody_unknown_are_decided_once_the_register_is_not_behind() {
        for looks_per_page in LOOKS_PER_PAGE {
            let mut small = Small::new(looks_per_page);
            assert!(!small.is_decided(source("a")), "there is no register");
            let before = small.put("before");
            small.save(&before, None);
            assert!(small.is_decided(source("a")), "they are not trusted");
            small.put("Ada may be in this one");
            assert!(!small.is_decided(source("a")), "the register is behind");
            small.put("before");
            assert!(small.is_decided(source("a")));
        }
    }

    #[test]
    fn readings_of_the_trusted_are_decided_once_they_have_another_witness() {
        for looks_per_page in LOOKS_PER_PAGE {
            let mut small = Small::new(looks_per_page);
            let before = small.put("before");
            small.save(&before, Some(None));
            assert!(!small.is_decided(source("a")), "they have none");
            small.save(&before, Some(Some(source("a"))));
            assert!(!small.is_decided(source("a")), "it is the witness that changed");
            assert!(small.is_decided(source("b")));
            small.put("after");
            assert!(small.is_decided(source("b")), "it stays until a write says otherwise");
        }
    }
}
