//! A stretch of the source that did not become a row, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stretch of the source that did not become a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Stable code, such as `cut_off` or `missing_key`.
    pub reason: Reason,
    /// What is wrong and what to do about it, for a person; never a value of the record.
    pub message: String,
    /// Place in the decompressed source, bytes from its start.
    pub offset_bytes: u64,
    /// Length in the decompressed source, bytes.
    pub length_bytes: u64,
    /// Place of the byte that gave it away, bytes from the start of the decompressed source.
    pub at_bytes: u64,
    /// The first bytes of the fragment, at most [`fragment_bytes_max`](super::Limits).
    pub raw: Vec<u8>,
}

/// Why a fragment was quarantined. The codes are stored and counted: never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A record begins and is not finished before the next one, or the object, ends it.
    CutOff,
    /// A record begins and breaks the grammar of JSON before it ends.
    Malformed,
    /// Bytes between records that belong to none.
    StrayBytes,
    /// The compressed stream breaks off or is damaged from here on.
    BrokenCompression,
    /// Longer than `Limits::record_bytes_max`.
    RecordTooLong,
    /// Nested deeper than `Limits::nesting_max`.
    NestedTooDeep,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A NUL character, raw or escaped.
    Nul,
    /// An escaped half of a surrogate pair without its other half.
    LoneSurrogate,
    /// A value of a kind its column does not take.
    WrongType,
    /// NaN, an infinity, or a number beyond what a double holds.
    NotFinite,
    /// A number with a fraction where a whole one is needed.
    NotIntegral,
    /// A whole number beyond what its column holds.
    OutOfRange,
    /// Two spellings of one key with different values.
    ConflictingKeys,
    /// Without the column that says whose record it is.
    MissingKey,
    /// A customer record without any date.
    MissingDate,
    /// A reading without its time.
    MissingTime,
    /// A time outside `Limits::time_min_ms ..= Limits::time_max_ms`.
    ImplausibleTime,
    /// A distance below zero.
    NegativeDistance,
}

impl Reason {
    /// Every reason, in the order of the codes.
    pub const ALL: [Self; 19] = [
        Self::CutOff,
        Self::Malformed,
        Self::StrayBytes,
        Self::BrokenCompression,
        Self::RecordTooLong,
        Self::NestedTooDeep,
        Self::NotUtf8,
        Self::Nul,
        Self::LoneSurrogate,
        Self::WrongType,
        Self::NotFinite,
        Self::NotIntegral,
        Self::OutOfRange,
        Self::ConflictingKeys,
        Self::MissingKey,
        Self::MissingDate,
        Self::MissingTime,
        Self::ImplausibleTime,
        Self::NegativeDistance,
    ];

    /// The stable code, as stored.
    pub fn code(self) -> &'static str {
        match self {
            Self::CutOff => "cut_off",
            Self::Malformed => "malformed",
            Self::StrayBytes => "stray_bytes",
            Self::BrokenCompression => "broken_compression",
            Self::RecordTooLong => "record_too_long",
            Self::NestedTooDeep => "nested_too_deep",
            Self::NotUtf8 => "not_utf8",
            Self::Nul => "nul",
            Self::LoneSurrogate => "lone_surrogate",
            Self::WrongType => "wrong_type",
            Self::NotFinite => "not_finite",
            Self::NotIntegral => "not_integral",
            Self::OutOfRange => "out_of_range",
            Self::ConflictingKeys => "conflicting_keys",
            Self::MissingKey => "missing_key",
            Self::MissingDate => "missing_date",
            Self::MissingTime => "missing_time",
            Self::ImplausibleTime => "implausible_time",
            Self::NegativeDistance => "negative_distance",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
