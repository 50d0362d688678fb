//! `stedi run`

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ::generate::Options;
use chain::Routes;
use lake::lake::Lake;
use lake::store::FolderStore;
use serde::Serialize;

use crate::args::{Format, RunArgs};
use crate::engine::{Effort, Engine};
use crate::failure::Failure;
use crate::feeds::{self, FeedFile};
use crate::home::Home;
use crate::queues::{AnnouncingStore, Queues};
use crate::status::{self, Status};
use crate::{generate, progress, render};

/// What a run did.
#[derive(Serialize)]
pub(crate) struct Summary {
    #[serde(flatten)]
    pub(crate) status: Status,
    /// Landing objects that were put, and those that lay there already.
    pub(crate) files_put: usize,
    pub(crate) files_unchanged: usize,
    pub(crate) invocations: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) objects_written: u64,
    pub(crate) conflicts: u64,
    pub(crate) seconds: f64,
    /// Where the data came from, if the run made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sample: Option<String>,
}

pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()
        .map_err(|error| Failure::Other(format!("start the runtime: {error}")))?;
    let files = args.data.as_deref().map(feeds::find).transpose()?;
    let summary = runtime.block_on(run_chain(args, files))?;
    match args.format {
        Format::Table => render::summary(&summary),
        Format::Json => render::json(&summary)?,
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the run says how long it took")]
async fn run_chain(args: &RunArgs, files: Option<Vec<FeedFile>>) -> Result<Summary, Failure> {
    let home = Home::take(&args.lake)?;
    let folder = Arc::new(home.store()?);
    let is_new = home.settings(folder.as_ref()).await?.is_none();
    let sample = match &files {
        None if is_new && !args.lake.join("landing").exists() => Some(make_sample(args)?),
        _ => None,
    };
    let started = Instant::now();
    let queues = Arc::new(Queues::new(
        Routes::deployed().map_err(|error| Failure::Other(error.to_string()))?,
    ));
    let store = Arc::new(AnnouncingStore { store: folder.clone(), queues: Arc::clone(&queues) });
    let lake = Arc::new(home.open(store, args.policies).await?);
    let workers = thread::available_parallelism().map_or(1, Into::into);
    let engine = Engine { lake: Arc::clone(&lake), queues, workers };
    engine.reconcile().await?;
    let (files_put, files_unchanged) = put(&engine, &folder, files.unwrap_or_default())?;
    let effort = watched(&engine).await?;
    let took = started.elapsed();
    if let Some((key, reason)) = effort.dead_letters.first() {
        return Err(Failure::DeadLetters {
            count: effort.dead_letters.len(),
            first: format!("{key}: {reason}"),
        });
    }
    summarise(&lake, effort, took, (files_put, files_unchanged), sample).await
}

async fn summarise(
    lake: &Lake,
    effort: Effort,
    took: Duration,
    (files_put, files_unchanged): (usize, usize),
    sample: Option<String>,
) -> Result<Summary, Failure> {
    Ok(Summary {
        status: status::collect(lake.store.as_ref(), lake.catalog.as_ref()).await?,
        files_put,
        files_unchanged,
        invocations: effort.invocations,
        objects_written: effort.report.objects_written,
        conflicts: effort.report.conflicts,
        seconds: took.as_secs_f64(),
        sample,
    })
}

fn make_sample(args: &RunArgs) -> Result<String, Failure> {
    let options = Options::default();
    let made = generate::with_progress(&args.lake, &options)?;
    Ok(format!(
        "made a sample of {} customers over {} days (seed {}, {} records in {} files)",
        options.customers,
        options.days,
        options.seed,
        made.records(),
        made.files
    ))
}

/// Puts files into the landing zone; those that lie there already are left alone.
fn put(
    engine: &Engine,
    folder: &FolderStore,
    files: Vec<FeedFile>,
) -> Result<(usize, usize), Failure> {
    let bar = progress::bar(files.len() as u64, "files");
    bar.set_message("putting");
    let (mut put, mut unchanged) = (0, 0);
    for file in files {
        if folder.import(&file.path, &file.key)? {
            engine.queues.announce(&file.key);
            put += 1;
        } else {
            unchanged += 1;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((put, unchanged))
}

/// Comes to rest, with a progress bar.
async fn watched(engine: &Engine) -> Result<Effort, Failure> {
    let bar = progress::bar(0, "objects");
    bar.set_message("deriving");
    let rest = engine.come_to_rest();
    tokio::pin!(rest);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            effort = &mut rest => {
                bar.finish_and_clear();
                return effort;
            }
            _ = tick.tick() => {
                let progress = engine.queues.progress();
                bar.set_length(progress.queued);
                bar.set_position(progress.done);
            }
        }
    }
}
