"""What template.yaml promises, checked for every environment as it resolves."""

import json
import re
import tomllib
import unittest
from collections.abc import Iterator

from template import ENVIRONMENTS, ROOT, Resolved, environment, holds, load, many

LAKE = "arn:aws:s3:::lake"
GET, PUT, DELETE = "s3:GetObject", "s3:PutObject", "s3:DeleteObject"
ABORT = "s3:AbortMultipartUpload"
READ, WRITE = {GET}, {GET, PUT, ABORT}

# DESIGN section 6, with each function's own part of state/ and quarantine/: what it may do where.
SETTINGS = {"state/lake.json": {GET, PUT}}
QUARANTINE = WRITE | {DELETE}


# Runs are merged, and those that were merged are deleted.
INDEX = WRITE | {DELETE}


def readings(stream: str, *registers: str) -> dict[str, set[str]]:
    read = {f"{register}*": READ for register in registers}
    return (
        SETTINGS
        | read
        | {
            f"landing/{stream}/*": READ,
            f"trusted/{stream}/*": WRITE,
            f"quarantine/{stream}/*": QUARANTINE,
            f"state/{stream}/manifests/*": WRITE,
            f"state/{stream}/applied/*": {GET, PUT},
            f"state/{stream}/index/*": INDEX,
            f"replay/*/landing/{stream}/*": {GET, PUT, DELETE},
        }
    )


OBJECTS: dict[str, dict[str, set[str]]] = {
    "customer_landing_to_trusted": SETTINGS
    | {
        "landing/customer/*": READ,
        "trusted/customer/*": WRITE,
        "quarantine/customer/*": QUARANTINE,
        "state/customer/manifests/*": WRITE,
        "state/customer/register/*": WRITE,
        "state/customer/consents/*": WRITE,
        "state/customer/consent_runs/*": INDEX,
    },
    "accelerometer_landing_to_trusted": readings(
        "accelerometer", "state/customer/consents/", "state/customer/consent_runs/"
    ),
    "customer_trusted_to_curated": SETTINGS
    | {
        "trusted/customer/*": READ,
        "state/accelerometer/manifests/*": READ,
        "state/accelerometer/index/*": READ,
        "state/customer/consent_runs/*": READ,
        "state/curated/register/*": WRITE,
        "state/curated/owners/*": WRITE,
        "state/curated/owner_runs/*": INDEX,
        "state/curated/devices/*": INDEX,
        "curated/customer/*": WRITE,
    },
    "step_trainer_landing_to_trusted": readings(
        "step_trainer",
        "state/curated/register/",
        "state/curated/owners/",
        "state/curated/owner_runs/",
        "state/curated/devices/",
    ),
    "machine_learning_curated": SETTINGS
    | {
        "trusted/step_trainer/*": READ,
        "trusted/accelerometer/*": READ,
        "curated/machine_learning/*": WRITE,
    },
    "readings_compacted": SETTINGS
    | {
        "trusted/accelerometer/*": READ,
        "trusted/step_trainer/*": READ,
        "curated/machine_learning/*": READ,
        "state/compaction/*": {GET, PUT},
        "compacted/*": {PUT, DELETE, ABORT},
    },
}
for _name in OBJECTS.keys() - {"readings_compacted"}:
    OBJECTS[_name] |= {f"state/compared/{_name}": WRITE}
