//! The last step of every derivation: write the target unless it is right already.

use arrow_array::RecordBatch;

use crate::error::Error;
use crate::key::ObjectKey;
use crate::lake::{Lake, Put};
use crate::object::{self, Footer, Ledger, Noted, Occupancy, Version};
use crate::report::Report;
use crate::store::Precondition;
use crate::tables::Table;

/// A derived object, as it was before its inputs were read.
pub struct Target {
    /// Of the object.
    pub key: ObjectKey,
    /// The object, if there was one.
    pub noted: Option<Noted>,
}

/// A target that is right.
pub struct Settled {
    /// How its records were decided on.
    pub ledger: Ledger,
    /// Whether it has rows, or had any.
    pub occupancy: Occupancy,
}

impl Target {
    /// Notes a target. Its inputs are read afterwards.
    pub async fn note(lake: &Lake, key: ObjectKey) -> Result<Self, Error> {
        let noted = object::note(lake, &key).await?;
        Ok(Self { key, noted })
    }

    /// Whether the target follows from a later version of its source, where versions are numbers
    /// of a fixed width.
    pub fn is_from_after(&self, source: &str) -> bool {
        self.noted.as_ref().is_some_and(|noted| noted.footer.version.source.as_str() > source)
    }

    /// Whether the target has the rows of this version already.
    pub fn is_at(&self, version: &Version) -> bool {
        self.noted.as_ref().is_some_and(|noted| noted.footer.version == *version)
    }

    /// Writes the rows of this version, unless the target has it already; `None` if the target
    /// moved since it was noted. A derivation always leaves an object, with zero rows too: an
    /// absent target has no version to compare with, and a slow writer would bring the dead back.
    pub async fn write(
        &self,
        lake: &Lake,
        table: &Table,
        version: Version,
        rows: impl FnOnce() -> Result<(RecordBatch, Ledger), Error>,
        report: &mut Report,
    ) -> Result<Option<Settled>, Error> {
        if let Some(noted) = &self.noted
            && noted.footer.version == version
        {
            report.objects_unchanged += 1;
            let (ledger, occupancy) = (noted.footer.ledger, noted.occupancy());
            return Ok(Some(Settled { ledger, occupancy }));
        }
        let (batch, ledger) = rows()?;
        let had_rows =
            batch.num_rows() > 0 || self.noted.as_ref().is_some_and(|noted| noted.footer.had_rows);
        let occupancy = Occupancy::new(batch.num_rows(), had_rows);
        let footer = Footer { version, ledger, had_rows };
        let bytes = object::encode(&table.schema(), &[batch], &footer, lake.bounds.row_group_rows)?;
        let etag = self.noted.as_ref().map(|noted| &noted.etag);
        match lake.put(&self.key, bytes, Precondition::unchanged(etag)).await? {
            Put::Done(_) => {
                report.objects_written += 1;
                Ok(Some(Settled { ledger, occupancy }))
            }
            Put::Moved => Ok(None),
        }
    }
}
