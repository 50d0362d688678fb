//! step_trainer_landing → step_trainer_trusted.
//!
//! ```sql
//! -- every reading of a curated customer's device (serial numbers compared exactly).
//! select s.* from step_trainer_landing s
//! where exists (select 1 from customer_curated c
//!               where c.serialnumber = s.serialnumber [and AS_OF s.sensorreadingtime])
//! ```

mod transform;

use std::collections::BTreeSet;

use lake::error::Error;
use lake::index::Index;
use lake::key::{KeyHash, LakeKey, Part, Revision};
use lake::lake::Lake;
use lake::layout;
use lake::readings::{Coverage, Readings, Rule};
use lake::registers::{CuratedRegister, OwnerRow, slim};
use lake::tables::{STEP_TRAINER_TRUSTED, Stream, Table};

pub use self::transform::covers;

/// The function.
pub const FUNCTION: Readings<StepTrainerLandingToTrusted> = Readings(StepTrainerLandingToTrusted);

/// The rule.
pub struct StepTrainerLandingToTrusted;

impl Rule for StepTrainerLandingToTrusted {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const STREAM: Stream = Stream::StepTrainer;
    const TABLE: &'static Table = &STEP_TRAINER_TRUSTED;
    const KEY_COLUMN: &'static str = "serialnumber";
    const TIME_COLUMN: &'static str = "sensorreadingtime";
    const REGISTER_ZONE: &'static str = layout::CURATED_CUSTOMER;
    const ANNOUNCED: &'static str = layout::OWNERS;

    /// The revision is that of the owners, since it is they who say what is admitted: the register
    /// may be ahead of them.
    type Announced = Revision;

    fn hash(key: &LakeKey, serial_number: &str) -> KeyHash {
        key.device(serial_number)
    }

    async fn coverage(lake: &Lake, devices: &BTreeSet<KeyHash>) -> Result<Coverage, Error> {
        let people = Index::new(lake, layout::DEVICES).find(devices).await?;
        let wanted = people.values().flatten().copied();
        let owners = slim::rows::<OwnerRow>(lake, wanted).await?;
        Ok(covers(&people, &owners, lake.settings.policies.consent))
    }

    async fn announced(lake: &Lake, part: Part) -> Result<Revision, Error> {
        let owners = slim::revision(lake, &layout::owners(part)).await?;
        Ok(owners.map_or(Revision(0), |(_, revision)| revision))
    }

    async fn changed(
        lake: &Lake,
        part: Part,
        revision: Revision,
        above: Revision,
    ) -> Result<(Revision, BTreeSet<KeyHash>), Error> {
        if revision <= above {
            return Ok((revision, BTreeSet::new()));
        }
        let found = lake.load::<CuratedRegister>(&layout::curated_register(part)).await?;
        let Some(register) = found else { return Ok((Revision(0), BTreeSet::new())) };
        let changed = register.value.people.values().filter(|row| row.revision > above);
        let devices = changed.flat_map(|row| row.devices.iter().copied());
        Ok((revision, devices.collect()))
    }
}
