//! The tables of the lake: their columns, types, comments, and which columns are personal data.
//!
//! One definition serves the reader (what to look for in a record), the writer (the Parquet
//! schema), the catalog (the Glue table) and the documentation (the Athena statements).

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::layout;

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
            Self::Customer => CUSTOMER_LANDING.schema(),
            Self::Accelerometer => ACCELEROMETER_LANDING.schema(),
            Self::StepTrainer => STEP_TRAINER_LANDING.schema(),
        }
    }
}

/// Type of a column, with the name Hive, Glue and Athena have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text.
    String,
    /// 64-bit integer.
    Bigint,
    /// 32-bit integer.
    Int,
    /// 64-bit floating point.
    Double,
}

impl ColumnType {
    /// The name in a table definition.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Bigint => "bigint",
            Self::Int => "int",
            Self::Double => "double",
        }
    }

    fn arrow(self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Bigint => DataType::Int64,
            Self::Int => DataType::Int32,
            Self::Double => DataType::Float64,
        }
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Lower case, as the Hive and Glue convention has it.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnType,
    /// What it means, with the unit.
    pub comment: &'static str,
    /// Whether it says something of a person who can be told from it.
    pub personal: bool,
}

/// How the objects of a table are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Raw JSON, read by the OpenX SerDe.
    Json,
    /// Parquet, zstd.
    Parquet,
}

/// A table of the lake.
#[derive(Debug)]
pub struct Table {
    /// Its name in the catalog.
    pub name: &'static str,
    /// What it holds.
    pub comment: &'static str,
    /// Its columns, without the partition key.
    pub columns: &'static [Column],
    /// Prefix of its objects.
    pub location: &'static str,
    /// How they are written.
    pub format: Format,
    /// Whether it is partitioned by `reading_date`.
    pub partitioned: bool,
}

impl Table {
    /// The schema of its objects; every column may be null.
    pub fn schema(&self) -> SchemaRef {
        let cached = SCHEMAS.iter().find(|(name, _)| *name == self.name);
        cached.map_or_else(|| arrow_schema(self), |(_, schema)| Arc::clone(schema))
    }

    /// The table of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLES.into_iter().find(|table| table.name == name)
    }
}

fn arrow_schema(table: &Table) -> SchemaRef {
    let field = |column: &Column| Field::new(column.name, column.kind.arrow(), true);
    Arc::new(Schema::new(table.columns.iter().map(field).collect::<Vec<_>>()))
}

