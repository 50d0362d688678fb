//! The last step of every derivation: write the target unless it is right already; whole where its
//! rows are at hand, row group by row group ([`Draft`]) where they are too many to be held.

use arrow_array::RecordBatch;

use crate::error::{Error, SettingsError};
use crate::key::ObjectKey;
use crate::lake::{Lake, Pieces, Put};
use crate::landing::row_bytes;
use crate::object::{self, Encoder, Footer, Ledger, Noted, Occupancy, Version};
use crate::order::in_order;
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
    ///
    /// Fails if it was derived under policies that are newer than those this process opened the lake
    /// with: they were changed meanwhile.
    pub async fn note(lake: &Lake, key: ObjectKey) -> Result<Self, Error> {
        let noted = object::note(lake, &key).await?;
        let known = lake.settings.changes.last();
        match noted.as_ref().map(|noted| noted.footer.version.policies) {
            Some(policies) if policies > known => Err(SettingsError::Superseded { key }.into()),
            _ => Ok(Self { key, noted }),
        }
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
        if let Some(settled) = self.settled(&version, report) {
            return Ok(Some(settled));
        }
        let (batch, ledger) = rows()?;
        let rows = batch.num_rows();
        let (footer, settled) = self.outcome(version, ledger, rows);
        let (schema, batches) = (table.schema(), std::slice::from_ref(&batch));
        let bytes = object::encode(&schema, batches, &footer, lake.bounds.row_group_rows)?;
        let is_kept = lake.bounds.kept_when_written.iter().any(|kept| kept.name == table.name)
            && bytes.len() as u64 <= lake.bounds.small_bytes_max
            && rows <= lake.bounds.row_group_rows;
        // Rows that are not kept do not wait for the store.
        let kept = is_kept.then_some(batch);
        let put = lake.put(&self.key, bytes, self.unchanged()).await?;
        if let Put::Done(etag) = &put
            && let Some(kept) = kept
        {
            object::keep(lake, &self.key, etag.clone(), footer, kept);
        }
        Ok(done(&put, settled, report))
    }

    /// Writes rows that are in order and come row group by row group; `None` if the target moved since
    /// it was noted.
    pub async fn write_each(
        &self,
        lake: &Lake,
        table: &'static Table,
        version: Version,
        row_groups: impl Iterator<Item = Result<RecordBatch, Error>>,
        ledger: Ledger,
        report: &mut Report,
    ) -> Result<Option<Settled>, Error> {
        let mut draft = Draft::new(lake, self, table, version)?;
        for rows in row_groups {
            draft.sorted_row_group(rows?).await?;
        }
        draft.complete(ledger, report).await
    }

    /// What there is to say of the target if it has the rows of this version already.
    pub fn settled(&self, version: &Version, report: &mut Report) -> Option<Settled> {
        let noted = self.noted.as_ref().filter(|noted| noted.footer.version == *version)?;
        report.objects_unchanged += 1;
        Some(Settled { ledger: noted.footer.ledger, occupancy: noted.occupancy() })
    }

    fn unchanged(&self) -> Precondition {
        Precondition::unchanged(self.noted.as_ref().map(|noted| &noted.etag))
    }

    fn outcome(&self, version: Version, ledger: Ledger, rows: usize) -> (Footer, Settled) {
        let had_rows = rows > 0 || self.noted.as_ref().is_some_and(|noted| noted.footer.had_rows);
        let occupancy = Occupancy::new(rows, had_rows);
        (Footer { version, ledger, had_rows }, Settled { ledger, occupancy })
    }
}

fn done(put: &Put, settled: Settled, report: &mut Report) -> Option<Settled> {
    match put {
        Put::Done(_) => {
            report.objects_written += 1;
            Some(settled)
        }
        Put::Moved => None,
    }
}

/// A target that is written row group by row group.
///
/// It takes a row group while that is encoded, a [piece](Pieces), and what the store's upload takes.
pub struct Draft<'a> {
    target: &'a Target,
    table: &'static Table,
    version: Version,
    encoder: Encoder,
    pieces: Pieces,
    rows: usize,
}

impl<'a> Draft<'a> {
    /// Begins to write the rows of this version.
    pub fn new(
        lake: &Lake,
        target: &'a Target,
        table: &'static Table,
        version: Version,
    ) -> Result<Self, Error> {
        let encoder = Encoder::new(&table.schema(), &version.rule)?;
        let pieces = lake.pieces(target.key.clone());
        Ok(Self { target, table, version, encoder, pieces, rows: 0 })
    }

    /// Adds rows as one row group, in an order that depends on the rows alone.
    pub async fn row_group(
        &mut self,
        batches: Vec<RecordBatch>,
        time_column: &str,
    ) -> Result<(), Error> {
        let rows = sorted(self.table, &batches, time_column)?;
        drop(batches);
        self.sorted_row_group(rows).await
    }

    /// Adds rows that are in order as one row group.
    pub async fn sorted_row_group(&mut self, rows: RecordBatch) -> Result<(), Error> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.rows += rows.num_rows();
        let encoded = self.encoder.row_group(&rows)?;
        drop(rows);
        self.pieces.write(&encoded).await
    }

    /// Makes the target what was written; `None` if it moved since it was noted.
    pub async fn complete(
        mut self,
        ledger: Ledger,
        report: &mut Report,
    ) -> Result<Option<Settled>, Error> {
        let (footer, settled) = self.target.outcome(self.version, ledger, self.rows);
        let end = match self.rows {
            0 => object::encode(&self.table.schema(), &[], &footer, 1)?,
            _ => self.encoder.finish(&footer)?.into(),
        };
        self.pieces.write(&end).await?;
        let put = self.pieces.complete(self.target.unchanged()).await?;
        Ok(done(&put, settled, report))
    }

    /// Gives it up.
    pub async fn abort(self) -> Result<(), Error> {
        self.pieces.abort().await
    }
}

/// Rows of a table in one batch, sorted.
pub fn sorted(
    table: &Table,
    batches: &[RecordBatch],
    time_column: &str,
) -> Result<RecordBatch, Error> {
    let sorted = in_order(&table.schema(), batches, time_column);
    sorted.map_err(|error| Error::encode(table, error))
}

/// Rows that wait to become a row group.
#[derive(Default)]
pub struct Waiting {
    /// As they came.
    pub batches: Vec<RecordBatch>,
    /// Their number.
    pub rows: usize,
    /// The memory they take, bytes.
    pub bytes: u64,
    /// What the texts take that they have numbers in place of, bytes.
    text_bytes: u64,
}

impl Waiting {
    /// Adds rows.
    pub fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.bytes += row_bytes(&batch);
        self.batches.push(batch);
    }

    /// Adds rows that have numbers in place of texts of so many bytes.
    pub fn push_numbered(&mut self, batch: RecordBatch, text_bytes: u64) {
        self.push(batch);
        self.text_bytes += text_bytes;
    }

    /// Whether they are enough for a row group, which has the texts.
    pub fn is_full(&self, lake: &Lake) -> bool {
        let bytes = self.bytes + self.text_bytes;
        self.rows >= lake.bounds.row_group_rows || bytes >= lake.bounds.held_bytes_max / 2
    }
}
