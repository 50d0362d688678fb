//! `stedi replay`: derives a lake again, after a lost event or under other policies.

use lake::layout;
use lake::store::list_all;
use lake::tables::Stream;

use crate::args::{Format, ReplayArgs};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::home::{Change, Home, Opening};
use crate::output::Output;
use crate::render;
use crate::run::{Counts, finish, start};
use crate::status::block_on_threads;

pub(crate) fn replay(args: &ReplayArgs, output: &mut Output) -> Result<(), Failure> {
    Home::visit(&args.lake)?;
    let zones = Stream::ALL.map(layout::landing);
    if !zones.iter().any(|zone| zone.starts_with(&args.prefix) || args.prefix.starts_with(zone)) {
        return Err(Failure::Usage(format!(
            "{:?} is no prefix of landing objects; want one of {}, or something below it",
            args.prefix,
            zones.join(", ")
        )));
    }
    let home = Home::take(&args.lake)?;
    block_on_threads(async {
        let (policies, change) = (args.policies, Change::Allowed);
        let opening = Opening { policies, change, ..Opening::as_it_is() };
        let started = start(&home, opening, None).await?;
        let asked = ask(&started.engine, &args.prefix).await?;
        let counts = Counts { files_put: 0, files_unchanged: asked };
        let summary = finish(started, counts, None).await?;
        match args.format {
            Format::Table => render::summary(&summary, output),
            Format::Json => render::json(&summary, output),
        }
    })
}

/// Asks every function for the landing objects below a prefix.
async fn ask(engine: &Engine, prefix: &str) -> Result<usize, Failure> {
    engine.reconcile().await?;
    let mut asked = 0;
    for stream in Stream::ALL {
        let zone = layout::landing(stream);
        let below = if prefix.starts_with(zone) { prefix } else { zone };
        if !below.starts_with(prefix) {
            continue;
        }
        for object in list_all(engine.lake.store.as_ref(), below).await? {
            engine.queues.announce(&object.key, object.size_bytes);
            asked += 1;
        }
    }
    Ok(asked)
}
