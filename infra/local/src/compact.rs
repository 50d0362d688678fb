//! `stedi compact`: copies dates of many small objects into few large ones, as the schedule does in
//! an account.

use chain::FunctionName;

use crate::args::{CompactArgs, Format};
use crate::failure::Failure;
use crate::home::{Home, Opening};
use crate::output::Output;
use crate::render;
use crate::run::{Counts, finish, start};
use crate::status::block_on_threads;

pub(crate) fn compact(args: &CompactArgs, output: &mut Output) -> Result<(), Failure> {
    Home::visit(&args.lake)?;
    let home = Home::take(&args.lake)?;
    block_on_threads(async {
        let started = start(&home, Opening::as_it_is(), None).await?;
        let engine = &started.engine;
        engine.reconcile().await?;
        engine.come_to_rest().await?.check()?;
        for key in readings_compacted::closed(&engine.lake, args.before).await? {
            engine.queues.ask(FunctionName::ReadingsCompacted, key);
        }
        let summary = finish(started, Counts { files_put: 0, files_unchanged: 0 }, None).await?;
        match args.format {
            Format::Table => render::summary(&summary, output),
            Format::Json => render::json(&summary, output),
        }
    })
}
