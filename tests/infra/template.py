"""template.yaml as CloudFormation resolves it for an environment: without an account."""

import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ("dev", "staging", "prod")

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "stedi",
    "AWS::NoValue": None,
}
# What !Ref and !GetAtt give of a resource, where that is not its logical name.
BUCKETS = {"Lake": "lake", "AccessLogs": "access-logs", "QueryResults": "query-results"}


class Loader(yaml.SafeLoader):
    """Reads the short forms of intrinsic functions; refuses a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"{node.start_mark}: {twice} more than once")
        return super().construct_mapping(node, deep)


def intrinsic(loader: Loader, suffix: str, node: yaml.Node) -> dict:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", intrinsic)


def load(text: str | None = None) -> dict:
    """The template as it is written."""
    text = text if text is not None else (ROOT / "template.yaml").read_text()
    return yaml.load(text, Loader)


def environment(name: str) -> dict[str, Any]:
    """The parameters of an environment."""
    return tomllib.loads((ROOT / f"infra/environments/{name}.toml").read_text())


class Unresolved(Exception):
    """The template names what is not there."""


class Resolved:
    """The template with the parameters of an environment."""

    def __init__(self, template: dict, parameters: dict[str, Any] | None = None) -> None:
        self.template = template
        defaults = {k: v.get("Default") for k, v in template["Parameters"].items()}
        self.parameters = {k: str(v) for k, v in (defaults | (parameters or {})).items()}
        self.conditions = {
            name: bool(self.value(condition)) for name, condition in template["Conditions"].items()
        }
        self.resources = {}
        for name, resource in template["Resources"].items():
            condition = resource.get("Condition")
            if condition is None or self.conditions[condition]:
                self.resources[name] = self.value(resource)
        self.globals = self.value(template.get("Globals", {}))
        self.outputs = {
            name: self.value(output)
            for name, output in template.get("Outputs", {}).items()
            if self.conditions.get(output.get("Condition"), True)
        }

    def of_type(self, kind: str) -> dict[str, dict]:
        return {k: v["Properties"] for k, v in self.resources.items() if v["Type"] == kind}

    def value(self, value: Any) -> Any:  # noqa: ANN401
        """The value with every intrinsic function applied; what is NoValue is left out."""
        if isinstance(value, list):
            return [kept for kept in map(self.value, value) if kept is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self.apply(name, argument)
        resolved = {k: self.value(v) for k, v in value.items()}
        return {k: v for k, v in resolved.items() if v is not None}

    def apply(self, name: str, argument: Any) -> Any:  # noqa: ANN401
        match name:
            case "Ref":
                return self.ref(argument)
            case "Fn::GetAtt":
                return self.attribute(*argument)
            case "Fn::Sub":
                return re.sub(r"\$\{([^}!]+)\}", lambda m: str(self.named(m[1])), argument)
            case "Fn::If":
                condition, yes, no = argument
                return self.value(yes if self.conditions[condition] else no)
            case "Fn::Equals":
                left, right = (str(self.value(side)) for side in argument)
                return left == right
            case "Fn::Not":
                return not self.value(argument[0])
            case "Fn::FindInMap":
                mapping, top, second = (self.value(key) for key in argument)
                return self.template["Mappings"][mapping][top][second]
        raise Unresolved(name)

    def named(self, name: str) -> Any:  # noqa: ANN401
        return self.attribute(*name.split(".", 1)) if "." in name else self.ref(name)

    def ref(self, name: str) -> Any:  # noqa: ANN401
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        resource = self.resource(name)
        if resource["Type"] == "AWS::Glue::Database":
            return self.value(resource["Properties"]["DatabaseInput"]["Name"])
        if resource["Type"] == "AWS::Serverless::Function":
            return self.value(resource["Properties"]["FunctionName"])
        return BUCKETS.get(name, name)

    def attribute(self, name: str, attribute: str) -> str:
        self.resource(name)
        if attribute != "Arn":
            return f"{name}.{attribute}"
        return f"arn:aws:s3:::{BUCKETS[name]}" if name in BUCKETS else f"arn:{name}"

    def resource(self, name: str) -> dict:
        if name not in self.template["Resources"]:
            raise Unresolved(name)
        return self.template["Resources"][name]

    def functions(self) -> dict[str, dict]:
        """The six, by the name of their binary, with what Globals add."""
        functions = {}
        for resource in self.resources.values():
            if resource["Type"] == "AWS::Serverless::Function":
                binary = resource["Metadata"]["BuildProperties"]["Binary"]
                functions[binary] = self.globals["Function"] | resource["Properties"]
        return functions

    def statements(self, function: str) -> list[dict]:
        """What the role of a function says, with what is attached to it."""
        role = self.functions()[function]["Role"].removeprefix("arn:")
        policies = list(self.resources[role]["Properties"]["Policies"])
        policies += [p for p in self.of_type("AWS::IAM::Policy").values() if role in p["Roles"]]
        return [s for policy in policies for s in policy["PolicyDocument"]["Statement"]]

    def allows(self, function: str, action: str, resource: str, **context: str) -> bool:
        """Whether a function may do something. Context: prefix=… and headers such as
        if_none_match=…, as S3 names its condition keys."""
        keys = {f"s3:{name.replace('_', '-')}": value for name, value in context.items()}
        return any(
            any(fnmatchcase(action, a) for a in many(statement["Action"]))
            and any(fnmatchcase(resource, r) for r in many(statement["Resource"]))
            and holds(statement.get("Condition", {}), keys)
            for statement in self.statements(function)
            if statement["Effect"] == "Allow"
        )


def holds(condition: dict, keys: dict[str, str]) -> bool:
    """Whether a condition holds; operators that no policy uses are unknown."""
    for operator, tests in condition.items():
        for key, wanted in tests.items():
            found = keys.get(key)
            match operator:
                case "StringLike":
                    met = found is not None and any(fnmatchcase(found, w) for w in many(wanted))
                case "StringEquals":
                    met = found in many(wanted)
                # Of what is not there both are true.
                case "StringNotEquals" | "StringNotEqualsIfExists":
                    met = found not in many(wanted)
                case "Null":
                    met = (found is None) == (wanted == "true")
                case _:
                    raise Unresolved(operator)
            if not met:
                return False
    return True


def many(value: Any) -> list:  # noqa: ANN401
    return value if isinstance(value, list) else [value]