# Listed though not one object below is read: the root of the replay markers, whose keys begin with
# the revision.
LISTED_ONLY = {
    "accelerometer_landing_to_trusted": {"replay/"},
    "step_trainer_landing_to_trusted": {"replay/"},
    # Empty without the pairing by customer, which alone reads it.
    "machine_learning_curated": {
        "state/curated/owner_runs/*",
        "state/curated/devices/*",
    },
    # It writes the copies and removes them, and never reads one.
    "readings_compacted": {"compacted/*"},
}
TABLES = {
    "customer_landing_to_trusted": {"customer_landing", "customer_trusted"},
    "accelerometer_landing_to_trusted": {"accelerometer_landing", "accelerometer_trusted"},
    "customer_trusted_to_curated": {"customer_curated"},
    "step_trainer_landing_to_trusted": {"step_trainer_landing", "step_trainer_trusted"},
    "machine_learning_curated": {"machine_learning_curated"},
    # It registers none: who writes a table does.
    "readings_compacted": set(),
}
PARTITIONED = {"accelerometer_trusted", "step_trainer_trusted", "machine_learning_curated"}
REGISTER = {"glue:GetTable", "glue:CreateTable", "glue:UpdateTable"}
FIND_PARTITIONS = {"glue:GetPartitions", "glue:BatchGetPartition"}
KEEP_PARTITIONS = FIND_PARTITIONS | {"glue:BatchCreatePartition", "glue:BatchDeletePartition"}
# Without glue:GetTable it cannot tell a table that has no partitions from one that is not there.
MOVE_PARTITIONS = FIND_PARTITIONS | {"glue:GetTable", "glue:UpdatePartition"}
PATTERNS = {
    "customer_landing_to_trusted": ["landing/customer/"],
    "accelerometer_landing_to_trusted": [
        "trusted/customer/",
        "landing/accelerometer/",
        "replay/*/landing/accelerometer/*",
    ],
    "customer_trusted_to_curated": ["trusted/customer/", "trusted/accelerometer/"],
    "step_trainer_landing_to_trusted": [
        "curated/customer/",
        "landing/step_trainer/",
        "replay/*/landing/step_trainer/*",
    ],
    "machine_learning_curated": ["trusted/step_trainer/", "trusted/accelerometer/"],
    "readings_compacted": [
        "trusted/accelerometer/",
        "trusted/step_trainer/",
        "curated/machine_learning/",
    ],
}
# What the functions put into their logs (embedded metric format).
METRICS = {
    "Records",
    "RecordsAdmitted",
    "RecordsHeld",
    "RecordsQuarantined",
    "ObjectsWritten",
    "ObjectsUnchanged",
    "Replays",
    "Conflicts",
    "FailedMessages",
    "SourceBytes",
    "Duration",
    "WithdrawalLag",
    "Unfinished",
}
# Actions with a star, and why one may stand.
WILD_ACTIONS = {
    ("Deny", "s3:*"): "a denial without TLS is meant for everything",
    ("Deny", "sqs:*"): "a denial without TLS is meant for everything",
    ("Allow", "kms:*"): "in the key's own policy, so that the key cannot be lost to everybody",
}
# Actions for which AWS has no resource but the star: what they list has names only.
WITHOUT_RESOURCE = {"athena:ListWorkGroups", "athena:ListDataCatalogs", "athena:ListEngineVersions"}
# What data scientists read, and look around with in Athena's console.
TRAINING = {"curated/machine_learning/*", "compacted/machine_learning_curated/*"}
BROWSE_CONSOLE = {
    "athena:ListDatabases",
    "athena:GetDatabase",
    "athena:ListTableMetadata",
    "athena:GetTableMetadata",
}
BROWSE_CATALOG = FIND_PARTITIONS | {
    "glue:GetDatabase",
    "glue:GetDatabases",
    "glue:GetTable",
    "glue:GetTables",
    "glue:GetPartition",
}

TEMPLATE = load()


class Infrastructure(unittest.TestCase):
    def each(self) -> Iterator[tuple[str, Resolved]]:
        """Every environment, and the template's defaults."""
        for name in (*ENVIRONMENTS, "defaults"):
            parameters = environment(name) if name in ENVIRONMENTS else {}
            yield name, Resolved(TEMPLATE, parameters)

    def each_function(self) -> Iterator[tuple[Resolved, str, dict]]:
        for _, stack in self.each():
            for name, function in stack.functions().items():
                yield stack, name, function


