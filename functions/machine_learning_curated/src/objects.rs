//! The accelerometer objects of a day, as the readings of one stretch of time after the other are read
//! from them.
//!
//! Row groups are fetched several at once, since each takes the store its time; and those with readings
//! after the stretch wait, as they were fetched, for the next one, as long as there is room for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use lake::error::Error;
use lake::lake::Lake;
use lake::layout::Span;
use lake::object::Fetched;

use crate::day::Day;
use crate::input::{Input, READING_BYTES, Read, held_bytes};
use crate::motions::MOTION_TIME;

/// Of the memory for documents, the share that row groups may have which are fetched at once; and as much
/// those that wait.
const FETCHED_SHARE: u64 = 16;

/// The accelerometer objects of a day.
pub(crate) struct Objects<'a> {
    lake: &'a Lake,
    day: &'a Day,
    /// Large ones that are open, by their numbers in the listing.
    open: BTreeMap<usize, Arc<Input>>,
    /// Row groups of theirs that wait, as they were fetched.
    waiting: BTreeMap<(usize, usize), Fetched>,
}

/// An accelerometer object that moved, or why it cannot be read.
pub(crate) type Lost = (usize, Result<(), Error>);

/// The readings that are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'t> {
    pub(crate) stretch: Span,
    /// Those of these times, which are in order; else all of the stretch.
    pub(crate) times: Option<&'t [i64]>,
    /// Memory that they may take, bytes.
    pub(crate) bytes_max: u64,
}

/// They take more memory.
struct TooMuch;

/// Readings that are read.
#[derive(Default)]
struct Reading {
    /// In the order of the objects and their row groups.
    batches: BTreeMap<(usize, usize), RecordBatch>,
    bytes: u64,
    lost: Vec<Lost>,
}

impl Reading {
    fn is_lost(&self, number: usize) -> bool {
        self.lost.iter().any(|(lost, _)| *lost == number)
    }
}

/// A row group of a large object.
struct Group {
    number: usize,
    input: Arc<Input>,
    group: usize,
}

impl Group {
    fn bytes(&self) -> u64 {
        self.input.opened.value.group_bytes(self.group)
    }
}