static SCHEMAS: LazyLock<Vec<(&'static str, SchemaRef)>> =
    LazyLock::new(|| TABLES.iter().map(|table| (table.name, arrow_schema(table))).collect());

/// The partition key of the reading tables past landing.
pub const READING_DATE: &str = "reading_date";
/// Type of the partition key.
pub const READING_DATE_TYPE: &str = "date";
/// What the partition key means.
pub const READING_DATE_COMMENT: &str = "UTC day of the reading";

const fn column(name: &'static str, kind: ColumnType, comment: &'static str) -> Column {
    Column { name, kind, comment, personal: false }
}

const fn personal(name: &'static str, kind: ColumnType, comment: &'static str) -> Column {
    Column { name, kind, comment, personal: true }
}

use ColumnType::{Bigint, Double, Int, String as Text};

const CUSTOMER: &[Column] = &[
    personal("customername", Text, "Full name"),
    personal("email", Text, "E-mail address; a person is lower(trim(email))"),
    personal("phone", Text, "Telephone number as delivered"),
    personal("birthday", Text, "Day of birth as delivered, YYYY-MM-DD, not always padded"),
    personal("serialnumber", Text, "Serial number of the person's Step Trainer"),
    column("registrationdate", Bigint, "Time of the registration, epoch milliseconds"),
    column("lastupdatedate", Bigint, "Time of the record's last change, epoch milliseconds"),
    column(
        "sharewithresearchasofdate",
        Bigint,
        "Since when the person shares their data for research, epoch milliseconds; null: they do not",
    ),
    column(
        "sharewithpublicasofdate",
        Bigint,
        "Since when the person shares their data with the public, epoch milliseconds; null: they do not",
    ),
    column(
        "sharewithfriendsasofdate",
        Bigint,
        "Since when the person shares their data with friends, epoch milliseconds; null: they do not",
    ),
];

const USER: Column = personal("user", Text, "E-mail address of the person who carried the phone");
const TIMESTAMP: Column = column("timestamp", Bigint, "Time of the reading, epoch milliseconds");
const X: Column = column("x", Double, "Motion along the x axis, as delivered");
const Y: Column = column("y", Double, "Motion along the y axis, as delivered");
const Z: Column = column("z", Double, "Motion along the z axis, as delivered");
const SENSOR_READING_TIME: Column =
    column("sensorreadingtime", Bigint, "Time of the reading, epoch milliseconds");
const SERIAL_NUMBER: Column =
    personal("serialnumber", Text, "Serial number of the Step Trainer, compared exactly");
const DISTANCE: Column = column(
    "distancefromobject",
    Int,
    "Distance of the object in front of the sensor, as delivered",
);

const ACCELEROMETER: &[Column] = &[USER, TIMESTAMP, X, Y, Z];
const STEP_TRAINER: &[Column] = &[SENSOR_READING_TIME, SERIAL_NUMBER, DISTANCE];
const MACHINE_LEARNING: &[Column] = &[
    personal("serialnumber", Text, "Step Trainer: pseudonym, null or serial number, by policy"),
    SENSOR_READING_TIME,
    DISTANCE,
    personal("user", Text, "Person: pseudonym, null or e-mail address, by policy"),
    TIMESTAMP,
    X,
    Y,
    Z,
];

/// Customer records as delivered.
pub static CUSTOMER_LANDING: Table = Table {
    name: "customer_landing",
    comment: "Customer records as delivered. The JSON SerDe reads one object per line only: see `stedi catalog` for objects it cannot read as they are.",
    columns: CUSTOMER,
    location: "landing/customer/",
    format: Format::Json,
    partitioned: false,
};

/// Accelerometer readings as delivered.
pub static ACCELEROMETER_LANDING: Table = Table {
    name: "accelerometer_landing",
    comment: "Accelerometer readings as delivered. The JSON SerDe reads one object per line only: see `stedi catalog` for objects it cannot read as they are.",
    columns: ACCELEROMETER,
    location: "landing/accelerometer/",
    format: Format::Json,
    partitioned: false,
};

/// Step Trainer readings as delivered.
pub static STEP_TRAINER_LANDING: Table = Table {
    name: "step_trainer_landing",
    comment: "Step Trainer readings as delivered. The JSON SerDe reads one object per line only: see `stedi catalog` for objects it cannot read as they are.",
    columns: STEP_TRAINER,
    location: "landing/step_trainer/",
    format: Format::Json,
    partitioned: false,
};

/// The newest record of each person, if it consents to research.
pub static CUSTOMER_TRUSTED: Table = Table {
    name: "customer_trusted",
    comment: "The newest record of each person, if it consents to research",
    columns: CUSTOMER,
    location: layout::TRUSTED_CUSTOMER,
    format: Format::Parquet,
    partitioned: false,
};

/// Accelerometer readings of trusted customers.
pub static ACCELEROMETER_TRUSTED: Table = Table {
    name: "accelerometer_trusted",
    comment: "Accelerometer readings of trusted customers",
    columns: ACCELEROMETER,
    location: layout::TRUSTED_ACCELEROMETER,
    format: Format::Parquet,
    partitioned: true,
};

/// Trusted customers who have accelerometer data.
pub static CUSTOMER_CURATED: Table = Table {
    name: "customer_curated",
    comment: "Trusted customers who have accelerometer data",
    columns: CUSTOMER,
    location: layout::CURATED_CUSTOMER,
    format: Format::Parquet,
    partitioned: false,
};

/// Step Trainer readings of curated customers' devices.
pub static STEP_TRAINER_TRUSTED: Table = Table {
    name: "step_trainer_trusted",
    comment: "Step Trainer readings of curated customers' devices",
    columns: STEP_TRAINER,
    location: layout::TRUSTED_STEP_TRAINER,
    format: Format::Parquet,
    partitioned: true,
};

/// Step readings with the accelerometer readings of the same time.
pub static MACHINE_LEARNING_CURATED: Table = Table {
    name: "machine_learning_curated",
    comment: "Step Trainer readings with the accelerometer readings of the same time",
    columns: MACHINE_LEARNING,
    location: layout::CURATED_MACHINE_LEARNING,
    format: Format::Parquet,
    partitioned: true,
};

/// The eight tables, in the order of the chain.
pub static TABLES: [&Table; 8] = [
    &CUSTOMER_LANDING,
    &ACCELEROMETER_LANDING,
    &STEP_TRAINER_LANDING,
    &CUSTOMER_TRUSTED,
    &ACCELEROMETER_TRUSTED,
    &CUSTOMER_CURATED,
    &STEP_TRAINER_TRUSTED,
    &MACHINE_LEARNING_CURATED,
];
