//! `stedi generate`

use ::generate::{GenerateError, Generated, Options, generate as write_feeds};
use std::path::Path;

use crate::args::GenerateArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress;

pub(crate) fn generate(args: &GenerateArgs, output: &mut Output) -> Result<(), Failure> {
    let options = Options {
        customers: args.customers,
        days: args.days,
        seed: args.seed,
        shared_serials: args.shared_serials,
        ..Options::default()
    };
    let made = with_progress(&args.out, &options)?;
    writeln!(
        output,
        "{} customer records, {} accelerometer readings, {} step trainer readings in {} files \
         ({} bytes) under {}",
        made.customer_records,
        made.accelerometer_records,
        made.step_trainer_records,
        made.files,
        made.bytes,
        args.out.display()
    )
}

/// Makes feeds, with a progress bar.
pub(crate) fn with_progress(out: &Path, options: &Options) -> Result<Generated, Failure> {
    let bar = progress::bar(0, "records");
    bar.set_message("generating");
    let made = write_feeds(out, options, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    made.map_err(|error| match error {
        GenerateError::Io { .. } => Failure::Other(error.to_string()),
        error => Failure::Usage(error.to_string()),
    })
}