impl<'a> Objects<'a> {
    pub(crate) fn of(lake: &'a Lake, day: &'a Day) -> Self {
        Self { lake, day, open: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    /// Opens one; `None` if it moved since it was listed.
    pub(crate) async fn open(&self, number: usize) -> Result<Option<Arc<Input>>, Error> {
        if let Some(input) = self.open.get(&number) {
            return Ok(Some(Arc::clone(input)));
        }
        let opened = Input::open(self.lake, self.day.meta(number).clone()).await?;
        Ok(opened.map(Arc::new))
    }

    /// Reads the readings that are wanted of objects that are not lost; `None` if they are too many.
    pub(crate) async fn read(
        &mut self,
        numbers: Vec<usize>,
        wanted: Wanted<'_>,
    ) -> (Option<Vec<RecordBatch>>, Vec<Lost>) {
        let mut reading = Reading::default();
        let is_all = self.read_all(numbers, wanted, &mut reading).await.is_ok();
        (is_all.then(|| reading.batches.into_values().collect()), reading.lost)
    }

    async fn read_all(
        &mut self,
        numbers: Vec<usize>,
        wanted: Wanted<'_>,
        reading: &mut Reading,
    ) -> Result<(), TooMuch> {
        let large = self.read_small(numbers, wanted, reading).await?;
        let (mut groups, mut known) = (VecDeque::new(), 0);
        for (number, input) in large {
            known += input.rows_within(MOTION_TIME, wanted.stretch);
            for group in input.groups_within(MOTION_TIME, wanted.stretch) {
                groups.push_back(Group { number, input: Arc::clone(&input), group });
            }
            self.open.insert(number, input);
        }
        if wanted.times.is_none() && reading.bytes + known * READING_BYTES > wanted.bytes_max {
            return Err(TooMuch);
        }
        while let Some(first) = groups.pop_front() {
            let (mut bytes, mut at_once) = (first.bytes(), vec![first]);
            while at_once.len() < self.lake.bounds.looks_at_once
                && let Some(next) = groups.pop_front_if(|it| bytes + it.bytes() <= self.room())
            {
                bytes += next.bytes();
                at_once.push(next);
            }
            at_once.retain(|of| !reading.is_lost(of.number));
            self.read_groups(at_once, wanted, reading).await?;
        }
        Ok(())
    }

    /// Reads those of small objects, of which there may be very many: no more are held than are opened at
    /// once. Returns the large ones, opened.
    async fn read_small(
        &self,
        numbers: Vec<usize>,
        Wanted { stretch, times, bytes_max }: Wanted<'_>,
        reading: &mut Reading,
    ) -> Result<Vec<(usize, Arc<Input>)>, TooMuch> {
        let mut large = Vec::new();
        let open = |number| async move { (number, self.open(number).await) };
        let mut opened = stream::iter(numbers).map(open).buffered(self.lake.bounds.concurrency);
        while let Some((number, opened)) = opened.next().await {
            let input = match opened {
                Ok(Some(input)) => input,
                moved => {
                    reading.lost.push((number, moved.map(drop)));
                    continue;
                }
            };
            if input.opened.value.is_large() {
                large.push((number, input));
                continue;
            }
            let bytes_max = bytes_max - reading.bytes;
            match input.within(self.lake, MOTION_TIME, stretch, times, bytes_max).await {
                Ok(Read::All(read, bytes)) => {
                    let read = (0..).zip(read).map(|(group, batch)| ((number, group), batch));
                    reading.batches.extend(read);
                    reading.bytes += bytes;
                }
                Ok(Read::TooMuch) => return Err(TooMuch),
                moved => reading.lost.push((number, moved.map(drop))),
            }
        }
        Ok(large)
    }

    /// Fetches some row groups at once, and reads them.
    async fn read_groups(
        &mut self,
        groups: Vec<Group>,
        Wanted { stretch, times, bytes_max }: Wanted<'_>,
        reading: &mut Reading,
    ) -> Result<(), TooMuch> {
        let lake = self.lake;
        let mut fetched = Vec::with_capacity(groups.len());
        for of in groups {
            let waiting = self.waiting.remove(&(of.number, of.group));
            fetched.push(async {
                let fetched = match waiting {
                    Some(waiting) => Ok(Some(waiting)),
                    None => of.input.fetch(lake, of.group).await,
                };
                (of, fetched)
            });
        }
        for (of, fetched) in join_all(fetched).await {
            let read = match fetched {
                Ok(Some(fetched)) => {
                    let read = of.input.rows_of(&fetched, MOTION_TIME, stretch, times);
                    self.wait(&of, fetched, stretch.last_ms);
                    read.map(Some)
                }
                moved => moved.map(|_| None),
            };
            match read {
                Ok(Some(batch)) if batch.num_rows() == 0 => {}
                Ok(Some(batch)) => {
                    reading.bytes += held_bytes(&batch);
                    if reading.bytes > bytes_max {
                        return Err(TooMuch);
                    }
                    reading.batches.insert((of.number, of.group), batch);
                }
                moved => reading.lost.push((of.number, moved.map(drop))),
            }
        }
        Ok(())
    }

    /// Has a row group wait for the next stretch, if it has readings after a time, and there is room.
    fn wait(&mut self, of: &Group, fetched: Fetched, last_ms: i64) {
        let span = of.input.opened.value.span(of.group, MOTION_TIME);
        let waiting_bytes: u64 = self.waiting.values().map(Fetched::bytes).sum();
        if span.is_some_and(|span| span.last_ms > last_ms)
            && waiting_bytes + fetched.bytes() <= self.room()
        {
            self.waiting.insert((of.number, of.group), fetched);
        }
    }

    /// Bytes of row groups that may be fetched at once, or wait.
    fn room(&self) -> u64 {
        self.lake.bounds.cache_bytes_max as u64 / FETCHED_SHARE
    }

    /// Closes those that have no reading after a time.
    pub(crate) fn close(&mut self, last_ms: i64) {
        let is_over = |number: &usize| self.day.span(*number).last_ms <= last_ms;
        self.open.retain(|number, _| !is_over(number));
        self.waiting.retain(|(number, _), _| !is_over(number));
    }
}
