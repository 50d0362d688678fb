//! The arguments.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use lake::key::Parts;
use lake::layout::ReadingDate;
use lake::policy::{Consent, Identity, Pairing, Policies};

/// The STEDI lake on one machine: three raw feeds in, eight tables out.
#[derive(Parser)]
#[command(name = "stedi", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Puts feeds into the landing zone and lets the chain run to rest
    Run(RunArgs),
    /// Processes what appears and disappears in the landing zone, until interrupted
    Watch(WatchArgs),
    /// Recomputes every table by the rules and compares, row by row
    Verify(VerifyArgs),
    /// Derives a lake again, after a lost event or under other policies
    Replay(ReplayArgs),
    /// Copies dates of many small objects into few large ones
    Compact(CompactArgs),
    /// Makes data shaped like the three feeds
    Generate(GenerateArgs),
    /// Shows the eight tables of a lake
    Status(StatusArgs),
    /// Lists what could not be read, with file, place and reason; holds personal data
    Quarantine(QuarantineArgs),
    /// Shows what is registered in the lake's catalog
    Catalog(CatalogArgs),
}

#[derive(ClapArgs)]
pub(crate) struct RunArgs {
    /// Folder with the feeds: landing/<stream>/…, <stream>/landing/… or <stream>/…
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Folder of the lake; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "lake")]
    pub(crate) lake: PathBuf,
    #[command(flatten)]
    pub(crate) policies: PolicyArgs,
    #[command(flatten)]
    pub(crate) parts: PartsArgs,
    /// Deliver events shuffled, duplicated and concurrently, by this seed
    #[arg(long, value_name = "SEED")]
    pub(crate) chaos: Option<u64>,
    /// How to print the tables
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(ClapArgs)]
pub(crate) struct WatchArgs {
    /// Folder of the lake; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "lake")]
    pub(crate) lake: PathBuf,
    #[command(flatten)]
    pub(crate) policies: PolicyArgs,
    #[command(flatten)]
    pub(crate) parts: PartsArgs,
}

#[derive(ClapArgs)]
pub(crate) struct VerifyArgs {
    /// Folder of the lake
    #[arg(long, value_name = "DIR", default_value = "lake")]
    pub(crate) lake: PathBuf,
}

#[derive(ClapArgs)]
pub(crate) struct ReplayArgs {
    /// Folder of the lake
    #[arg(long, value_name = "DIR", default_value = "lake")]
    pub(crate) lake: PathBuf,
    /// Landing objects to look at again, such as landing/accelerometer/2026/
    #[arg(value_name = "PREFIX", default_value = "landing/")]
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) policies: PolicyArgs,
    /// How to print the tables
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(ClapArgs)]
pub(crate) struct CompactArgs {
    /// Folder of the lake
    #[arg(long, value_name = "DIR", default_value = "lake")]
    pub(crate) lake: PathBuf,
    /// Compact the dates before this one, YYYY-MM-DD
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) before: ReadingDate,
    /// How to print the tables
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

fn date(text: &str) -> Result<ReadingDate, String> {
    ReadingDate::parse(text).ok_or_else(|| "want a date as 2026-01-31".to_owned())
}

/// The policies; an existing lake keeps its own.
#[derive(ClapArgs, Clone, Copy, Default)]
pub(crate) struct PolicyArgs {
    /// Which readings a consent covers: any or as-of
    #[arg(long, value_name = "POLICY")]
    pub(crate) consent: Option<Consent>,
    /// Which accelerometer readings a step reading is paired with: timestamp or customer
    #[arg(long, value_name = "POLICY")]
    pub(crate) pairing: Option<Pairing>,
    /// What machine_learning_curated says of who was measured: pseudonym, none or clear
    #[arg(long, value_name = "POLICY")]
    pub(crate) identity: Option<Identity>,
}

impl PolicyArgs {
    /// The policies of a lake, where none are given.
    pub(crate) fn over(self, recorded: Policies) -> Policies {
        Policies {
            consent: self.consent.unwrap_or(recorded.consent),
            pairing: self.pairing.unwrap_or(recorded.pairing),
            identity: self.identity.unwrap_or(recorded.identity),
        }
    }
}

/// How a new lake splits its customers; an existing lake keeps its own.
#[derive(ClapArgs, Clone, Copy, Default)]
pub(crate) struct PartsArgs {
    /// Number of parts of the registers of a new lake, a power of two; by default what suits the
    /// customers that are there
    #[arg(long, value_name = "N")]
    pub(crate) parts: Option<Parts>,
}

#[derive(ClapArgs)]
pub(crate) struct GenerateArgs {
    /// Folder to write the feeds into
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// People in the customer feed
    #[arg(long, value_name = "N")]
    pub(crate) customers: u32,
    /// Days of readings
    #[arg(long, value_name = "D")]
    pub(crate) days: u32,
    /// Other seeds give other data of the same kind
    #[arg(long, value_name = "S")]
    pub(crate) seed: u64,
    /// The fulfilment bug: customer records state K serial numbers, over and over
    #[arg(long, value_name = "K")]
    pub(crate) shared_serials: Option<u32>,
}

#[derive(ClapArgs)]
pub(crate) struct StatusArgs {
    /// Folder of the lake
    #[arg(long, value_name = "DIR", default_value = "lake")]
    pub(crate) lake: PathBuf,
    /// How to print the tables
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(ClapArgs)]
pub(crate) struct QuarantineArgs {
    /// Folder of the lake
    #[arg(long, value_name = "DIR", default_value = "lake")]
    pub(crate) lake: PathBuf,
    /// Show the text around each fragment of this landing object, such as landing/customer/a.json
    #[arg(long, value_name = "FILE")]
    pub(crate) explain: Option<String>,
}

#[derive(ClapArgs)]
pub(crate) struct CatalogArgs {
    /// Folder of the lake
    #[arg(long, value_name = "DIR", default_value = "lake")]
    pub(crate) lake: PathBuf,
    /// Print the Athena statements instead
    #[arg(long)]
    pub(crate) ddl: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// What is wrong with the arguments, in one line.
pub(crate) fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let said = text.split("\n\nUsage:").next().unwrap_or_default();
    let said = said.split("\n\nFor more information").next().unwrap_or_default();
    let words: Vec<&str> = said.split_whitespace().collect();
    format!("{}; see `stedi --help`, or `stedi <COMMAND> --help`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_wrong_with_the_arguments_is_said_in_one_line() {
        for arguments in [
            vec!["stedi", "walk"],
            vec!["stedi", "run", "--consent", "maybe"],
            vec!["stedi", "run", "--parts", "12"],
            vec!["stedi", "generate", "--customers", "3"],
            vec!["stedi", "compact", "--before", "yesterday"],
        ] {
            let error = Args::try_parse_from(&arguments).map(|_| ()).unwrap_err();
            let line = in_one_line(&error);
            assert!(line.starts_with("error: ") && !line.contains('\n'), "{line}");
        }
    }
}
