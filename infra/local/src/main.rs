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

/// What the allocator is told, and looks for in the environment only, before anything else runs: to give
/// back after a millisecond what is free. By default it keeps it ten times as long, and a landing object
/// of 2 GB took 30 MB more.
const PURGE_DELAY_MS: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "1");

/// Begins the command again with what the allocator is told, unless somebody has told it. If it cannot
/// be, the command goes on as it is.
fn tell_allocator() {
    let (name, value) = PURGE_DELAY_MS;
    if env::var_os(name).is_none()
        && let Ok(command) = env::current_exe()
    {
        let _failed =
            process::Command::new(command).args(env::args_os().skip(1)).env(name, value).exec();
    }
}

/// Without a command the whole help is shown.
const NO_COMMAND: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

fn main() -> ExitCode {
    tell_allocator();
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