class Environments(Infrastructure):
    def test_parameters_are_known_and_allowed(self) -> None:
        for _, stack in self.each():
            known = TEMPLATE["Parameters"]
            self.assertLessEqual(set(stack.parameters), set(known))
            for name, value in stack.parameters.items():
                with self.subTest(parameter=name):
                    self.check_parameter(known[name], value)

    def check_parameter(self, definition: dict, value: str) -> None:
        self.assertTrue(definition.get("Description"))
        if "AllowedValues" in definition:
            self.assertIn(value, [str(allowed) for allowed in definition["AllowedValues"]])
        if "AllowedPattern" in definition:
            self.assertRegex(value, rf"\A(?:{definition['AllowedPattern']})\Z")
        if definition["Type"] == "Number":
            self.assertGreaterEqual(int(value), definition.get("MinValue", int(value)))
            self.assertLessEqual(int(value), definition.get("MaxValue", int(value)))

    def test_every_parameter_is_used_and_shown(self) -> None:
        text = (ROOT / "template.yaml").read_text()
        shown = [
            parameter
            for group in TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
            for parameter in group["Parameters"]
        ]
        self.assertCountEqual(shown, TEMPLATE["Parameters"])
        for name in TEMPLATE["Parameters"]:
            self.assertRegex(text, rf"!Ref {name}\b|\$\{{{name}\}}")

    def test_values_fit_together(self) -> None:
        for _, stack in self.each():
            value = {k: int(v) for k, v in stack.parameters.items() if v.isdigit()}
            reserved = value["ReservedConcurrency"]
            self.assertTrue(reserved == 0 or reserved >= value["MaximumConcurrency"])
            self.assertTrue(value["BatchSize"] <= 10 or value["BatchWindowSeconds"] >= 1)
            self.assertGreater(value["OldestMessageAlarmSeconds"], 6 * value["TimeoutSeconds"])
            # A message that a queue keeps no longer is gone, and no dead letter.
            tries = TEMPLATE["Parameters"]["MaxReceiveCount"]["MaxValue"]
            wait = max(each["Seconds"] for each in TEMPLATE["Mappings"]["Visibility"].values())
            for queue in stack.of_type("AWS::SQS::Queue").values():
                self.assertLess(tries * wait, queue["MessageRetentionPeriod"])

    def test_samconfig_deploys_each_by_one_flag(self) -> None:
        config = tomllib.loads((ROOT / "samconfig.toml").read_text())
        names = set()
        for name in ENVIRONMENTS:
            deploy = config[name]["deploy"]["parameters"]
            self.assertEqual(
                deploy["parameter_overrides"], f"file://infra/environments/{name}.toml"
            )
            self.assertIn("CAPABILITY_IAM", deploy["capabilities"])
            longest = max(map(len, OBJECTS))
            self.assertLessEqual(len(f"{deploy['stack_name']}-") + longest, 64)
            names.add(deploy["stack_name"])
        self.assertEqual(len(names), len(ENVIRONMENTS))

    def test_what_customers_entrusted_is_retained(self) -> None:
        for name in ("staging", "prod"):
            stack = Resolved(TEMPLATE, environment(name))
            for resource in ("Lake", "PseudonymKey", "LakeKey"):
                self.assertEqual(stack.resources[resource]["DeletionPolicy"], "Retain")
        self.assertEqual(Resolved(TEMPLATE).resources["Lake"]["DeletionPolicy"], "Retain")

    def test_outputs_and_the_dashboard_resolve(self) -> None:
        for _, stack in self.each():
            for name, output in stack.outputs.items():
                self.assertNotIn("${", str(output["Value"]), name)
            body = stack.resources["Dashboard"]["Properties"]["DashboardBody"]
            widgets = json.loads(body)["widgets"]
            for function in stack.functions().values():
                self.assertIn(function["FunctionName"], body)
            columns = {widget["x"] for widget in widgets}
            self.assertEqual(len(columns), 6)
            for widget in widgets:
                for metric in widget["properties"].get("metrics", []):
                    if metric[0] == stack.parameters["MetricsNamespace"]:
                        self.assertIn(metric[1], METRICS)


