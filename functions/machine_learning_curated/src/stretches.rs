//! Joins slices of a day whose accelerometer readings are too many to be put together at once, stretch
//! of time by stretch of time: those of a stretch are read once for all slices.
//!
//! How long a stretch is follows from the listing, as if the readings of an object lay evenly in its
//! time. Of few step readings it is longer, and only accelerometer readings of their times are kept: so
//! that for one step trainer object that is late, each accelerometer object is read once. Where there are
//! more of them than that, it is halved; where a single millisecond has more than may be held, they are
//! paired part by part, and the rows are put in order row group by row group. That depends on the readings
//! of that time, and the bounds, alone: in no byte it shows where a stretch ends, or what else is derived at
//! the same time.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::future::join_all;
use lake::derivation::Target;
use lake::error::Error;
use lake::lake::{Lake, Room};
use lake::layout::{Slice, Span};
use lake::report::Report;

use crate::day::{Day, first_stretch, share};
use crate::input::READING_BYTES;
use crate::join::{Join, naming};
use crate::motions::{MOTION_TIME, Motions};
use crate::objects::{Objects, Wanted};
use crate::rows::failed;
use crate::together::{TOGETHER_SHARE, together_bytes_max};
use crate::{Asked, Derived, ask, settle};

/// Bytes of an object without readings, about: of fewer no stretch is planned.
const EMPTY_BYTES: u64 = 4 << 10;

/// How many accelerometer readings a step reading has of its time, at most about.
const MATCHES: u64 = 8;

/// How many accelerometer readings are put together at once.
struct Capacity {
    /// Bytes of those that a stretch is planned of, encoded.
    planned_bytes: u64,
    /// Memory that they may take in it, bytes.
    bytes_max: u64,
}

impl Capacity {
    /// There is room for more where all objects are small, as for those that are put together.
    fn of(lake: &Lake, are_small: bool) -> Self {
        let least = 2 * lake.bounds.held_bytes_max;
        let (planned_bytes, bytes_max) = match are_small {
            true => (together_bytes_max(lake), least.max(lake.bounds.cache_bytes_max as u64)),
            false => (lake.bounds.held_bytes_max / TOGETHER_SHARE, least),
        };
        Self { planned_bytes: planned_bytes.max(EMPTY_BYTES), bytes_max }
    }
}

/// Derives slices, in the order of their times, all of whose accelerometer objects are small, or each of
/// which has a large one.
pub(crate) async fn derive(
    lake: &Lake,
    day: &Day,
    are_small: bool,
    slices: &[(Slice, Target)],
) -> Vec<(Slice, Derived)> {
    let _together = match are_small {
        true => Some(lake.room_together(u64::MAX, together_bytes_max(lake)).await),
        false => None,
    };
    let room = Arc::new(lake.room(u64::MAX).await);
    let mut derived = Vec::with_capacity(slices.len());
    let mut waiting: VecDeque<_> = slices.iter().collect();
    while !waiting.is_empty() {
        let mut pass = Pass {
            lake,
            day,
            capacity: Capacity::of(lake, are_small),
            objects: Objects::of(lake, day),
            room: Arc::clone(&room),
            waiting,
            open: Vec::new(),
            put_off: Vec::new(),
            derived: Vec::new(),
        };
        pass.all().await;
        derived.append(&mut pass.derived);
        pass.put_off.sort_unstable_by_key(|(slice, _)| *slice);
        waiting = pass.put_off.into();
    }
    derived
}

/// One pass over the stretches of a day.
struct Pass<'a> {
    lake: &'a Lake,
    day: &'a Day,
    capacity: Capacity,
    objects: Objects<'a>,
    room: Arc<Room>,
    /// Slices that have not begun yet, in the order of their times.
    waiting: VecDeque<&'a (Slice, Target)>,
    open: Vec<Open<'a>>,
    /// Slices for which there is no room beside the others: they are left to another pass.
    put_off: Vec<&'a (Slice, Target)>,
    derived: Vec<(Slice, Derived)>,
}

/// A slice that has begun.
struct Open<'a> {
    of: &'a (Slice, Target),
    join: Join<'a>,
}

impl Open<'_> {
    fn span(&self) -> Span {
        self.of.0.span()
    }
}

impl<'a> Pass<'a> {
    async fn all(&mut self) {
        let mut from_ms = i64::MIN;
        while let Some(rest) = self.rest(from_ms) {
            self.begin(rest.first_ms).await;
            // They may have nothing to join.
            let Some(rest) = self.rest(from_ms).filter(|_| !self.open.is_empty()) else { continue };
            let (stretch, is_long) = self.stretch(rest);
            self.begin(stretch.last_ms).await;
            self.join(stretch, is_long).await;
            self.complete(stretch).await;
            from_ms = stretch.last_ms.saturating_add(1);
        }
    }

