//! Which functions an object wakes, read from `template.yaml`.

use std::collections::BTreeMap;

use lake::key::ObjectKey;
use serde::Deserialize;
use serde_yaml_ng::Value;
use serde_yaml_ng::value::TaggedValue;

use crate::FunctionName;

const TEMPLATE: &str = include_str!("../../../template.yaml");

/// Why the template's wiring could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// It is not YAML of the shape of a template.
    #[error("template.yaml: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// A resource is not wired as the chain needs it.
    #[error("template.yaml: {resource}: {reason}")]
    Wiring {
        /// Logical name.
        resource: String,
        /// What is wrong.
        reason: String,
    },
}

/// What a rule says of the keys it lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPattern {
    /// Those that begin so.
    Prefix(String),
    /// Those that match, `*` standing for any characters.
    Wildcard(String),
}

impl KeyPattern {
    /// Whether a key is let through.
    pub fn matches(&self, key: &str) -> bool {
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

/// The wiring of the chain.
#[derive(Clone, Debug)]
pub struct Routes {
    rules: Vec<(FunctionName, Vec<KeyPattern>)>,
}

#[derive(Deserialize)]
struct Template {
    #[serde(rename = "Resources")]
    resources: BTreeMap<String, Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Properties", default)]
    properties: Value,
    #[serde(rename = "Metadata", default)]
    metadata: Value,
}

impl Routes {
    /// The wiring of the template this program was built with.
    pub fn deployed() -> Result<Self, RouteError> {
        Self::parse(TEMPLATE)
    }

    /// Follows rule → queue → function in a template.
    pub fn parse(template: &str) -> Result<Self, RouteError> {
        let template: Template = serde_yaml_ng::from_str(template)?;
        let mut by_queue = BTreeMap::new();
        for (name, resource) in &template.resources {
            if resource.kind == "AWS::Serverless::Function" {
                function_queues(name, resource, &mut by_queue)?;
            }
        }
        let mut rules = Vec::new();
        for (name, resource) in &template.resources {
            if resource.kind == "AWS::Events::Rule" {
                let patterns = key_patterns(name, &resource.properties)?;
                // A schedule wakes its function too, but no key does.
                if patterns.is_empty() {
                    continue;
                }
                for queue in targets(&resource.properties) {
                    if let Some(function) = by_queue.get(&queue) {
                        rules.push((*function, patterns.clone()));
                    }
                }
            }
        }
        rules.sort_by_key(|(function, _)| *function);
        match FunctionName::ALL
            .into_iter()
            .find(|function| !rules.iter().any(|(f, _)| f == function))
        {
            Some(unwired) => Err(wiring(unwired.as_str(), "no rule and queue lead to it")),
            None => Ok(Self { rules }),
        }
    }

    /// The functions a key wakes, in the order of the chain.
    pub fn woken_by(&self, key: &ObjectKey) -> Vec<FunctionName> {
        self.ranked(key).into_iter().map(|(function, _)| function).collect()
    }

    /// The functions a key wakes, each with the number of the pattern that let the key through:
    /// the rules name first what is best worked on first.
    pub fn ranked(&self, key: &ObjectKey) -> Vec<(FunctionName, usize)> {
        let rank = |patterns: &Vec<KeyPattern>| {
            patterns.iter().position(|pattern| pattern.matches(key.as_str()))
        };
        let ranked = self.rules.iter();
        ranked.filter_map(|(function, patterns)| Some((*function, rank(patterns)?))).collect()
    }
}

fn wiring(resource: &str, reason: impl Into<String>) -> RouteError {
    RouteError::Wiring { resource: resource.to_owned(), reason: reason.into() }
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

/// The resource whose attribute `!GetAtt Resource.Attribute` takes.
fn resource_of(value: &Value) -> Option<String> {
    let Value::Tagged(tagged) = value else { return None };
    let TaggedValue { tag, value } = tagged.as_ref();
    (*tag == "!GetAtt").then(|| value.as_str()?.split('.').next().map(str::to_owned))?
}

fn function_queues(
    name: &str,
    resource: &Resource,
    by_queue: &mut BTreeMap<String, FunctionName>,
) -> Result<(), RouteError> {
    let Some(binary) =
        at(&resource.metadata, &["BuildProperties", "Binary"]).and_then(Value::as_str)
    else {
        return Err(wiring(name, "Metadata.BuildProperties.Binary does not name its binary"));
    };
    let Some(function) = FunctionName::named(binary) else { return Ok(()) };
    let events = at(&resource.properties, &["Events"]).and_then(Value::as_mapping);
    for event in events.into_iter().flat_map(|events| events.values()) {
        if let Some(queue) = at(event, &["Properties", "Queue"]).and_then(resource_of) {
            by_queue.insert(queue, function);
        }
    }
    Ok(())
}

fn targets(properties: &Value) -> Vec<String> {
    let targets = at(properties, &["Targets"]).and_then(Value::as_sequence);
    let arns = targets.into_iter().flatten().filter_map(|target| target.get("Arn"));
    arns.filter_map(resource_of).collect()
}

fn key_patterns(name: &str, properties: &Value) -> Result<Vec<KeyPattern>, RouteError> {
    let keys = at(properties, &["EventPattern", "detail", "object", "key"]);
    let Some(keys) = keys.and_then(Value::as_sequence) else {
        return Ok(Vec::new());
    };
    let pattern = |value: &Value| {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        text("prefix")
            .map(KeyPattern::Prefix)
            .or_else(|| text("wildcard").map(KeyPattern::Wildcard))
    };
    keys.iter()
        .map(|value| {
            pattern(value)
                .ok_or_else(|| wiring(name, "a key pattern is neither prefix nor wildcard"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(key: &str) -> Vec<&'static str> {
        let routes = Routes::deployed().unwrap();
        routes.woken_by(&ObjectKey::new(key)).iter().map(|function| function.as_str()).collect()
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

    #[test]
    fn a_template_in_which_a_function_is_not_wired_is_refused() {
        let broken = TEMPLATE.replace("!GetAtt MachineLearningCuratedQueue.Arn", "elsewhere");
        let error = Routes::parse(&broken).unwrap_err();
        assert!(error.to_string().contains("machine_learning_curated"), "{error}");
    }
}
