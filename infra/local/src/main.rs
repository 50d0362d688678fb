//! `stedi`: the STEDI lake on one machine. The same handlers as in the account, over a folder.
#![expect(clippy::print_stderr, reason = "a command speaks to its user")]

mod args;
mod catalog;
mod compact;
mod engine;
mod failure;
mod feeds;
mod generate;
mod home;
mod output;
mod progress;
mod quarantine;
mod queues;
mod render;
mod replay;
mod run;
mod status;
mod verify;
mod watch;

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{self, ExitCode};

use clap::Parser;
use clap::error::ErrorKind;
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::output::Output;

/// A seventh less time than with the system's, over eleven million records. Without huge pages: they
/// would be cleared whole each time that some of one is wanted.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What the allocators are told, and look for in the environment only, before anything else runs.
///
/// Rust's gives back after a millisecond what is free: by default it keeps it ten times as long, and a
/// landing object of 2 GB took 30 MB more. The C library's, of which zstd asks some hundred kilobytes
/// for every column it writes, keeps that: by default it gave it back each time, and clearing the same
/// pages again took a twentieth of the time of eleven million records.
const ALLOCATORS: [(&str, &str); 3] = [
    ("MIMALLOC_PURGE_DELAY", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "4194304"),
    ("MALLOC_TRIM_THRESHOLD_", "16777216"),
];

/// Set where the command has begun again: what it sets for the allocators need not arrive, since the C
/// library takes its own away from a command with special rights.
const BEGUN_AGAIN: &str = "STEDI_BEGUN_AGAIN";

/// Begins the command again with what the allocators are told, unless somebody has told them. If it
/// cannot be, the command goes on as it is.
fn tell_allocators() {
    let untold = || ALLOCATORS.into_iter().filter(|(name, _)| env::var_os(name).is_none());
    if env::var_os(BEGUN_AGAIN).is_none()
        && untold().next().is_some()
        && let Ok(command) = env::current_exe()
    {
        let mut again = process::Command::new(command);
        let _failed =
            again.args(env::args_os().skip(1)).envs(untold()).env(BEGUN_AGAIN, "1").exec();
    }
}

/// Without a command the whole help is shown.
const NO_COMMAND: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

fn main() -> ExitCode {
    tell_allocators();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() && error.kind() != NO_COMMAND => {
            eprintln!("{}", args::in_one_line(&error));
            return ExitCode::from(2);
        }
        Err(help) => help.exit(),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut output = Output::lock();
    let done = dispatch(args.command, &mut output);
    let shown = output.flush();
    match done.and(shown) {
        Ok(()) => ExitCode::SUCCESS,
        // As if by `head`: nobody is left to read the rest.
        Err(failure) if failure.is_cut_off() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(&args, output),
        Command::Watch(args) => watch::watch(&args, output),
        Command::Verify(args) => verify::verify(&args, output),
        Command::Replay(args) => replay::replay(&args, output),
        Command::Compact(args) => compact::compact(&args, output),
        Command::Generate(args) => generate::generate(&args, output),
        Command::Status(args) => status::status(&args, output),
        Command::Quarantine(args) => quarantine::quarantine(&args, output),
        Command::Catalog(args) => catalog::catalog(&args, output),
    }
}
