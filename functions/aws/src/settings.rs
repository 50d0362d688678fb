//! What a function is told by its environment, read once and typed.

use std::str::FromStr;

use lake::key::Parts;
use lake::policy::{Consent, Identity, Pairing, Policies, UnknownPolicy};

/// What a function is told by its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `LAKE_BUCKET`: the lake's bucket.
    pub bucket: String,
    /// `GLUE_DATABASE`: the database its tables are registered in.
    pub database: String,
    /// `PSEUDONYM_KEY_SECRET`: name or ARN of the secret that holds the lake's key.
    pub key_secret: String,
    /// `CONSENT`, `PAIRING`, `IDENTITY`.
    pub policies: Policies,
    /// `LAKE_PARTS`: number of parts of every register, fixed when a lake is made; what suits how many
    /// people is said at [`Parts`]. Default: 16.
    pub parts: Parts,
    /// `CLOSED_AFTER_DAYS`: for how many days after its end a date is left alone before it is
    /// compacted. Default: 2.
    pub closed_after_days: Option<u32>,
    /// `METRICS_NAMESPACE`: where CloudWatch keeps the metrics. Default: `Stedi/Lake`.
    pub metrics_namespace: String,
    /// `AWS_LAMBDA_FUNCTION_NAME`: set by Lambda.
    pub function_name: String,
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`: set by Lambda, MiB.
    pub memory_mib: Option<usize>,
}

/// Everything that is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment is not set right: {}", .0.join("; "))]
pub struct SettingsError(Vec<String>);

impl Settings {
    /// Reads the environment of this process.
    #[expect(clippy::disallowed_methods, reason = "this is where settings are read, once")]
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads variables through `get`.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut wrong = Vec::new();
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let mut needed = |name: &str, what: &str| {
            set(name).unwrap_or_else(|| {
                wrong.push(format!("{name} is not set: want {what}"));
                String::new()
            })
        };
        let bucket = needed("LAKE_BUCKET", "the name of the lake's bucket");
        let database = needed("GLUE_DATABASE", "the name of a database of the Glue Data Catalog");
        let key_secret = needed(
            "PSEUDONYM_KEY_SECRET",
            "the name or ARN of the secret that holds the lake's key",
        );
        let policies = Policies {
            consent: policy::<Consent>("CONSENT", set("CONSENT"), &mut wrong),
            pairing: policy::<Pairing>("PAIRING", set("PAIRING"), &mut wrong),
            identity: policy::<Identity>("IDENTITY", set("IDENTITY"), &mut wrong),
        };
        let parts = set("LAKE_PARTS").unwrap_or_else(|| PARTS_DEFAULT.to_owned());
        let parsed = parts.parse::<Parts>();
        if let Err(wanted) = &parsed {
            wrong.push(format!("LAKE_PARTS is {parts:?}: {wanted}"));
        }
        let days = set("CLOSED_AFTER_DAYS");
        let closed_after_days = days.as_ref().and_then(|days| days.parse().ok());
        if let Some(days) = days.filter(|_| closed_after_days.is_none()) {
            wrong.push(format!("CLOSED_AFTER_DAYS is {days:?}: want a number of days, 0 or more"));
        }
        match parsed {
            Ok(parts) if wrong.is_empty() => Ok(Self {
                bucket,
                database,
                key_secret,
                policies,
                parts,
                closed_after_days,
                metrics_namespace: set("METRICS_NAMESPACE").unwrap_or_else(|| "Stedi/Lake".into()),
                function_name: set("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| "local".into()),
                memory_mib: set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|mib| mib.parse().ok()),
            }),
            _ => Err(SettingsError(wrong)),
        }
    }
}

const PARTS_DEFAULT: &str = "16";

fn policy<P>(name: &str, value: Option<String>, wrong: &mut Vec<String>) -> P
where
    P: Default + FromStr<Err = UnknownPolicy>,
{
    let Some(value) = value else { return P::default() };
    value.parse().unwrap_or_else(|unknown: UnknownPolicy| {
        wrong.push(format!("{name} is {value:?}: want one of {}", unknown.allowed));
        P::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const NEEDED: [(&str, &str); 3] =
        [("LAKE_BUCKET", "lake"), ("GLUE_DATABASE", "stedi"), ("PSEUDONYM_KEY_SECRET", "key")];

    #[test]
    fn what_is_not_set_has_its_default() {
        let settings = read(&NEEDED).unwrap();
        assert_eq!(settings.policies, Policies::default());
        assert_eq!(u16::from(settings.parts), 16);
        assert_eq!(settings.metrics_namespace, "Stedi/Lake");
    }

    #[test]
    fn policies_are_read() {
        let mut pairs = NEEDED.to_vec();
        pairs.extend([("CONSENT", "as-of"), ("PAIRING", "customer"), ("IDENTITY", "none")]);
        let policies = read(&pairs).unwrap().policies;
        assert_eq!(policies.to_string(), "consent=as-of pairing=customer identity=none");
    }

    #[test]
    fn everything_wrong_is_named_with_what_would_be_right() {
        let wrong = read(&[
            ("LAKE_BUCKET", "lake"),
            ("GLUE_DATABASE", ""),
            ("PSEUDONYM_KEY_SECRET", "key"),
            ("CONSENT", "asof"),
            ("LAKE_PARTS", "12"),
            ("CLOSED_AFTER_DAYS", "two"),
        ]);
        let message = wrong.unwrap_err().to_string();
        for expected in [
            "GLUE_DATABASE is not set",
            "CONSENT is \"asof\": want one of any, as-of",
            "LAKE_PARTS is \"12\": want a power of two from 1 to 32768",
            "CLOSED_AFTER_DAYS is \"two\": want a number of days, 0 or more",
        ] {
            assert!(message.contains(expected), "{message}");
        }
        assert!(!message.contains("LAKE_BUCKET"), "{message}");
    }
}
