//! accelerometer_landing → accelerometer_trusted.
//!
//! ```sql
//! -- every reading of a trusted customer.
//! select a.* from accelerometer_landing a
//! where exists (select 1 from customer_trusted c where key(c.email) = key(a.user) [and AS_OF a.timestamp])
//! ```
//!
//! Whom the consents cover is looked up by hash: this function never sees a customer's name.

mod transform;

use std::collections::BTreeSet;

use lake::error::Error;
use lake::key::{KeyHash, LakeKey, Part, Revision};
use lake::lake::Lake;
use lake::layout;
use lake::readings::{Coverage, Readings, Rule};
use lake::registers::ConsentRow;
use lake::registers::slim::{self, Peeked};
use lake::tables::{ACCELEROMETER_TRUSTED, Stream, Table};

pub use self::transform::covers;

/// The function.
pub const FUNCTION: Readings<AccelerometerLandingToTrusted> =
    Readings(AccelerometerLandingToTrusted);

/// The rule.
pub struct AccelerometerLandingToTrusted;

impl Rule for AccelerometerLandingToTrusted {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const STREAM: Stream = Stream::Accelerometer;
    const TABLE: &'static Table = &ACCELEROMETER_TRUSTED;
    const KEY_COLUMN: &'static str = "user";
    const TIME_COLUMN: &'static str = "timestamp";
    const REGISTER_ZONE: &'static str = layout::TRUSTED_CUSTOMER;
    const ANNOUNCED: &'static str = layout::CONSENTS;

    type Announced = Option<Peeked<ConsentRow>>;

    fn hash(key: &LakeKey, user: &str) -> KeyHash {
        key.person(user)
    }

    async fn coverage(lake: &Lake, users: &BTreeSet<KeyHash>) -> Result<Coverage, Error> {
        let consents = slim::rows(lake, users.iter().map(slim::half)).await?;
        Ok(covers(&consents, users, lake.settings.policies.consent))
    }

    async fn announced(lake: &Lake, part: Part) -> Result<Self::Announced, Error> {
        slim::peek(lake, &layout::consents(part)).await
    }

    async fn changed(
        lake: &Lake,
        part: Part,
        announced: Self::Announced,
        above: Revision,
    ) -> Result<(Revision, BTreeSet<KeyHash>), Error> {
        let consents = match announced {
            None => None,
            Some(Peeked::Large(revision)) if revision <= above => {
                return Ok((revision, BTreeSet::new()));
            }
            Some(Peeked::Large(_)) => slim::load(lake, &layout::consents(part)).await?,
            Some(Peeked::Whole(consents)) => Some(consents),
        };
        let Some(consents) = consents else { return Ok((Revision(0), BTreeSet::new())) };
        let changed = consents.people.iter().filter(|(_, row)| row.revision > above);
        Ok((consents.revision, changed.map(|(person, _)| *person).collect()))
    }
}
