//! The tables of the lake: their columns, types, comments, and which columns are personal data.
//!
//! One definition serves the readers (what to look for in a record), the writers (the Parquet
//! schema), the catalog (the Glue table) and the documentation (the Athena statements).

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef};

/// A raw feed, as it lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Customer records: who they are, and since when they share their data with whom.
    Customer,
    /// Readings of the phone's accelerometer.
    Accelerometer,
    /// Readings of the Step Trainer: distance of the object in front of it.
    StepTrainer,
}

impl Stream {
    /// Every stream, in the order of the chain.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Accelerometer, Self::StepTrainer];

    /// The name used in keys, tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Accelerometer => "accelerometer",
            Self::StepTrainer => "step_trainer",
        }
    }

    /// Schema of the stream's records: nullable columns, in the order of the table definition.
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Customer => Arc::clone(&CUSTOMER),
            Self::Accelerometer => Arc::clone(&ACCELEROMETER),
            Self::StepTrainer => Arc::clone(&STEP_TRAINER),
        }
    }
}

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, kind)| Field::new(*name, kind.clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

static CUSTOMER: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("customername", DataType::Utf8),
        ("email", DataType::Utf8),
        ("phone", DataType::Utf8),
        ("birthday", DataType::Utf8),
        ("serialnumber", DataType::Utf8),
        ("registrationdate", DataType::Int64),
        ("lastupdatedate", DataType::Int64),
        ("sharewithresearchasofdate", DataType::Int64),
        ("sharewithpublicasofdate", DataType::Int64),
        ("sharewithfriendsasofdate", DataType::Int64),
    ])
});

static ACCELEROMETER: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("user", DataType::Utf8),
        ("timestamp", DataType::Int64),
        ("x", DataType::Float64),
        ("y", DataType::Float64),
        ("z", DataType::Float64),
    ])
});

static STEP_TRAINER: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("sensorreadingtime", DataType::Int64),
        ("serialnumber", DataType::Utf8),
        ("distancefromobject", DataType::Int32),
    ])
});
