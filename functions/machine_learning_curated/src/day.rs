//! The objects of a day, and how their readings are reckoned to lie in it.

use lake::error::Error;
use lake::lake::Lake;
use lake::layout::{self, ReadingDate, Slice, Span};
use lake::store::{ObjectMeta, Pages};

/// Objects of a day, as they were listed.
pub(crate) struct Day {
    pub(crate) objects: Vec<(Slice, ObjectMeta)>,
}

impl Day {
    /// The objects of a day below `zone` whose time range has an instant in common with `span`.
    pub(crate) async fn list(
        lake: &Lake,
        zone: &str,
        date: ReadingDate,
        span: Span,
    ) -> Result<Self, Error> {
        let mut pages = Pages::below(lake.store.as_ref(), layout::day(zone, date));
        let mut objects: Vec<(Slice, ObjectMeta)> = Vec::new();
        // They are in the order of their first times.
        let passed = |(slice, _): &(Slice, ObjectMeta)| slice.first_ms > span.last_ms;
        while !objects.last().is_some_and(passed)
            && let Some(page) = pages.next().await?
        {
            let slices =
                page.into_iter().filter_map(|meta| Some((Slice::of_key(&meta.key, zone)?, meta)));
            objects.extend(slices);
        }
        objects.retain(|(slice, _)| slice.span().overlaps(span));
        Ok(Self { objects })
    }

    /// The numbers of those that have an instant in common with `span`.
    pub(crate) fn overlapping(&self, span: Span) -> impl Iterator<Item = usize> {
        let objects = self.objects.iter().enumerate();
        let objects = objects.take_while(move |(_, (slice, _))| slice.first_ms <= span.last_ms);
        let overlapping = objects.filter(move |(_, (slice, _))| slice.span().overlaps(span));
        overlapping.map(|(number, _)| number)
    }

    /// The time range of one.
    pub(crate) fn span(&self, number: usize) -> Span {
        self.objects[number].0.span()
    }

    /// The first stretch of a span of which the objects have so many bytes, if their readings lie evenly
    /// in their time ranges: a millisecond at the least.
    pub(crate) fn stretch(&self, all: Span, bytes_max: u64) -> Span {
        first_stretch(all, bytes_max, |stretch| {
            self.overlapping(stretch).map(|number| self.bytes_within(number, stretch)).sum()
        })
    }

    /// The share that a stretch has of the bytes of one.
    fn bytes_within(&self, number: usize, stretch: Span) -> u64 {
        share(self.meta(number).size_bytes, self.span(number), stretch)
    }

    /// What was listed of one.
    pub(crate) fn meta(&self, number: usize) -> &ObjectMeta {
        &self.objects[number].1
    }

    /// The accelerometer objects that a step trainer object of so many rows is joined with.
    pub(crate) fn motions(&self, slice: Slice, rows: u64) -> Vec<ObjectMeta> {
        if rows == 0 {
            return Vec::new();
        }
        self.overlapping(slice.span()).map(|number| self.meta(number).clone()).collect()
    }
}

/// The first stretch of a span that has so many of something: a millisecond at the least.
pub(crate) fn first_stretch(all: Span, max: u64, of: impl Fn(Span) -> u64) -> Span {
    let until = |last_ms| Span { last_ms, ..all };
    let mut last = all;
    while let Some([first, second]) = last.halves() {
        last = if of(until(second.first_ms)) > max { first } else { second };
    }
    until(last.first_ms)
}

/// The share that a stretch has of what lies evenly in a span.
pub(crate) fn share(count: u64, span: Span, stretch: Span) -> u64 {
    let Some(common) = span.common(stretch) else { return 0 };
    let share = u128::from(count) * u128::from(common.length_ms());
    u64::try_from(share / u128::from(span.length_ms())).unwrap_or(count)
}

#[cfg(test)]
mod tests {
    use lake::key::{ETag, ObjectKey, Source};

    use super::*;

    const FIRST_MS: i64 = 1_687_046_400_000;

    fn object(number: u64, first_ms: i64, last_ms: i64, size_bytes: u64) -> (Slice, ObjectMeta) {
        let source = Source::of(&ObjectKey::new(number.to_string()));
        let (first_ms, last_ms) = (FIRST_MS + first_ms, FIRST_MS + last_ms);
        let date = ReadingDate::of(FIRST_MS).unwrap();
        let slice = Slice { date, first_ms, last_ms, source };
        let key = slice.key(layout::TRUSTED_ACCELEROMETER);
        (slice, ObjectMeta { key, etag: ETag::new("e"), size_bytes })
    }

    #[test]
    fn a_stretch_is_as_long_as_there_is_room_for_its_readings() {
        let objects = vec![object(0, 0, 999, 1_000), object(1, 500, 999, 1_500)];
        let day = Day { objects };
        let stretch = |first_ms, last_ms, bytes_max| {
            let (first_ms, last_ms) = (FIRST_MS + first_ms, FIRST_MS + last_ms);
            day.stretch(Span { first_ms, last_ms }, bytes_max).last_ms - FIRST_MS
        };
        // A byte a millisecond, and from the middle on three more.
        assert_eq!(stretch(0, 2_000, 100), 99);
        assert_eq!(stretch(400, 2_000, 100), 499);
        assert_eq!(stretch(450, 2_000, 100), 511);
        assert_eq!(stretch(600, 2_000, 100), 624);
        assert_eq!(stretch(950, 2_000, 200), 2_000);
        assert_eq!(stretch(600, 610, 100), 610);
        assert_eq!(stretch(600, 2_000, 0), 600, "a millisecond at the least");
        assert_eq!(stretch(1_000, 2_000, 0), 2_000, "of which no object has one");
    }
}
