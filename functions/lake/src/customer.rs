//! Customer records, between the batches they are read and written in and the registers.

use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::tables::Stream;

const TEXTS: usize = 5;
const TIMES: usize = 5;

/// A customer record: the columns of customer_landing, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    texts: [Option<String>; TEXTS],
    times: [Option<i64>; TIMES],
}

impl Customer {
    /// The columns that hold text: customername, email, phone, birthday, serialnumber.
    pub fn texts(&self) -> &[Option<String>; TEXTS] {
        &self.texts
    }

    /// The columns that hold times, epoch milliseconds: registrationdate, lastupdatedate,
    /// sharewithresearchasofdate, sharewithpublicasofdate, sharewithfriendsasofdate.
    pub fn times(&self) -> &[Option<i64>; TIMES] {
        &self.times
    }

    /// E-mail address as delivered.
    pub fn email(&self) -> &str {
        self.texts[1].as_deref().unwrap_or_default()
    }

    /// Serial number of the person's Step Trainer, if there is one.
    pub fn serial_number(&self) -> Option<&str> {
        self.texts[4].as_deref()
    }

    /// Time of the registration, epoch milliseconds.
    pub fn registration_ms(&self) -> Option<i64> {
        self.times[0]
    }

    /// Time of the last change, epoch milliseconds.
    pub fn last_update_ms(&self) -> Option<i64> {
        self.times[1]
    }

    /// Since when the person shares their data for research, epoch milliseconds.
    pub fn research_since_ms(&self) -> Option<i64> {
        self.times[2]
    }

    /// Memory a record takes, bytes, with its place in a map.
    pub fn memory_bytes(&self) -> u64 {
        const ALLOCATION_BYTES: usize = 16;
        let texts = self.texts.iter().flatten().map(|text| text.len() + ALLOCATION_BYTES);
        (size_of::<Self>() + ALLOCATION_BYTES + texts.sum::<usize>()) as u64
    }

    /// The records of a batch in the schema of the customer tables.
    pub fn from_batch(batch: &RecordBatch) -> Vec<Self> {
        let texts: Vec<_> =
            batch.columns()[..TEXTS].iter().map(|column| column.as_string::<i32>()).collect();
        let times: Vec<_> = batch.columns()[TEXTS..TEXTS + TIMES]
            .iter()
            .map(|column| column.as_primitive::<Int64Type>())
            .collect();
        let text = |column: usize, row: usize| {
            texts[column].is_valid(row).then(|| texts[column].value(row).to_owned())
        };
        let time = |column: usize, row: usize| {
            times[column].is_valid(row).then(|| times[column].value(row))
        };
        (0..batch.num_rows())
            .map(|row| Self {
                texts: std::array::from_fn(|column| text(column, row)),
                times: std::array::from_fn(|column| time(column, row)),
            })
            .collect()
    }

    /// A batch in the schema of the customer tables.
    pub fn to_batch<'a>(
        records: impl IntoIterator<Item = &'a Self>,
    ) -> Result<RecordBatch, ArrowError> {
        let mut texts: [StringBuilder; TEXTS] = Default::default();
        let mut times: [Int64Builder; TIMES] = Default::default();
        for record in records {
            for (builder, text) in texts.iter_mut().zip(&record.texts) {
                builder.append_option(text.as_deref());
            }
            for (builder, time) in times.iter_mut().zip(&record.times) {
                builder.append_option(*time);
            }
        }
        let texts = texts.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef);
        let times = times.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef);
        RecordBatch::try_new(Stream::Customer.schema(), texts.chain(times).collect())
    }
}
