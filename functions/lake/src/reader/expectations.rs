//! What a record must meet, per table: the whole list, and nowhere else.

use super::fragment::Reason;
use crate::tables::Stream;

/// One expectation of a table's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Stable name, as counted.
    pub name: &'static str,
    /// The columns it is about.
    pub columns: &'static [&'static str],
    /// What they must meet.
    pub predicate: Predicate,
    /// What to do with a record that does not.
    pub otherwise: Otherwise,
}

/// What columns must meet. An absent value meets all but the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// Every one of the columns has a value, and a text is not only spaces.
    Present,
    /// At least one of the columns has a value.
    AnyPresent,
    /// Each is within `Limits::time_min_ms ..= Limits::time_max_ms`.
    PlausibleTime,
    /// Each is a number a double holds: neither NaN nor infinite.
    Finite,
    /// Each is zero or more.
    NotNegative,
}

/// What to do with a record that does not meet an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// Take it as it is, and count it.
    Count,
    /// Count it, and quarantine it for this reason.
    Quarantine(Reason),
}

use Otherwise::{Count, Quarantine};
use Predicate::{AnyPresent, Finite, NotNegative, PlausibleTime, Present};

const fn expect(
    name: &'static str,
    columns: &'static [&'static str],
    predicate: Predicate,
    otherwise: Otherwise,
) -> Expectation {
    Expectation { name, columns, predicate, otherwise }
}

/// The expectations of a stream's records, in the order in which they are looked at: the first
/// that is not met gives the reason.
pub fn expectations(stream: Stream) -> &'static [Expectation] {
    match stream {
        Stream::Customer => CUSTOMER,
        Stream::Accelerometer => ACCELEROMETER,
        Stream::StepTrainer => STEP_TRAINER,
    }
}

const CUSTOMER: &[Expectation] = &[
    expect("email_present", &["email"], Present, Quarantine(Reason::MissingKey)),
    expect(
        "date_present",
        &["registrationdate", "lastupdatedate"],
        AnyPresent,
        Quarantine(Reason::MissingDate),
    ),
    expect(
        "dates_plausible",
        &["registrationdate", "lastupdatedate", "sharewithresearchasofdate"],
        PlausibleTime,
        Quarantine(Reason::ImplausibleTime),
    ),
    // Nothing follows from them. A record that takes the consent to research back is not to be lost by
    // them: the consent before would stand.
    expect(
        "other_shares_plausible",
        &["sharewithpublicasofdate", "sharewithfriendsasofdate"],
        PlausibleTime,
        Count,
    ),
    expect("serialnumber_present", &["serialnumber"], Present, Count),
];

const ACCELEROMETER: &[Expectation] = &[
    expect("user_present", &["user"], Present, Quarantine(Reason::MissingKey)),
    expect("timestamp_present", &["timestamp"], Present, Quarantine(Reason::MissingTime)),
    expect(
        "timestamp_plausible",
        &["timestamp"],
        PlausibleTime,
        Quarantine(Reason::ImplausibleTime),
    ),
    expect("axes_finite", &["x", "y", "z"], Finite, Quarantine(Reason::NotFinite)),
    expect("axes_present", &["x", "y", "z"], Present, Count),
];

const STEP_TRAINER: &[Expectation] = &[
    expect("serialnumber_present", &["serialnumber"], Present, Quarantine(Reason::MissingKey)),
    expect(
        "sensorreadingtime_present",
        &["sensorreadingtime"],
        Present,
        Quarantine(Reason::MissingTime),
    ),
    expect(
        "sensorreadingtime_plausible",
        &["sensorreadingtime"],
        PlausibleTime,
        Quarantine(Reason::ImplausibleTime),
    ),
    expect("distance_present", &["distancefromobject"], Present, Count),
    expect(
        "distance_not_negative",
        &["distancefromobject"],
        NotNegative,
        Quarantine(Reason::NegativeDistance),
    ),
];
