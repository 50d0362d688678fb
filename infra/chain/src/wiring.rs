//! Which keys wake which functions, followed rule → queue → function in a template. What is built here
//! goes into the program when it is built (`build.rs`), so that nobody waits for YAML when it starts.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;
use serde_yaml_ng::Value;
use serde_yaml_ng::value::TaggedValue;

/// Why the template's wiring could not be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WiringError {
    /// It is not YAML of the shape of a template.
    #[error("template.yaml: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// A resource is not wired as the chain needs it.
    #[error("template.yaml: {resource}: {reason}")]
    Resource {
        /// Logical name.
        resource: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// What a rule says of the keys it lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Prefix(String),
    Wildcard(String),
}

/// The patterns of each function's rules, by the name of its binary.
pub(crate) type Wiring = BTreeMap<String, Vec<Pattern>>;

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

/// Follows rule → queue → function in a template.
pub(crate) fn follow(template: &str) -> Result<Wiring, WiringError> {
    let template: Template = serde_yaml_ng::from_str(template)?;
    let of_kind = |kind: &'static str| {
        template.resources.iter().filter(move |(_, resource)| resource.kind == kind)
    };
    let mut by_queue = BTreeMap::new();
    for (name, resource) in of_kind("AWS::Serverless::Function") {
        let binary = at(&resource.metadata, &["BuildProperties", "Binary"]).and_then(Value::as_str);
        let Some(binary) = binary else {
            let reason = "Metadata.BuildProperties.Binary does not name its binary";
            return Err(WiringError::Resource { resource: name.clone(), reason });
        };
        by_queue.extend(queues(&resource.properties).map(|queue| (queue, binary)));
    }
    let mut wiring = Wiring::new();
    for (name, rule) in of_kind("AWS::Events::Rule") {
        let patterns = patterns(name, &rule.properties)?;
        // A schedule wakes its function too, but no key does.
        if patterns.is_empty() {
            continue;
        }
        for binary in targets(&rule.properties).filter_map(|queue| by_queue.get(&queue)) {
            if wiring.insert((*binary).to_owned(), patterns.clone()).is_some() {
                // Which of its patterns comes first would depend on the rules' names.
                let reason = "its function has another rule for keys: one has all of them";
                return Err(WiringError::Resource { resource: name.clone(), reason });
            }
        }
    }
    Ok(wiring)
}

/// The queues that a function takes its messages from.
fn queues(properties: &Value) -> impl Iterator<Item = String> {
    let events = at(properties, &["Events"]).and_then(Value::as_mapping);
    let events = events.into_iter().flat_map(|events| events.values());
    events.filter_map(|event| at(event, &["Properties", "Queue"]).and_then(resource_of))
}

/// The queues that a rule sends to.
fn targets(properties: &Value) -> impl Iterator<Item = String> {
    let targets = at(properties, &["Targets"]).and_then(Value::as_sequence);
    let arns = targets.into_iter().flatten().filter_map(|target| target.get("Arn"));
    arns.filter_map(resource_of)
}

fn patterns(rule: &str, properties: &Value) -> Result<Vec<Pattern>, WiringError> {
    let keys = at(properties, &["EventPattern", "detail", "object", "key"]);
    let pattern = |key: &Value| {
        let text = |name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
        let pattern =
            text("prefix").map(Pattern::Prefix).or_else(|| text("wildcard").map(Pattern::Wildcard));
        let reason = "a key pattern is neither prefix nor wildcard";
        pattern.ok_or_else(|| WiringError::Resource { resource: rule.to_owned(), reason })
    };
    keys.and_then(Value::as_sequence).into_iter().flatten().map(pattern).collect()
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

/// A function of the chain that has each function's patterns. It is compiled only if the template wires
/// every function there is, and none that there is not.
pub(crate) fn code(wiring: &Wiring) -> String {
    let mut arms = String::new();
    for (binary, patterns) in wiring {
        let _ = write!(arms, "FunctionName::{} => &[", camel_case(binary));
        for pattern in patterns {
            let _ = write!(arms, "KeyPattern::{pattern:?},");
        }
        arms.push_str("],\n");
    }
    format!(
        "// What template.yaml wires: FunctionName has these, and no others.\n\
         const fn patterns(function: FunctionName) -> &'static [KeyPattern] {{\n\
         match function {{\n{arms}}}\n}}\n"
    )
}

fn camel_case(snake_case: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    };
    snake_case.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = include_str!("../../../template.yaml");

    #[test]
    fn a_function_whose_rule_leads_elsewhere_has_no_patterns() {
        let whole = follow(TEMPLATE).unwrap();
        assert_eq!(whole.len(), 6);
        let broken = TEMPLATE.replace("!GetAtt MachineLearningCuratedQueue.Arn", "elsewhere");
        let mut broken = follow(&broken).unwrap();
        assert!(!broken.contains_key("machine_learning_curated"), "{broken:?}");
        let name = "machine_learning_curated".to_owned();
        broken.insert(name.clone(), whole[&name].clone());
        assert_eq!(broken, whole);
    }

    #[test]
    fn a_pattern_that_is_not_understood_is_refused() {
        let suffix = TEMPLATE.replace("- prefix: landing/customer/", "- suffix: .json");
        let error = follow(&suffix).unwrap_err().to_string();
        assert!(error.contains("CustomerLandingToTrusted"), "{error}");
        assert!(error.contains("neither prefix nor wildcard"), "{error}");
    }

    #[test]
    fn a_second_rule_for_keys_of_a_function_is_refused() {
        let (queue, another) = (
            "!GetAtt StepTrainerLandingToTrustedQueue.Arn",
            "!GetAtt MachineLearningCuratedQueue.Arn",
        );
        let error = follow(&TEMPLATE.replace(queue, another)).unwrap_err().to_string();
        assert!(error.contains("has another rule"), "{error}");
    }

    #[test]
    fn a_function_that_names_no_binary_is_refused() {
        let unnamed = TEMPLATE.replace("Binary: customer_landing_to_trusted", "Else: x");
        let error = follow(&unnamed).unwrap_err().to_string();
        assert!(error.contains("does not name its binary"), "{error}");
    }

    #[test]
    fn what_is_built_is_a_match() {
        let patterns =
            vec![Pattern::Prefix("a/".to_owned()), Pattern::Wildcard("b/*/c*".to_owned())];
        let code = code(&Wiring::from([("to_trusted".to_owned(), patterns)]));
        let arm = r#"FunctionName::ToTrusted => &[KeyPattern::Prefix("a/"),KeyPattern::Wildcard("b/*/c*"),],"#;
        assert!(code.contains(arm), "{code}");
    }
}