class Wiring(Infrastructure):
    def test_the_six_functions(self) -> None:
        for _, stack in self.each():
            functions = stack.functions()
            self.assertCountEqual(functions, OBJECTS)
            for name, function in functions.items():
                self.assertTrue((ROOT / "functions" / name / "Cargo.toml").is_file())
                self.assertEqual(function["Architectures"], ["arm64"])
                self.assertEqual(function["Runtime"], "provided.al2023")
                self.assertEqual(
                    set(function["Environment"]["Variables"]),
                    {
                        "LAKE_BUCKET",
                        "LAKE_PARTS",
                        "GLUE_DATABASE",
                        "CONSENT",
                        "PAIRING",
                        "IDENTITY",
                        "PSEUDONYM_KEY_SECRET",
                        "METRICS_NAMESPACE",
                        "CLOSED_AFTER_DAYS",
                    },
                )

    def test_each_has_a_queue_of_its_own_with_dead_letters(self) -> None:
        for stack, name, function in self.each_function():
            source = function["Events"]["Changes"]["Properties"]
            queue = source["Queue"].removeprefix("arn:")
            properties = stack.resources[queue]["Properties"]
            timeout = int(function["Timeout"])
            self.assertGreaterEqual(properties["VisibilityTimeout"], 6 * timeout)
            self.assertGreaterEqual(int(properties["RedrivePolicy"]["maxReceiveCount"]), 5)
            letters = properties["RedrivePolicy"]["deadLetterTargetArn"].removeprefix("arn:")
            kept = stack.resources[letters]["Properties"]
            self.assertEqual(
                kept["RedriveAllowPolicy"]["sourceQueueArns"],
                [f"arn:aws:sqs:us-east-1:123456789012:{properties['QueueName']}"],
            )
            self.assertGreater(kept["MessageRetentionPeriod"], properties["MessageRetentionPeriod"])
            for each in (properties, kept):
                self.assertIs(each["SqsManagedSseEnabled"], True)
            self.assertEqual(source["FunctionResponseTypes"], ["ReportBatchItemFailures"])
            self.assertGreaterEqual(int(source["ScalingConfig"]["MaximumConcurrency"]), 2)
            self.assertEqual(properties["QueueName"], f"stedi-{name}")
            self.assertEqual(kept["QueueName"], f"stedi-{name}-dead")

    def test_a_queue_takes_messages_of_its_own_rules_only(self) -> None:
        for stack, _, function in self.each_function():
            queue = function["Events"]["Changes"]["Properties"]["Queue"].removeprefix("arn:")
            rules = {
                f"arn:{rule}"
                for rule, properties in stack.of_type("AWS::Events::Rule").items()
                if any(target["Arn"] == f"arn:{queue}" for target in properties["Targets"])
            }
            self.assertEqual(len(rules), 2)
            self.check_queue_policy(stack, queue, rules)
            # What EventBridge could not deliver; a schedule that got lost comes again.
            letters = queue.removesuffix("Queue") + "DeadLetters"
            self.check_queue_policy(stack, letters, {r for r in rules if r.endswith("Rule")})

    def check_queue_policy(self, stack: Resolved, queue: str, rules: set[str]) -> None:
        policies = [
            policy["PolicyDocument"]["Statement"]
            for policy in stack.of_type("AWS::SQS::QueuePolicy").values()
            if policy["Queues"] == [queue]
        ]
        self.assertEqual(len(policies), 1)
        allow, deny = policies[0]
        self.assertEqual((allow["Effect"], allow["Action"]), ("Allow", "sqs:SendMessage"))
        self.assertEqual(allow["Resource"], f"arn:{queue}")
        self.assertEqual(set(many(allow["Condition"]["ArnEquals"]["aws:SourceArn"])), rules)
        self.assertEqual(deny["Effect"], "Deny")
        self.assertEqual(deny["Condition"], {"Bool": {"aws:SecureTransport": "false"}})

    def test_rules_let_through_what_the_layout_says_in_the_order_of_work(self) -> None:
        for stack, name, function in self.each_function():
            queue = function["Events"]["Changes"]["Properties"]["Queue"]
            rules = [
                rule
                for rule in stack.of_type("AWS::Events::Rule").values()
                if rule["Targets"][0]["Arn"] == queue
            ]
            patterns = [rule["EventPattern"] for rule in rules if "EventPattern" in rule]
            schedules = [rule for rule in rules if "ScheduleExpression" in rule]
            self.assertEqual((len(patterns), len(schedules)), (1, 1))
            keys = patterns[0]["detail"]["object"]["key"]
            self.assertEqual([next(iter(k.values())) for k in keys], PATTERNS[name])
            self.assertEqual(patterns[0]["detail"]["bucket"]["name"], ["lake"])
            self.assertEqual(patterns[0]["detail-type"], ["Object Created", "Object Deleted"])
            self.assertNotIn("Input", schedules[0]["Targets"][0])