    /// From a time on, what is left of the time ranges of the slices.
    fn rest(&self, from_ms: i64) -> Option<Span> {
        let open = self.open.iter().map(Open::span);
        let rest = Span::hull(open.chain(self.waiting.iter().map(|(slice, _)| slice.span())))?;
        Some(Span { first_ms: rest.first_ms.max(from_ms), ..rest })
    }

    /// The stretch that comes next; and whether it is a long one, of few step readings.
    fn stretch(&self, rest: Span) -> (Span, bool) {
        let planned = self.day.stretch(rest, self.capacity.planned_bytes);
        // How many step readings a slice has is known once it has begun.
        let next_ms = self.waiting.front().map_or(i64::MAX, |(slice, _)| slice.first_ms);
        let known = Span { last_ms: rest.last_ms.min(next_ms.saturating_sub(1)), ..rest };
        if known.last_ms <= planned.last_ms {
            return (planned, false);
        }
        let long = first_stretch(known, self.capacity.bytes_max, |stretch| {
            let steps = self.open.iter().map(|open| share(open.join.steps(), open.span(), stretch));
            steps.sum::<u64>().saturating_mul(MATCHES * READING_BYTES)
        });
        let is_long = long.last_ms > planned.last_ms;
        (if is_long { long } else { planned }, is_long)
    }

    /// Begins the slices that have step readings up to a time, as long as there is room for them.
    async fn begin(&mut self, last_ms: i64) {
        loop {
            let begins = |(slice, _): &&(Slice, Target)| slice.first_ms <= last_ms;
            let count = self.waiting.iter().take_while(|it| begins(it)).count();
            let next = self.waiting.drain(..count.min(self.lake.bounds.concurrency));
            let next: Vec<_> = next.collect();
            if next.is_empty() {
                return;
            }
            if self.is_full() {
                self.put_off.extend(next);
                continue;
            }
            let (lake, day) = (self.lake, self.day);
            let ask =
                |of: &'a (Slice, Target)| async move { (of, ask(lake, of.0, &of.1, day).await) };
            for (of, asked) in join_all(next.into_iter().map(ask)).await {
                self.open_asked(of, asked);
            }
        }
    }

    fn open_asked(&mut self, of: &'a (Slice, Target), asked: Result<Asked, Error>) {
        match asked {
            Ok(Asked::Join { .. }) if self.is_full() => self.put_off.push(of),
            Ok(Asked::Join { steps, version }) => {
                let room = Some(Arc::clone(&self.room));
                let join = Join::begin(self.lake, &of.1, version, steps, room);
                self.open.push(Open { of, join });
            }
            Ok(Asked::Moved) => self.derived.push((of.0, Ok(None))),
            Ok(Asked::Settled(report)) => self.derived.push((of.0, Ok(Some(report)))),
            Err(error) => self.derived.push((of.0, Err(error))),
        }
    }

    /// Whether there is no room for another slice.
    fn is_full(&self) -> bool {
        !self.open.is_empty() && self.held_bytes() > self.lake.bounds.open_bytes_max
    }

    fn held_bytes(&self) -> u64 {
        self.open.iter().map(|open| open.join.held_bytes()).sum()
    }

    /// Pairs the readings of a stretch.
    async fn join(&mut self, stretch: Span, is_long: bool) {
        let mut rest = vec![stretch];
        while let Some(stretch) = rest.pop() {
            // Of that no slice has, nothing is read.
            let common = self.open.iter().filter_map(|open| open.span().common(stretch));
            let Some(stretch) = Span::hull(common) else { continue };
            match self.read(stretch, is_long).await {
                Some(readings) => self.pair(stretch, readings, false).await,
                None => match stretch.halves() {
                    Some([first, second]) => rest.extend([second, first]),
                    None => self.pair_by_groups(stretch).await,
                },
            }
        }
    }

    /// Reads the accelerometer readings of a stretch, of a long one those of the times of step readings;
    /// `None` if they are too many.
    async fn read(&mut self, stretch: Span, is_long: bool) -> Option<Vec<RecordBatch>> {
        let times = if is_long { Some(self.times(stretch).await) } else { None };
        let (times, bytes_max) = (times.as_deref(), self.capacity.bytes_max);
        let numbers = self.overlapping(stretch);
        let wanted = Wanted { stretch, times, bytes_max };
        let (read, lost) = self.objects.read(numbers, wanted).await;
        for (number, lost) in lost {
            self.lose(number, lost).await;
        }
        read
    }

