//! `stedi watch`: processes what appears and disappears in the landing zone, as it does.
//!
//! The file system says that something happened; what happened is found by comparing the landing
//! zone with what it was. A file is announced once it has not changed for a moment: one that is
//! still being written would only be read for nothing, and the clock of the file system is too
//! coarse to tell two changes within a few milliseconds apart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lake::key::{ETag, ObjectKey};
use lake::store::{Store, versions_below};
use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::args::WatchArgs;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::home::{Home, Opening};
use crate::output::Output;
use crate::run::{Started, start};
use crate::status::block_on_threads;

const LANDING: &str = "landing/";
/// A file that changed more recently than this is looked at again later.
const QUIET: Duration = Duration::from_millis(50);
/// How long after an event the landing zone is looked at.
const SETTLE: Duration = Duration::from_millis(60);
/// How often the landing zone is looked at without an event, should one be lost.
const PATROL: Duration = Duration::from_secs(5);

pub(crate) fn watch(args: &WatchArgs, output: &mut Output) -> Result<(), Failure> {
    let home = Home::take(&args.lake)?;
    block_on_threads(async {
        let (policies, parts) = (args.policies, args.parts);
        let opening = Opening { policies, parts, ..Opening::as_it_is() };
        let Started { engine, folder, .. } = start(&home, opening, None).await?;
        let stirred = Arc::new(Notify::new());
        let landing = args.lake.join(LANDING);
        std::fs::create_dir_all(&landing).map_err(Failure::io(&landing))?;
        let _watcher = watch_folder(&landing, Arc::clone(&stirred))?;
        let mut zone = Zone::look(folder.as_ref()).await?;
        engine.reconcile().await?;
        writeln!(output, "watching {}; stop with Ctrl-C", landing.display())?;
        output.flush()?;
        tokio::select! {
            ended = patrol(&engine, folder.as_ref(), &args.lake, &mut zone, &stirred) => ended,
            ended = work(&engine, output) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(|error| Failure::Other(format!("wait for Ctrl-C: {error}")))
            }
        }
    })
}

fn watch_folder(
    folder: &Path,
    stirred: Arc<Notify>,
) -> Result<notify::RecommendedWatcher, Failure> {
    let failed =
        |error: notify::Error| Failure::Other(format!("watch {}: {error}", folder.display()));
    let mut watcher = notify::recommended_watcher(move |_| stirred.notify_one()).map_err(failed)?;
    watcher.watch(folder, RecursiveMode::Recursive).map_err(failed)?;
    Ok(watcher)
}

/// Brings the lake to rest whenever something is queued.
async fn work(engine: &Engine, output: &mut Output) -> Result<(), Failure> {
    loop {
        engine.queues.queued().await;
        let effort = engine.come_to_rest().await?;
        for (key, reason) in &effort.dead_letters {
            eprintln!("{key}: {reason}; change the object, or run `stedi replay`");
        }
        let written = effort.report.objects_written;
        let invocations: u64 = effort.invocations.values().sum();
        writeln!(output, "at rest: {invocations} invocations wrote {written} objects")?;
        output.flush()?;
    }
}

/// Announces what changes in the landing zone.
async fn patrol(
    engine: &Engine,
    store: &dyn Store,
    root: &Path,
    zone: &mut Zone,
    stirred: &Notify,
) -> Result<(), Failure> {
    loop {
        let unquiet = zone.announce(engine, store, root).await?;
        let wait = if unquiet { SETTLE } else { PATROL };
        tokio::select! {
            () = stirred.notified() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// The landing zone as it was last looked at.
struct Zone(BTreeMap<ObjectKey, ETag>);

impl Zone {
    async fn look(store: &dyn Store) -> Result<Self, Failure> {
        Ok(Self(versions_below(store, LANDING).await?))
    }

    /// Announces the keys under which something changed; says whether some are still changing.
    async fn announce(
        &mut self,
        engine: &Engine,
        store: &dyn Store,
        root: &Path,
    ) -> Result<bool, Failure> {
        let Self(mut found) = Self::look(store).await?;
        let mut unquiet = false;
        for (key, etag) in &mut found {
            if self.0.get(key) == Some(etag) {
                continue;
            }
            if is_quiet(&root.join(key.as_str())) {
                engine.queues.announce(key, 0);
            } else {
                unquiet = true;
                *etag = ETag::new("");
            }
        }
        for key in self.0.keys().filter(|key| !found.contains_key(*key)) {
            engine.queues.announce(key, 0);
        }
        self.0 = found;
        Ok(unquiet)
    }
}

#[expect(clippy::disallowed_methods, reason = "tells a file that is being written from others")]
fn is_quiet(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        SystemTime::now().duration_since(modified).map_or(true, |age| age > QUIET)
    })
}