class Permissions(Infrastructure):
    def test_each_function_has_a_role_of_its_own(self) -> None:
        for _, stack in self.each():
            functions = stack.functions()
            roles = {function["Role"] for function in functions.values()}
            self.assertEqual(len(roles), len(functions))
            self.assertEqual(roles, {f"arn:{name}" for name in stack.of_type("AWS::IAM::Role")})
            for function in functions.values():
                self.assertNotIn("Policies", function, "SAM would make another role")
            for role in stack.of_type("AWS::IAM::Role").values():
                self.assertNotIn("ManagedPolicyArns", role)

    def test_objects_exactly_as_the_layout_says(self) -> None:
        for stack, name, _ in self.each_function():
            granted: dict[str, set[str]] = {}
            for statement in stack.statements(name):
                for resource in many(statement["Resource"]):
                    if resource.startswith(f"{LAKE}/"):
                        actions = granted.setdefault(resource.removeprefix(f"{LAKE}/"), set())
                        actions.update(many(statement["Action"]))
            expected = dict(OBJECTS[name])
            if name == "machine_learning_curated" and stack.parameters["Pairing"] == "customer":
                expected["state/curated/owner_runs/*"] = READ
                expected["state/curated/devices/*"] = READ
            self.assertEqual(granted, expected)

    def test_the_register_is_read_for_pairing_by_customer_only(self) -> None:
        key = f"{LAKE}/state/curated/owner_runs/0-a"
        for pairing, allowed in (("timestamp", False), ("customer", True)):
            stack = Resolved(TEMPLATE, {"Pairing": pairing})
            self.assertEqual(stack.allows("machine_learning_curated", GET, key), allowed)

    def test_what_is_read_may_be_found_absent(self) -> None:
        """Without s3:ListBucket on a key's prefix S3 answers 403 for what is not there."""
        for stack, name, _ in self.each_function():
            listed = {
                prefix
                for statement in stack.statements(name)
                if statement["Action"] == "s3:ListBucket"
                for prefix in statement["Condition"]["StringLike"]["s3:prefix"]
            }
            read = {prefix for prefix, actions in OBJECTS[name].items() if GET in actions}
            self.assertEqual(listed, read | LISTED_ONLY.get(name, set()))
            self.assertFalse(stack.allows(name, "s3:ListBucket", LAKE), "without a prefix")

    def test_what_must_not_be_done_is_not(self) -> None:
        denied = [
            ("machine_learning_curated", GET, "landing/accelerometer/a.json"),
            ("machine_learning_curated", GET, "trusted/customer/part-00.parquet"),
            ("accelerometer_landing_to_trusted", GET, "trusted/customer/part-00.parquet"),
            ("accelerometer_landing_to_trusted", GET, "state/customer/register/part-00.json"),
            ("accelerometer_landing_to_trusted", PUT, "state/customer/consents/part-00.json"),
            ("accelerometer_landing_to_trusted", PUT, "state/customer/consent_runs/0-a"),
            ("customer_trusted_to_curated", PUT, "state/customer/consent_runs/0-a"),
            ("step_trainer_landing_to_trusted", GET, "state/customer/consent_runs/0-a"),
            ("machine_learning_curated", GET, "state/curated/owners/part-00"),
            ("accelerometer_landing_to_trusted", PUT, "landing/accelerometer/a.json"),
            ("step_trainer_landing_to_trusted", GET, "curated/customer/part-00.parquet"),
            ("customer_trusted_to_curated", GET, "trusted/accelerometer/a.parquet"),
            ("customer_trusted_to_curated", GET, "state/customer/register/part-00.json"),
            ("readings_compacted", PUT, "trusted/accelerometer/a.parquet"),
            ("readings_compacted", DELETE, "trusted/accelerometer/a.parquet"),
            ("readings_compacted", GET, "trusted/customer/part-00.parquet"),
            ("machine_learning_curated", PUT, "compacted/machine_learning_curated/a.parquet"),
        ]
        for _, stack in self.each():
            for function, action, key in denied:
                self.assertFalse(stack.allows(function, action, f"{LAKE}/{key}"), key)
            for function in OBJECTS:
                for key in ("landing/customer/a", "trusted/customer/a", "state/lake.json"):
                    self.assertFalse(stack.allows(function, DELETE, f"{LAKE}/{key}"))
                others = function != "customer_landing_to_trusted"
                settings = (function, PUT, f"{LAKE}/state/lake.json")
                self.assertEqual(stack.allows(*settings), not others, "overwrites the settings")
                self.assertTrue(stack.allows(*settings, if_none_match="*"), "makes the lake")

    def test_tables_of_their_own_only(self) -> None:
        prefix = "arn:aws:glue:us-east-1:123456789012:"
        for stack, name, _ in self.each_function():
            database = stack.parameters["GlueDatabaseName"]
            granted: dict[str, set[str]] = {}
            for statement in stack.statements(name):
                actions = many(statement["Action"])
                if not any(action.startswith("glue:") for action in actions):
                    continue
                resources = [r.removeprefix(prefix) for r in statement["Resource"]]
                self.assertEqual(resources[:2], ["catalog", f"database/{database}"])
                for resource in resources[2:]:
                    table = resource.removeprefix(f"table/{database}/")
                    granted.setdefault(table, set()).update(actions)
            expected = {table: set(REGISTER) for table in TABLES[name]}
            for table in TABLES[name] & PARTITIONED:
                expected[table] |= KEEP_PARTITIONS
            if name == "readings_compacted":
                expected = dict.fromkeys(PARTITIONED, MOVE_PARTITIONS)
            self.assertEqual(granted, expected)

    def test_data_scientists_find_the_training_data_and_nothing_else(self) -> None:
        glue, athena = (f"arn:aws:{name}:us-east-1:123456789012:" for name in ("glue", "athena"))
        for _, stack in self.each():
            granted: dict[str, set[str]] = {}
            policy = stack.resources["DataScientist"]["Properties"]["PolicyDocument"]
            for statement in policy["Statement"]:
                for resource in many(statement["Resource"]):
                    granted.setdefault(resource, set()).update(many(statement["Action"]))
                if statement["Sid"] == "ListTrainingData":
                    listed = set(statement["Condition"]["StringLike"]["s3:prefix"])
            self.assertEqual(listed, TRAINING)
            # Where they ask, and what they asked for.
            asked = [f"{athena}workgroup/Workgroup"]
            asked += ["arn:aws:s3:::query-results", "arn:aws:s3:::query-results/*"]
            if stack.parameters["Encryption"] == "SSE-KMS":
                asked.append("arn:LakeKey")
            for resource in asked:
                granted.pop(resource)
            database = stack.parameters["GlueDatabaseName"]
            read = {f"{LAKE}/{prefix}": READ for prefix in TRAINING}
            self.assertEqual(
                granted,
                read
                | {
                    LAKE: {"s3:ListBucket", "s3:GetBucketLocation"},
                    f"{glue}catalog": BROWSE_CATALOG,
                    f"{glue}database/{database}": BROWSE_CATALOG,
                    f"{glue}table/{database}/machine_learning_curated": BROWSE_CATALOG,
                    f"{athena}datacatalog/AwsDataCatalog": BROWSE_CONSOLE,
                    "*": WITHOUT_RESOURCE,
                },
            )

    def test_no_star_where_a_name_can_stand(self) -> None:
        for _, stack in self.each():
            for name, statement in all_statements(stack):
                for action in many(statement["Action"]):
                    if "*" in action:
                        self.assertIn((statement["Effect"], action), WILD_ACTIONS, name)
                        self.assertTrue(action != "kms:*" or name == "LakeKey")
                for resource in many(statement.get("Resource", [])):
                    # A key's policy means that key by it.
                    if resource == "*" and name != "LakeKey":
                        self.assertLessEqual(set(many(statement["Action"])), WITHOUT_RESOURCE, name)
                    path = resource.partition("/")[2].removesuffix("/*")
                    path = re.sub(r"^replay/\*/landing/", "", path)
                    self.assertTrue(path == "*" or "*" not in path, resource)
                    self.assertNotIn("*", resource.partition("/")[0].rstrip("*"), resource)
                if statement.get("Principal") == "*":
                    self.assertEqual(statement["Effect"], "Deny", name)

    def test_the_key_is_used_where_there_is_one(self) -> None:
        for _, stack in self.each():
            with_kms = stack.parameters["Encryption"] == "SSE-KMS"
            self.assertEqual("LakeKey" in stack.resources, with_kms)
            for name in OBJECTS:
                actions = {a for s in stack.statements(name) for a in many(s["Action"])}
                self.assertEqual("kms:Decrypt" in actions, with_kms)
            for resource, key in (
                ("PseudonymKey", "KmsKeyId"),
                ("MachineLearningCuratedLogs", "KmsKeyId"),
                ("Alarms", "KmsMasterKeyId"),
            ):
                self.assertEqual(key in stack.resources[resource]["Properties"], with_kms)


