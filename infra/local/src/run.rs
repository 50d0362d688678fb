//! `stedi run`

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ::generate::Options;
use indicatif::MultiProgress;
use lake::key::ObjectKey;
use lake::layout;
use lake::store::FolderStore;
use lake::tables::Stream;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::args::{Format, RunArgs};
use crate::engine::{Effort, Engine};
use crate::failure::Failure;
use crate::feeds::{self, FeedFile};
use crate::home::{Home, Opening};
use crate::output::Output;
use crate::queues::{AnnouncingStore, Coming, Queues};
use crate::status::{self, Status, block_on_threads};
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

/// The landing objects a command dealt with itself.
pub(crate) struct Counts {
    pub(crate) files_put: usize,
    pub(crate) files_unchanged: usize,
}

/// A lake with its chain ready.
pub(crate) struct Started {
    pub(crate) engine: Engine,
    pub(crate) folder: Arc<FolderStore>,
    at: Instant,
}

#[expect(clippy::disallowed_methods, reason = "the run says how long it took")]
pub(crate) fn run(args: &RunArgs, output: &mut Output) -> Result<(), Failure> {
    let at = Instant::now();
    let files = args.data.as_deref().map(feeds::find).transpose()?;
    let summary = block_on_threads(run_chain(args, files, at))?;
    match args.format {
        Format::Table => render::summary(&summary, output),
        Format::Json => render::json(&summary, output),
    }
}

async fn run_chain(
    args: &RunArgs,
    files: Option<Vec<FeedFile>>,
    at: Instant,
) -> Result<Summary, Failure> {
    let home = Home::take(&args.lake)?;
    let is_new = home.settings(&home.store()?).await?.is_none();
    let sample = match &files {
        None if is_new && !args.lake.join("landing").exists() => Some(make_sample(args)?),
        _ => None,
    };
    let files = files.unwrap_or_default();
    let people = feeds::people(files.iter().map(|file| (&file.key, file.size_bytes)));
    let (policies, parts) = (args.policies, args.parts);
    let opening = Opening { policies, parts, people, ..Opening::as_it_is() };
    let started = start(&home, opening, args.chaos).await?;
    // To make a sample is not the chain's work, to find the files is.
    let started = if sample.is_some() { started } else { Started { at, ..started } };
    started.engine.reconcile().await?;
    let (counts, effort) =
        bring_in(&started.engine, &started.folder, files, args.chaos.is_some()).await?;
    conclude(started, counts, effort, sample).await
}

/// Opens a lake and makes its chain ready.
#[expect(clippy::disallowed_methods, reason = "the run says how long it took")]
pub(crate) async fn start(
    home: &Home,
    opening: Opening,
    chaos: Option<u64>,
) -> Result<Started, Failure> {
    let at = Instant::now();
    let folder = Arc::new(home.store()?);
    let queues = Arc::new(Queues::new(chaos));
    let store = Arc::new(AnnouncingStore { store: folder.clone(), queues: Arc::clone(&queues) });
    let mut lake = home.open(store, opening).await?;
    let workers = thread::available_parallelism().map_or(1, Into::into);
    lake.bounds.large_max = workers;
    let lake = Arc::new(lake);
    Ok(Started { engine: Engine { lake, queues, workers }, folder, at })
}

/// Lets the chain come to rest, and says what came of it.
pub(crate) async fn finish(
    started: Started,
    counts: Counts,
    sample: Option<String>,
) -> Result<Summary, Failure> {
    let effort = watched(&started.engine, &MultiProgress::new()).await?;
    conclude(started, counts, effort, sample).await
}

/// Says what came of a chain that is at rest.
async fn conclude(
    started: Started,
    counts: Counts,
    effort: Effort,
    sample: Option<String>,
) -> Result<Summary, Failure> {
    let took = started.at.elapsed();
    effort.check()?;
    let lake = &started.engine.lake;
    Ok(Summary {
        status: status::collect(lake.store.as_ref(), lake.catalog.as_ref()).await?,
        files_put: counts.files_put,
        files_unchanged: counts.files_unchanged,
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

/// Puts files into the landing zone, and lets the chain come to rest.
///
/// One worker folds all customers, and the readings wait for it: meanwhile the other cores put them.
/// Where events are to be delivered in any order, all files are put first.
async fn bring_in(
    engine: &Engine,
    folder: &Arc<FolderStore>,
    files: Vec<FeedFile>,
    in_any_order: bool,
) -> Result<(Counts, Effort), Failure> {
    let customers = layout::landing(Stream::Customer);
    let is_first = |file: &FeedFile| in_any_order || file.key.after(customers).is_some();
    let (first, readings): (Vec<_>, Vec<_>) = files.into_iter().partition(is_first);
    let bars = MultiProgress::new();
    let counts = put(folder, &engine.queues, &first, engine.workers, &bars)?;

    let folding = usize::from(counts.files_put > 0);
    let threads = engine.workers.saturating_sub(folding).max(1);
    let coming = Coming::to(&engine.queues, readings.iter().map(|file| &file.key));
    let (folder, queues, put_bars) = (Arc::clone(folder), Arc::clone(&engine.queues), bars.clone());
    let putting = spawn_blocking(move || {
        let counts = put(&folder, &queues, &readings, threads, &put_bars);
        drop(coming);
        counts
    });
    let (effort, put) = tokio::join!(watched(engine, &bars), putting);
    let put = put.map_err(|error| Failure::Other(format!("putting files ended: {error}")))??;
    let counts = Counts {
        files_put: counts.files_put + put.files_put,
        files_unchanged: counts.files_unchanged + put.files_unchanged,
    };
    Ok((counts, effort?))
}

/// Puts files into the landing zone, some at once, and announces them together; those that lie there
/// already are left alone.
fn put(
    folder: &FolderStore,
    queues: &Queues,
    files: &[FeedFile],
    threads: usize,
    bars: &MultiProgress,
) -> Result<Counts, Failure> {
    let bar = progress::bar_among(bars, files.len() as u64, "files");
    bar.set_message("putting");
    let next = AtomicUsize::new(0);
    let put_some = || {
        let mut put = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if folder.import(&file.path, &file.key)? {
                put.push(&file.key);
            }
            bar.inc(1);
        }
        Ok::<_, Failure>(put)
    };
    let put: Result<Vec<_>, Failure> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(put_some)).collect();
        let joined = threads.into_iter();
        joined.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    bar.finish_and_clear();
    let keys: Vec<&ObjectKey> = put?.concat();
    for key in &keys {
        queues.announce(key, 0);
    }
    Ok(Counts { files_put: keys.len(), files_unchanged: files.len() - keys.len() })
}

/// Comes to rest, with a progress bar.
async fn watched(engine: &Engine, bars: &MultiProgress) -> Result<Effort, Failure> {
    let bar = progress::bar_among(bars, 0, "objects");
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