    /// The times of the step readings of a stretch, in order.
    async fn times(&mut self, stretch: Span) -> Vec<i64> {
        let (mut times, mut number) = (Vec::new(), 0);
        while let Some(open) = self.open.get_mut(number) {
            let added = match open.span().common(stretch) {
                Some(stretch) => open.join.add_times(stretch, &mut times).await,
                None => Ok(true),
            };
            match added {
                Ok(true) => number += 1,
                moved => self.give_up(number, moved.map(drop)).await,
            }
        }
        times.sort_unstable();
        times.dedup();
        times
    }

    /// The numbers of accelerometer objects that have an instant of a stretch in common with a slice.
    fn overlapping(&self, stretch: Span) -> Vec<usize> {
        let is_wanted = |number: &usize| {
            let common = self.day.span(*number).common(stretch);
            common.is_some_and(|span| self.open.iter().any(|open| open.span().overlaps(span)))
        };
        self.day.overlapping(stretch).filter(is_wanted).collect()
    }

    /// Pairs the readings of a stretch with those of each slice; or a part of those of a single time.
    async fn pair(&mut self, stretch: Span, readings: Vec<RecordBatch>, is_part: bool) {
        if readings.iter().all(|batch| batch.num_rows() == 0) {
            return;
        }
        let motions = match Motions::merged(&readings, naming(self.lake)) {
            Ok(motions) => motions,
            Err(error) => return self.give_up_all(stretch, Err(failed(error))).await,
        };
        drop(readings);
        let mut number = 0;
        while let Some(open) = self.open.get_mut(number) {
            let paired = match open.span().common(stretch) {
                Some(stretch) => open.join.pair(stretch, &motions, is_part).await,
                None => Ok(true),
            };
            match paired {
                Ok(true) => number += 1,
                moved => self.give_up(number, moved.map(drop)).await,
            }
            while self.open.len() > 1
                && self.is_full()
                && let Some(last) = self.open.pop()
            {
                match last.join.abort().await {
                    Ok(()) => self.put_off.push(last.of),
                    Err(error) => self.derived.push((last.of.0, Err(error))),
                }
            }
        }
    }

    /// Pairs accelerometer readings of a single time of which there are too many to be held.
    async fn pair_by_groups(&mut self, time: Span) {
        for number in self.overlapping(time) {
            let input = match self.objects.open(number).await {
                Ok(Some(input)) => input,
                moved => {
                    self.lose(number, moved.map(drop)).await;
                    continue;
                }
            };
            for group in input.groups_within(MOTION_TIME, time) {
                match input.group_within(self.lake, group, MOTION_TIME, time).await {
                    Ok(Some(readings)) => self.pair(time, vec![readings], true).await,
                    moved => {
                        self.lose(number, moved.map(drop)).await;
                        break;
                    }
                }
            }
        }
    }

    /// Gives up what an accelerometer object is needed for that moved, or cannot be read.
    async fn lose(&mut self, number: usize, lost: Result<(), Error>) {
        self.give_up_all(self.day.span(number), lost).await;
    }

    /// Gives up the slices that have an instant in common with a span. An error is told of once.
    async fn give_up_all(&mut self, span: Span, mut why: Result<(), Error>) {
        let mut number = 0;
        while let Some(open) = self.open.get(number) {
            if open.span().overlaps(span) {
                self.give_up(number, std::mem::replace(&mut why, Ok(()))).await;
            } else {
                number += 1;
            }
        }
    }

    /// Gives up a slice that is to start over, or cannot be derived.
    async fn give_up(&mut self, number: usize, why: Result<(), Error>) {
        let Open { of, join } = self.open.remove(number);
        let aborted = join.abort().await;
        self.derived.push((of.0, why.and(aborted).map(|()| None)));
    }

    /// Completes the slices that have no step readings after a stretch, and forgets what they needed.
    async fn complete(&mut self, stretch: Span) {
        let is_over = |open: &mut Open<'_>| open.span().last_ms <= stretch.last_ms;
        let over: Vec<Open<'a>> = self.open.extract_if(.., is_over).collect();
        for Open { of: (slice, target), join } in over {
            let mut report = Report::default();
            let derived = match join.complete(&mut report).await {
                Ok(settled) => settle(self.lake, *slice, target, settled, report).await,
                Err(error) => Err(error),
            };
            self.derived.push((*slice, derived));
        }
        self.objects.close(stretch.last_ms);
    }
}