class Storage(Infrastructure):
    def test_only_readings_expire_and_only_if_asked(self) -> None:
        for days, expected in ((0, {}), (30, {"landing/accelerometer/", "landing/step_trainer/"})):
            stack = Resolved(TEMPLATE, {"LandingRetentionDays": days})
            lake = stack.resources["Lake"]["Properties"]
            rules = lake["LifecycleConfiguration"]["Rules"]
            expiring = {rule["Prefix"] for rule in rules if "ExpirationInDays" in rule}
            self.assertEqual(expiring, set(expected))

    def test_buckets_are_private_and_talk_tls(self) -> None:
        for _, stack in self.each():
            policies = {
                policy["Bucket"]: policy["PolicyDocument"]["Statement"]
                for policy in stack.of_type("AWS::S3::BucketPolicy").values()
            }
            for name, bucket in stack.of_type("AWS::S3::Bucket").items():
                block = bucket["PublicAccessBlockConfiguration"]
                self.assertTrue(all(block.values()) and len(block) == 4)
                self.assertIn("BucketEncryption", bucket)
                denials = [s for s in policies[stack.ref(name)] if s["Sid"] == "TlsOnly"]
                self.assertEqual(denials[0]["Effect"], "Deny")

    def test_with_a_key_of_our_own_uploads_ask_for_no_other(self) -> None:
        algorithm = "s3:x-amz-server-side-encryption"
        key = f"{algorithm}-aws-kms-key-id"
        ours, other = "arn:LakeKey", "arn:aws:kms:us-east-1:123456789012:key/other"
        for _, stack in self.each():
            with_kms = stack.parameters["Encryption"] == "SSE-KMS"
            policy = stack.resources["LakePolicy"]["Properties"]["PolicyDocument"]
            denials = [s for s in policy["Statement"] if s["Action"] == PUT]
            for asked, is_denied in (
                # So do the functions, and each part of an upload by parts.
                ({}, False),
                ({algorithm: "aws:kms", key: ours}, False),
                ({algorithm: "aws:kms", key: other}, with_kms),
                # S3 would take AWS's own key.
                ({algorithm: "aws:kms"}, with_kms),
                ({algorithm: "AES256"}, with_kms),
            ):
                denied = any(holds(statement["Condition"], asked) for statement in denials)
                self.assertEqual(denied, is_denied, asked)
            for statement in denials:
                self.assertEqual((statement["Effect"], statement["Principal"]), ("Deny", "*"))
                self.assertEqual(statement["Resource"], f"{LAKE}/*")

    def test_the_pseudonym_key_is_hex(self) -> None:
        generated = Resolved(TEMPLATE).resources["PseudonymKey"]["Properties"]
        rule = generated["GenerateSecretString"]
        letters = set("abcdefghijklmnopqrstuvwxyz0123456789") - set(rule["ExcludeCharacters"])
        self.assertEqual(letters, set("abcdef0123456789"))
        self.assertTrue(rule["ExcludeUppercase"] and rule["ExcludePunctuation"])
        self.assertFalse(rule["IncludeSpace"] or rule["RequireEachIncludedType"])
        self.assertEqual(rule["PasswordLength"], 64)


