//! Readings that are put together once for all slices of a day that share them.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::TryStreamExt;
use lake::derivation::Target;
use lake::error::Error;
use lake::lake::{Lake, Room};
use lake::layout::{Slice, Span};
use lake::store::ObjectMeta;
use tokio::sync::OnceCell;

use crate::day::Day;
use crate::input::{Input, READING_BYTES, Read, open_each};
use crate::join::naming;
use crate::motions::{MOTION_TIME, Motions};
use crate::rows::failed;

/// Slices of a day that are derived from readings which are put together once for all of them: at once,
/// or stretch by stretch where each of them has too many.
pub(crate) struct Group {
    pub(crate) slices: Vec<(Slice, Target)>,
    pub(crate) inputs: Inputs,
}

/// What slices of a day are derived from, as it was listed once for all of the day.
pub(crate) struct Inputs {
    pub(crate) day: Arc<Day>,
    /// Accelerometer objects that overlap any of the slices, by their numbers in the listing.
    objects: BTreeSet<usize>,
    pub(crate) size: Size,
    /// Their readings, if they could be put together at once.
    together: OnceCell<Option<Together>>,
}

/// How large accelerometer objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Their readings may be put together at once.
    Few { bytes: u64 },
    /// They are too many, of small objects, or of some that are not.
    Many { are_small: bool },
}

impl Size {
    pub(crate) fn of<'a>(lake: &Lake, listed: impl Iterator<Item = &'a ObjectMeta>) -> Self {
        let (mut bytes, mut are_small) = (0, true);
        for meta in listed {
            bytes += meta.size_bytes;
            are_small &= meta.size_bytes <= lake.bounds.small_bytes_max;
        }
        match are_small && bytes <= together_bytes_max(lake) {
            true => Self::Few { bytes },
            false => Self::Many { are_small },
        }
    }
}

impl Group {
    /// Slices in the order of their times, so that those that share objects are near each other.
    pub(crate) fn all(lake: &Lake, day: &Arc<Day>, slices: Vec<(Slice, Target)>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (slice, target) in slices {
            let own: Vec<usize> = day.overlapping(slice.span()).collect();
            let size = Size::of(lake, own.iter().map(|number| day.meta(*number)));
            if let Some(group) = groups.last_mut()
                && group.inputs.take(lake, &own, size)
            {
                group.slices.push((slice, target));
                continue;
            }
            let inputs = Inputs {
                day: Arc::clone(day),
                objects: own.into_iter().collect(),
                size,
                together: OnceCell::new(),
            };
            groups.push(Self { slices: vec![(slice, target)], inputs });
        }
        groups
    }
}

impl Inputs {
    /// Takes those of another slice too, if all may be put together then; or if none may.
    fn take(&mut self, lake: &Lake, own: &[usize], own_size: Size) -> bool {
        let (Size::Few { bytes }, Size::Few { .. }) = (self.size, own_size) else {
            return self.size == own_size;
        };
        let others = own.iter().filter(|number| !self.objects.contains(number));
        let others_bytes: u64 = others.map(|number| self.day.meta(*number).size_bytes).sum();
        let bytes = bytes + others_bytes;
        if bytes > together_bytes_max(lake) {
            return false;
        }
        self.size = Size::Few { bytes };
        self.objects.extend(own);
        true
    }

    /// The readings of all the slices' objects; whoever asks first puts them together. `None` if one of
    /// these moved, or cannot be read.
    pub(crate) async fn together(&self, lake: &Lake) -> Option<&Together> {
        let put_together = || async {
            let listed = self.objects.iter().map(|number| self.day.meta(*number).clone());
            match PutTogether::of(lake, listed.collect()).await {
                Ok(PutTogether::Done(together)) => Some(together),
                _ => None,
            }
        };
        self.together.get_or_init(put_together).await.as_ref()
    }
}

/// Of the memory for documents, the share that encoded readings may have which are put together:
/// decoded they take some fifteen times as much, and up to as much again in one order of time.
pub(crate) const TOGETHER_SHARE: u64 = 24;

pub(crate) fn together_bytes_max(lake: &Lake) -> u64 {
    lake.bounds.cache_bytes_max as u64 / TOGETHER_SHARE
}

/// All times there are.
const ALWAYS: Span = Span { first_ms: i64::MIN, last_ms: i64::MAX };

/// Readings of some objects that were put together, and the room they take.
pub(crate) struct Together {
    pub(crate) motions: Motions,
    _room: Room,
}

/// What came of putting the readings of some objects together.
pub(crate) enum PutTogether {
    /// They are.
    Done(Together),
    /// One of the objects moved.
    Moved,
    /// There are too many.
    TooMany,
}

impl PutTogether {
    pub(crate) async fn of(lake: &Lake, listed: Vec<ObjectMeta>) -> Result<Self, Error> {
        let size_bytes = listed.iter().map(|meta| meta.size_bytes).sum();
        let room = lake.room_together(size_bytes, together_bytes_max(lake)).await;
        let opened: Vec<Option<Input>> = open_each(lake, listed).try_collect().await?;
        let opened: Option<Vec<Input>> = opened.into_iter().collect();
        let Some(opened) = opened else { return Ok(Self::Moved) };
        let bytes_max = lake.bounds.cache_bytes_max as u64;
        let rows: u64 = opened.iter().map(|input| input.opened.value.rows).sum();
        if rows * READING_BYTES > bytes_max {
            return Ok(Self::TooMany);
        }
        let (mut batches, mut bytes) = (Vec::with_capacity(opened.len()), 0);
        for input in &opened {
            match input.within(lake, MOTION_TIME, ALWAYS, None, bytes_max - bytes).await? {
                Read::All(read, size) => {
                    batches.extend(read);
                    bytes += size;
                }
                Read::Moved => return Ok(Self::Moved),
                Read::TooMuch => return Ok(Self::TooMany),
            }
        }
        let motions = Motions::merged(&batches, naming(lake)).map_err(failed)?;
        Ok(Self::Done(Together { motions, _room: room }))
    }
}
