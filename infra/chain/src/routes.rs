//! Which functions an object wakes: what `template.yaml` says, as this program was built with it.

use lake::key::ObjectKey;

use crate::FunctionName;

include!(concat!(env!("OUT_DIR"), "/patterns.rs"));

/// What a rule says of the keys it lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyPattern {
    /// Those that begin so.
    Prefix(&'static str),
    /// Those that match, `*` standing for any characters.
    Wildcard(&'static str),
}

impl KeyPattern {
    /// Whether a key is let through.
    fn matches(self, key: &str) -> bool {
        match self {
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::Wildcard(pattern) => wildcard_matches(pattern, key),
        }
    }
}

fn wildcard_matches(pattern: &str, key: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = key.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// The functions a key wakes, in the order of the chain.
pub fn woken_by(key: &ObjectKey) -> Vec<FunctionName> {
    ranked(key).into_iter().map(|(function, _)| function).collect()
}

/// The functions a key wakes, each with the number of the pattern that let the key through: the rules
/// name first what is best worked on first.
pub fn ranked(key: &ObjectKey) -> Vec<(FunctionName, usize)> {
    let rank = |function: &FunctionName| {
        patterns(*function).iter().position(|pattern| pattern.matches(key.as_str()))
    };
    let functions = FunctionName::ALL.into_iter();
    functions.filter_map(|function| Some((function, rank(&function)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(key: &str) -> Vec<&'static str> {
        woken_by(&ObjectKey::new(key)).iter().map(|function| function.as_str()).collect()
    }

    #[test]
    fn the_layout_is_the_chain() {
        assert_eq!(woken("landing/customer/2026/a.json"), ["customer_landing_to_trusted"]);
        assert_eq!(
            woken("trusted/customer/part-00.parquet"),
            ["accelerometer_landing_to_trusted", "customer_trusted_to_curated"]
        );
        assert_eq!(
            woken("trusted/accelerometer/reading_date=2026-01-01/x.parquet"),
            ["customer_trusted_to_curated", "machine_learning_curated", "readings_compacted"]
        );
        assert_eq!(woken("curated/customer/part-00.parquet"), ["step_trainer_landing_to_trusted"]);
        assert_eq!(
            woken("replay/00.000000000001/landing/accelerometer/a.json"),
            ["accelerometer_landing_to_trusted"]
        );
        assert_eq!(
            woken("replay/00.000000000001/landing/step_trainer/landing/accelerometer/a"),
            ["accelerometer_landing_to_trusted", "step_trainer_landing_to_trusted"],
            "a wildcard may match too much: the function leaves what is not its own"
        );
        assert_eq!(
            woken("curated/machine_learning/reading_date=2026-01-01/x.parquet"),
            ["readings_compacted"]
        );
        assert!(woken("compacted/accelerometer_trusted/reading_date=2026-01-01/x/y").is_empty());
        assert!(woken("state/lake.json").is_empty());
    }
}
