//! `stedi status`: the eight tables as they are, and where every record of the landing zone went.

use std::collections::BTreeMap;

use lake::catalog::Catalog;
use lake::error::Error;
use lake::key::ObjectKey;
use lake::layout;
use lake::manifest::Content;
use lake::object::{self, Ledger};
use lake::store::{ByteRange, Store, list_all};
use lake::tables::{Format as TableFormat, Stream, TABLES, Table};
use serde::{Deserialize, Serialize};

use crate::args::{Format, StatusArgs};
use crate::failure::Failure;
use crate::home::Home;
use crate::output::Output;
use crate::render;

/// A lake at a glance.
#[derive(Serialize)]
pub(crate) struct Status {
    pub(crate) tables: Vec<TableStatus>,
    pub(crate) streams: Vec<StreamStatus>,
}

/// A table.
#[derive(Serialize)]
pub(crate) struct TableStatus {
    pub(crate) table: &'static str,
    pub(crate) rows: u64,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// Partitions in the catalog; `None` where the table has none by its definition.
    pub(crate) partitions: Option<usize>,
    pub(crate) registered: bool,
}

/// Where the records of a feed went.
#[derive(Default, Serialize)]
pub(crate) struct StreamStatus {
    pub(crate) stream: &'static str,
    /// Whole records and fragments.
    pub(crate) records: u64,
    pub(crate) admitted: u64,
    pub(crate) held_no_consent: u64,
    pub(crate) held_before_consent: u64,
    /// Customer records that a newer one of the same person replaced.
    pub(crate) superseded: u64,
    pub(crate) quarantined: u64,
    pub(crate) quarantined_by_reason: BTreeMap<String, u64>,
    /// Columns of the feed that no table has.
    pub(crate) unknown_columns: BTreeMap<String, UnknownColumn>,
    /// Records that did not meet an expectation, by its name.
    pub(crate) unmet_expectations: BTreeMap<String, u64>,
}

/// A column that no table has.
#[derive(Serialize)]
pub(crate) struct UnknownColumn {
    /// Records that carry it.
    pub(crate) records: u64,
    /// The first landing object, by its key, that has one of them.
    pub(crate) first_in: ObjectKey,
}

pub(crate) fn status(args: &StatusArgs, output: &mut Output) -> Result<(), Failure> {
    let home = Home::visit(&args.lake)?;
    let (store, catalog) = (home.store()?, home.catalog()?);
    let status = block_on(collect(&store, &catalog))?;
    match args.format {
        Format::Table => render::status(&status, output),
        Format::Json => render::json(&status, output),
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::Other(format!("start the runtime: {error}")))?;
    runtime.block_on(future)
}

/// Runs a future to its end, with as many threads as there are cores.
pub(crate) fn block_on_threads<T>(
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("start the runtime: {error}")))?;
    runtime.block_on(future)
}

/// Looks at every object of a lake once.
pub(crate) async fn collect(store: &dyn Store, catalog: &dyn Catalog) -> Result<Status, Failure> {
    let mut streams = BTreeMap::new();
    for stream in Stream::ALL {
        streams.insert(stream, landed(store, stream).await?);
    }
    let mut tables = Vec::new();
    for table in TABLES {
        let (mut status, ledger) = derived(store, catalog, table).await?;
        if let Some(stream) = stream_of(table) {
            let counts = streams.entry(stream).or_default();
            match table.format {
                TableFormat::Json => status.rows = counts.records - counts.quarantined,
                TableFormat::Parquet => counts.take(ledger, stream),
            }
        }
        tables.push(status);
    }
    Ok(Status { tables, streams: streams.into_values().collect() })
}

impl StreamStatus {
    fn take(&mut self, ledger: Ledger, stream: Stream) {
        self.admitted = ledger.admitted;
        self.held_no_consent = ledger.held_no_consent;
        self.held_before_consent = ledger.held_before_consent;
        if stream == Stream::Customer {
            let standing = ledger.admitted + ledger.held_no_consent;
            self.superseded = (self.records - self.quarantined).saturating_sub(standing);
        }
    }
}

/// The stream whose landing zone or trusted table this is.
fn stream_of(table: &Table) -> Option<Stream> {
    Stream::ALL.into_iter().find(|stream| {
        let trusted = format!("trusted/{}/", stream.name());
        table.location == layout::landing(*stream) || table.location == trusted
    })
}

async fn derived(
    store: &dyn Store,
    catalog: &dyn Catalog,
    table: &'static Table,
) -> Result<(TableStatus, Ledger), Failure> {
    let mut status = TableStatus {
        table: table.name,
        rows: 0,
        objects: 0,
        bytes: 0,
        partitions: None,
        registered: catalog.table(table.name).await?.is_some(),
    };
    let mut ledger = Ledger::default();
    if table.partitioned {
        status.partitions = Some(catalog.partitions(table.name).await?.len());
    }
    for object in list_all(store, table.location).await? {
        status.objects += 1;
        status.bytes += object.size_bytes;
        if table.format == TableFormat::Parquet
            && let Some(noted) = object::note_in(store, &object.key).await?
        {
            status.rows += noted.rows;
            ledger += noted.footer.ledger;
        }
    }
    Ok((status, ledger))
}

/// What every manifest says of its landing object.
#[derive(Deserialize)]
pub(crate) struct Landed {
    pub(crate) landing: ObjectKey,
    pub(crate) content: Content,
}

/// What the manifests of a stream say, in the order of their landing objects.
pub(crate) async fn manifests(store: &dyn Store, stream: Stream) -> Result<Vec<Landed>, Failure> {
    let mut manifests = Vec::new();
    for manifest in list_all(store, &layout::manifests(stream)).await? {
        if let Some(object) = store.get(&manifest.key, ByteRange::All).await? {
            manifests.push(parse::<Landed>(&manifest.key, &object.bytes)?);
        }
    }
    manifests.sort_by(|a, b| a.landing.cmp(&b.landing));
    Ok(manifests)
}

async fn landed(store: &dyn Store, stream: Stream) -> Result<StreamStatus, Failure> {
    let mut status = StreamStatus { stream: stream.name(), ..StreamStatus::default() };
    for Landed { landing, content } in manifests(store, stream).await? {
        let quarantined: u64 = content.fragments.values().sum();
        status.records += content.rows + quarantined;
        status.quarantined += quarantined;
        add(&mut status.quarantined_by_reason, content.fragments);
        add(&mut status.unmet_expectations, content.unmet);
        for (column, records) in content.unknown_columns {
            let first_in = landing.clone();
            let unknown = UnknownColumn { records: 0, first_in };
            status.unknown_columns.entry(column).or_insert(unknown).records += records;
        }
    }
    Ok(status)
}

fn add(counts: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>) {
    for (name, count) in more {
        *counts.entry(name).or_default() += count;
    }
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    key: &ObjectKey,
    bytes: &[u8],
) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::Lake(Error::Unreadable { key: key.clone(), reason: error.to_string() })
    })
}