class Operation(Infrastructure):
    def test_alarms_watch_what_is_emitted_and_are_explained(self) -> None:
        runbook = (ROOT / "infra/README.md").read_text()
        for _, stack in self.each():
            namespace = stack.parameters["MetricsNamespace"]
            for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
                metrics = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", [])[1:]]
                for metric in metrics or [alarm]:
                    if metric["Namespace"] == namespace:
                        self.assertIn(metric["MetricName"], METRICS)
                self.assertEqual(alarm["AlarmActions"], ["Alarms"])
                section = re.search(r"See infra/README.md, (.+)\.$", alarm["AlarmDescription"])
                self.assertIsNotNone(section, name)
                self.assertIn(f"### {section[1]}\n", runbook)

    def test_workflows_hold_no_keys_and_ask_for_little(self) -> None:
        for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
            with self.subTest(workflow=path.name):
                text = path.read_text()
                self.assertNotRegex(text, r"(?i)aws_secret|access_key_id|secrets\.")
                workflow = load(text)
                self.assertIn("permissions", workflow)
                for used in re.findall(r"uses: *(\S+)", text):
                    self.assertRegex(used, r"^\./|@(v\d+(\.\d+)*|[0-9a-f]{40})$")

    def test_what_is_deployed_was_tried_as_deployed(self) -> None:
        jobs = load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
        self.assertIn("test", jobs["build"]["needs"])
        steps = jobs["test"]["steps"]
        pythons = [
            s["with"]["python-version"] for s in steps if "setup-python" in s.get("uses", "")
        ]
        self.assertEqual([python.split() for python in pythons], [["3.13", "3.12"]])
        run = next(step for step in steps if step.get("run") == ".ci/run")
        must_run = run["env"]["STEDI_MUST_RUN"].split(",")
        self.assertIn("as deployed", must_run)
        skipped = re.findall(r'^ *skip "([^"]+)"', (ROOT / "tests/run").read_text(), re.MULTILINE)
        self.assertLessEqual(set(must_run), set(skipped), "tests/run knows no such step")


def all_statements(stack: Resolved) -> Iterator[tuple[str, dict]]:
    """Every statement of every policy of the stack, with its resource."""
    for name, resource in stack.resources.items():
        properties = resource.get("Properties", {})
        documents = [properties.get("PolicyDocument"), properties.get("KeyPolicy")]
        documents.append(properties.get("AssumeRolePolicyDocument"))
        documents += [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        for document in filter(None, documents):
            for statement in document["Statement"]:
                yield name, statement


if __name__ == "__main__":
    unittest.main()
