//! CloudWatch metrics in embedded metric format: one line of JSON for each invocation, which
//! CloudWatch turns into metrics when the line reaches the function's log.

use lake::report::Report;
use serde_json::{Map, Value, json};

use crate::settings::Settings;

/// What an invocation measured, beside what its report counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Wall-clock time of the invocation, milliseconds.
    pub duration_ms: u64,
    /// Messages that will be delivered again.
    pub failed_messages: u64,
    /// Longest time from the event of a changed customer part, of the table before, to the end of the
    /// work it asked for, milliseconds; `None` where no customer changed, or any message failed.
    pub withdrawal_lag_ms: Option<u64>,
}

/// The document of an invocation that ended at `now_ms`, epoch milliseconds.
pub fn document(settings: &Settings, report: &Report, measured: Measured, now_ms: u64) -> Value {
    const COUNT: &str = "Count";
    let metrics = [
        ("Records", COUNT, Some(report.records)),
        ("RecordsAdmitted", COUNT, Some(report.admitted)),
        ("RecordsHeld", COUNT, Some(report.held)),
        ("RecordsQuarantined", COUNT, Some(report.quarantined)),
        ("SourceBytes", "Bytes", Some(report.source_bytes)),
        ("ObjectsWritten", COUNT, Some(report.objects_written)),
        ("ObjectsUnchanged", COUNT, Some(report.objects_unchanged)),
        ("Replays", COUNT, Some(report.replays)),
        ("Conflicts", COUNT, Some(report.conflicts)),
        ("Unfinished", COUNT, Some(report.unfinished)),
        ("FailedMessages", COUNT, Some(measured.failed_messages)),
        ("Duration", "Milliseconds", Some(measured.duration_ms)),
        ("WithdrawalLag", "Milliseconds", measured.withdrawal_lag_ms),
    ];
    let known = || metrics.iter().filter_map(|(name, unit, value)| Some((name, unit, (*value)?)));
    let definitions: Vec<Value> =
        known().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
    let mut document = Map::new();
    document.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now_ms,
            "CloudWatchMetrics": [{
                "Namespace": settings.metrics_namespace,
                "Dimensions": [["FunctionName"]],
                "Metrics": definitions,
            }],
        }),
    );
    document.insert("FunctionName".to_owned(), json!(settings.function_name));
    document.extend(known().map(|(name, _, value)| ((*name).to_owned(), json!(value))));
    Value::Object(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let value = |name: &str| match name {
            "AWS_LAMBDA_FUNCTION_NAME" => Some("stedi-dev-x".to_owned()),
            "CONSENT" | "PAIRING" | "IDENTITY" | "LAKE_PARTS" | "CLOSED_AFTER_DAYS" => None,
            "METRICS_NAMESPACE" => None,
            _ => Some("set".to_owned()),
        };
        Settings::read(value).unwrap()
    }

    #[test]
    fn every_metric_that_is_defined_has_a_value_and_a_unit() {
        let report = Report { records: 7, ..Report::default() };
        for lag in [None, Some(12)] {
            let measured = Measured { withdrawal_lag_ms: lag, ..Measured::default() };
            let document = document(&settings(), &report, measured, 1_700_000_000_000);
            let defined = &document["_aws"]["CloudWatchMetrics"][0]["Metrics"];
            for metric in defined.as_array().unwrap() {
                let name = metric["Name"].as_str().unwrap();
                assert!(document[name].is_u64(), "{name}");
                assert!(metric["Unit"].is_string(), "{name}");
            }
            assert_eq!(document["Records"], 7);
            assert_eq!(document["FunctionName"], "stedi-dev-x");
            assert_eq!(document.get("WithdrawalLag").and_then(Value::as_u64), lag);
        }
    }
}
