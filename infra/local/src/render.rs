//! How results look.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::run::Summary;
use crate::status::{Status, StreamStatus};

/// Prints JSON for programs.
pub(crate) fn json(value: &impl Serialize, output: &mut Output) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Other(format!("print JSON: {error}")))?;
    writeln!(output, "{text}")
}

/// Prints a lake at a glance.
pub(crate) fn status(status: &Status, output: &mut Output) -> Result<(), Failure> {
    let mut tables = new_table(&["table", "rows", "objects", "partitions", "bytes"]);
    for table in &status.tables {
        tables.add_row([
            table.table.to_owned(),
            grouped(table.rows),
            grouped(table.objects),
            table.partitions.map_or_else(String::new, |count| grouped(count as u64)),
            grouped(table.bytes),
        ]);
    }
    writeln!(output, "{}", aligned(tables))?;
    writeln!(output)?;
    let columns = [
        "records of",
        "delivered",
        "admitted",
        "held: no consent",
        "held: before consent",
        "superseded",
        "quarantined",
    ];
    let mut streams = new_table(&columns);
    for stream in &status.streams {
        streams.add_row([
            stream.stream.to_owned(),
            grouped(stream.records),
            grouped(stream.admitted),
            grouped(stream.held_no_consent),
            grouped(stream.held_before_consent),
            grouped(stream.superseded),
            grouped(stream.quarantined),
        ]);
    }
    writeln!(output, "{}", aligned(streams))?;
    for stream in &status.streams {
        remarks(stream, output)?;
    }
    Ok(())
}

/// What is worth knowing of a stream beyond its counts.
fn remarks(stream: &StreamStatus, output: &mut Output) -> Result<(), Failure> {
    let name = stream.stream;
    for (reason, records) in &stream.quarantined_by_reason {
        writeln!(output, "{name}: {} quarantined: {reason}", grouped(*records))?;
    }
    for (expectation, records) in &stream.unmet_expectations {
        writeln!(output, "{name}: {} records do not meet {expectation}", grouped(*records))?;
    }
    for (column, unknown) in &stream.unknown_columns {
        writeln!(
            output,
            "{name}: no table has the column {column} of {} records, first in {}",
            grouped(unknown.records),
            unknown.first_in
        )?;
    }
    Ok(())
}

/// Prints what a run did.
pub(crate) fn summary(summary: &Summary, output: &mut Output) -> Result<(), Failure> {
    if let Some(sample) = &summary.sample {
        writeln!(output, "no --data: {sample}\n")?;
    }
    status(&summary.status, output)?;
    writeln!(output)?;
    if summary.sample.is_none() {
        let (put, there) = (summary.files_put as u64, summary.files_unchanged as u64);
        writeln!(output, "{} files put, {} there already", grouped(put), grouped(there))?;
    }
    let invocations: u64 = summary.invocations.values().sum();
    writeln!(
        output,
        "{} invocations wrote {} objects in {:.2} s",
        grouped(invocations),
        grouped(summary.objects_written),
        summary.seconds
    )
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
