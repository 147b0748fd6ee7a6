"""`FineTuning` in another app: with its network, its key and its bucket; twice in one app; what it grants."""

import json
import os
import resource
import runpy
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Aws, Environment, Fn, Stack
from aws_cdk import Stage as AppStage
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Match, Template
from cdk_nag import AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks, ServerlessChecks
from constructs import Construct

from finetuning.settings import INTERFACE_ENDPOINTS
from finetuning_cdk import FineTuning
from finetuning_cdk.config import ConfigurationError, StageConfig
from finetuning_cdk.constructs.own_resources import UNSEEN, OwnResources
from tests.infra.rules import broken
from tests.infra.synthesis import ROOT, STACKS

EXAMPLE = ROOT / "examples" / "construct" / "app.py"
SYNTH_SECONDS = 15
NO_BUNDLING = {"aws:cdk:bundling-stacks": []}
DIFFERS_IN_DEV = {4, 13, 28, 33}
"""Rules of tests/infra/rules.py that the profile dev breaks on purpose (test_security.py)."""


@dataclass
class Platform:
    """What an app has of its own. Every part is as a stage needs it."""

    stack: Stack
    vpc: ec2.Vpc
    key: kms.Key
    uploads: s3.Bucket


def any_platform(
    app: App, *, endpoints: tuple[str, ...] = (), vpc: Mapping[str, Any] | None = None, **bucket: Any
) -> Platform:
    stack = Stack(app, "Platform")
    isolated = ec2.SubnetConfiguration(name="Isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
    gateway = ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)
    network: dict[str, Any] = {"subnet_configuration": [isolated], "gateway_endpoints": {"S3": gateway}, **(vpc or {})}
    own_vpc = ec2.Vpc(stack, "Vpc", max_azs=2, nat_gateways=0, **network)
    for service in endpoints:
        own_vpc.add_interface_endpoint(service, service=ec2.InterfaceVpcEndpointAwsService(service))
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    settings: dict[str, Any] = {
        "encryption_key": key,
        "versioned": True,
        "event_bridge_enabled": True,
        "enforce_ssl": True,
        "block_public_access": s3.BlockPublicAccess.BLOCK_ALL,
        **bucket,
    }
    return Platform(stack, own_vpc, key, s3.Bucket(stack, "Uploads", **settings))


def missing(app: App, platform: Platform, profile: str = "dev", **replaced: Any) -> list[str]:
    """What a stage with these resources would report at synthesis."""
    given: dict[str, Any] = {"vpc": platform.vpc, "key": platform.key, "uploads": platform.uploads} | replaced
    config = StageConfig.of("alice", {}, profile=profile)
    return OwnResources(Construct(app, "Stage"), config=config, **given).validate()


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(context=NO_BUNDLING, outdir=str(tmp_path))


# The example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The assembly that examples/construct/app.py writes as a program of its own."""
    folder = tmp_path_factory.mktemp("example")
    environment = {**os.environ, "CDK_OUTDIR": str(folder), "CDK_CONTEXT_JSON": json.dumps(NO_BUNDLING)}
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / source) for source in ("lambda", "infra"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, EXAMPLE], env=environment, cwd=folder, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SYNTH_SECONDS
    return folder


def templates_in(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name.partition(".")[0]: json.loads(path.read_text()) for path in folder.glob("*.template.json")}


def test_the_example_makes_the_stacks_of_its_stage_beside_its_own(example: Path) -> None:
    manifest = json.loads((example / "manifest.json").read_text())["artifacts"].values()
    names = {each["properties"].get("stackName") for each in manifest if each["type"] == "aws:cloudformation:stack"}
    assert names - {None} == {f"finetune-alice-{stack}" for stack in STACKS}


def test_the_stage_of_the_example_follows_the_security_rules(example: Path) -> None:
    """What the example's own stacks leave out is theirs: its bucket has no access log, its VPC no flow log."""
    templates = templates_in(example)
    own = {id for name in ("Platform", "Application") for id in templates[name]["Resources"]}
    found = {number: set(offenders) - own for number, offenders in broken(templates.values()).items()}
    # Rule 9 looks at the bucket's property: the CDK's option for a bucket is a resource of its own.
    assert {number for number, offenders in found.items() if offenders} == {*DIFFERS_IN_DEV, 9}


def test_the_stage_neither_empties_nor_keeps_what_is_not_its_own(example: Path) -> None:
    workflow = next(t for name, t in templates_in(example).items() if name.startswith("FineTuningworkflow"))
    (runs,) = [r for r in workflow["Resources"].values() if r["Type"] == "Custom::RunRemoval"]
    emptied = json.dumps(runs["Properties"]["EmptyBuckets"])
    assert "Artifacts" in emptied
    assert "Platform" not in emptied
    storage = next(t for name, t in templates_in(example).items() if name.startswith("FineTuningstorage"))
    kinds = [each["Type"] for each in storage["Resources"].values()]
    assert "AWS::KMS::Key" not in kinds
    assert kinds.count("AWS::S3::Bucket") == 2


def test_the_key_of_the_app_gets_the_statements_of_the_stage(example: Path) -> None:
    (key,) = [r for r in templates_in(example)["Platform"]["Resources"].values() if r["Type"] == "AWS::KMS::Key"]
    sids = {statement.get("Sid") for statement in key["Properties"]["KeyPolicy"]["Statement"]}
    assert sids >= {"LogGroupsOfThisStageAlice", "AlarmsOfThisAccountAlice"}


PACKS = (AwsSolutionsChecks, ServerlessChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks)


def test_every_finding_of_cdk_nag_on_the_stage_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDK_OUTDIR", str(tmp_path))
    monkeypatch.setenv("CDK_CONTEXT_JSON", json.dumps(NO_BUNDLING))
    built = runpy.run_path(str(EXAMPLE))
    found = {
        (violation.rule_name, each.construct_path)
        for pack in PACKS
        for violation in pack().validate_scope(built["app"]).violations
        for each in violation.violating_resources
    }
    assert {each for each in found if each[1].startswith("FineTuning/")} == set()
    # Of the grant to the application's role it would report wildcards; that it is inline is the CDK's way to grant.
    assert {rule for rule, path in found if path.startswith("Application/Service")} == {
        f"{pack}-IAMNoInlinePolicy" for pack in ("HIPAA.Security", "NIST.800.53.R5", "PCI.DSS.321")
    }


# What is missing


@pytest.mark.parametrize("profile", ["dev", "prod"])
def test_resources_as_a_stage_needs_them_have_nothing_missing(app: App, profile: str) -> None:
    endpoints = tuple(INTERFACE_ENDPOINTS.values()) if profile == "prod" else ()
    assert missing(app, any_platform(app, endpoints=endpoints), profile) == []


def test_everything_that_is_missing_is_one_error(app: App) -> None:
    stack = Stack(app, "Platform")
    vpc = ec2.Vpc(stack, "Vpc", max_azs=2, nat_gateways=0)
    key = kms.Key(stack, "Key")
    FineTuning(app, "Tuning", stage="alice", profile="prod", vpc=vpc, key=key, uploads=s3.Bucket(stack, "Uploads"))
    with pytest.raises(RuntimeError) as error:
        app.synth()
    said = str(error.value)
    for words in (
        "vpc: it has no endpoint of s3, sagemaker.api, sagemaker.runtime",
        "key: rotation is off",
        "uploads: it is not encrypted with the key",
        "uploads: it keeps no versions",
        "uploads: it sends no events to EventBridge",
        "uploads: public access is not blocked",
        "uploads: it takes requests without TLS",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("bucket", "words"),
    [
        ({"versioned": False}, "keeps no versions"),
        ({"event_bridge_enabled": False}, "no events to EventBridge"),
        ({"enforce_ssl": False}, "requests without TLS"),
        ({"block_public_access": s3.BlockPublicAccess.BLOCK_ACLS_ONLY}, "public access is not blocked"),
        ({"encryption_key": None, "encryption": s3.BucketEncryption.S3_MANAGED}, "not encrypted with the key"),
    ],
)
def test_a_bucket_that_lacks_one_thing_is_told_that_one(app: App, bucket: Mapping[str, Any], words: str) -> None:
    (said,) = missing(app, any_platform(app, **bucket))
    assert words in said


def test_a_network_with_public_subnets_only_is_refused(app: App) -> None:
    public = ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC)
    platform = any_platform(app, vpc={"subnet_configuration": [public]})
    assert "isolated subnets in 0 zones" in missing(app, platform)[0]


def test_an_endpoint_outside_the_route_tables_of_the_isolated_subnets_is_refused(app: App) -> None:
    subnets = [
        ec2.SubnetConfiguration(name="Isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
        ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC),
    ]
    gateway = ec2.GatewayVpcEndpointOptions(
        service=ec2.GatewayVpcEndpointAwsService.S3, subnets=[ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC)]
    )
    platform = any_platform(app, vpc={"subnet_configuration": subnets, "gateway_endpoints": {"S3": gateway}})
    (said,) = missing(app, platform)
    assert "not in the route tables of Platform/Vpc/IsolatedSubnet1, Platform/Vpc/IsolatedSubnet2" in said


def test_an_interface_endpoint_of_s3_beside_the_gateway_is_no_obstacle(app: App) -> None:
    """As networks have that are reached from outside AWS, too."""
    platform = any_platform(app)
    s3_by_interface = ec2.InterfaceVpcEndpointAwsService("s3")
    platform.vpc.add_interface_endpoint("S3ForOthers", service=s3_by_interface, private_dns_enabled=False)
    assert missing(app, platform) == []


def test_an_endpoint_without_private_dns_is_refused(app: App) -> None:
    """The functions ask for the usual address of a service, which then leads out of the network."""
    needed = list(INTERFACE_ENDPOINTS.values())
    platform = any_platform(app, endpoints=tuple(needed[1:]))
    service = ec2.InterfaceVpcEndpointAwsService(needed[0])
    platform.vpc.add_interface_endpoint("Unnamed", service=service, private_dns_enabled=False)
    assert missing(app, platform, "prod") == [f"vpc: the endpoint of {needed[0]} has no private DNS; enable it"]


def test_a_network_without_dns_is_refused(app: App) -> None:
    assert "DNS" in missing(app, any_platform(app, vpc={"enable_dns_hostnames": False}))[0]


def test_a_key_that_ignores_iam_is_refused(app: App) -> None:
    platform = any_platform(app)
    policy = iam.PolicyDocument(
        statements=[
            iam.PolicyStatement(actions=["kms:Encrypt"], resources=["*"], principals=[iam.AccountRootPrincipal()])
        ]
    )
    key = kms.Key(platform.stack, "Other", enable_key_rotation=True, policy=policy)
    said = missing(app, platform, key=key, uploads=None)
    assert len(said) == 1
    assert "does not leave permissions to IAM" in said[0]


@pytest.mark.parametrize("imported", [True, False])
def test_an_alias_is_not_taken_for_its_key(app: App, imported: bool) -> None:
    """IAM compares the ARN in a policy with that of the key: one that names an alias allows nothing."""
    platform = any_platform(app)
    if imported:
        alias = kms.Alias.from_alias_name(platform.stack, "Imported", "alias/imported")
    else:
        alias = kms.Alias(platform.stack, "Made", alias_name="alias/made", target_key=platform.key)
    (said,) = missing(app, platform, key=alias, uploads=None)
    assert "key: it is an alias" in said


@pytest.mark.parametrize(
    "settings", [{"stage": "prod", "interface_endpoints": False}, {"stage": "dev", "control_functions_in_vpc": True}]
)
def test_functions_in_a_network_without_endpoints_are_refused(app: App, settings: dict[str, Any]) -> None:
    """They would reach no API: each step would end by its timeout, and the failure could not be reported."""
    with pytest.raises(ConfigurationError, match="control_functions_in_vpc: needs interface_endpoints"):
        FineTuning(app, "Tuning", **settings)


def test_the_endpoints_of_a_given_network_are_its_owners(app: App) -> None:
    platform = any_platform(app, endpoints=tuple(INTERFACE_ENDPOINTS.values()))
    tuning = FineTuning(app, "Tuning", stage="prod", vpc=platform.vpc, interface_endpoints=False)
    Template.from_stack(tuning.network).resource_count_is("AWS::EC2::VPCEndpoint", 0)
    functions = Template.from_stack(tuning.workflow).find_resources("AWS::Lambda::Function").values()
    in_vpc = [function for function in functions if "VpcConfig" in function["Properties"]]
    assert len(in_vpc) > len(functions) / 2, "control functions are in it, too"


def test_a_region_of_another_partition_is_refused(app: App) -> None:
    around = AppStage(app, "China", env=Environment(account="111122223333", region="cn-north-1"))
    with pytest.raises(ConfigurationError, match="env: cn-north-1 is in the partition aws-cn"):
        FineTuning(around, "Tuning", stage="dev")
    with pytest.raises(ConfigurationError, match="env: us-gov-west-1 is in the partition aws-us-gov"):
        FineTuning(app, "Tuning", stage="dev", env=Environment(account="111122223333", region="us-gov-west-1"))


def test_a_bucket_needs_its_key(app: App) -> None:
    assert missing(app, any_platform(app), key=None) == ["key: give the key with which the bucket uploads is encrypted"]


@pytest.mark.parametrize(
    "arn",
    [
        Fn.import_value(Fn.sub("${AWS::StackName}-uploads")),
        Fn.sub("arn:aws:s3:::uploads-${AWS::AccountId}"),
        Fn.select(0, Fn.split(",", Fn.import_value("uploads-of-the-team"))),
        Fn.find_in_map("Buckets", Aws.REGION, "Uploads"),
    ],
    ids=["an export", "a substitution", "an item of a list", "a mapping"],  # the texts of tokens have changing numbers
)
def test_a_bucket_may_be_named_by_any_function_of_cloudformation(app: App, arn: str) -> None:
    stack = Stack(app, "Platform", env=Environment(account="111122223333", region="eu-west-1"))
    key = kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/k")
    uploads = s3.Bucket.from_bucket_attributes(stack, "Uploads", bucket_arn=arn, encryption_key=key)
    tuning = FineTuning(app, "Tuning", stage="alice", profile="dev", key=key, uploads=uploads)
    app.synth()  # which makes references to other stacks imports
    nag = AwsSolutionsChecks().validate_scope(tuning)
    assert [v.rule_name + r.construct_path for v in nag.violations for r in v.violating_resources] == []


def test_what_cannot_be_seen_of_imported_resources_is_one_warning(app: App) -> None:
    env = Environment(account="111122223333", region="eu-west-1")
    stack = Stack(app, "Platform", env=env)
    key = kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/k")
    vpc = ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-1",
        availability_zones=["eu-west-1a", "eu-west-1b"],
        isolated_subnet_ids=["subnet-1", "subnet-2"],
        isolated_subnet_route_table_ids=["rtb-1", "rtb-2"],
    )
    uploads = s3.Bucket.from_bucket_attributes(stack, "Uploads", bucket_name="team-uploads", encryption_key=key)
    tuning = FineTuning(app, "Tuning", stage="alice", profile="dev", vpc=vpc, key=key, uploads=uploads)
    app.synth()
    assert tuning.workflow.region == "eu-west-1"
    (warning,) = [each.data for each in tuning.node.metadata if each.type == "aws:cdk:warning"]
    for words in ("has endpoints", "LogGroupsOfThisStageAlice", "log-group:finetune-alice-*", "keeps versions"):
        assert words in warning
    assert UNSEEN in warning


# Twice, and what others may do


def test_two_stages_in_one_app_share_a_network_a_key_and_a_bucket(app: App) -> None:
    platform = any_platform(app)
    shared = {"vpc": platform.vpc, "key": platform.key, "uploads": platform.uploads}
    stages = [FineTuning(app, name, stage=name, profile="dev", **shared) for name in ("al", "alice")]
    assembly = app.synth()
    names = [stack.stack_name for stack in assembly.stacks]
    assert len(set(names)) == 9
    sids = [
        statement["Sid"]
        for key in Template.from_stack(platform.stack).find_resources("AWS::KMS::Key").values()
        for statement in key["Properties"]["KeyPolicy"]["Statement"]
        if "Sid" in statement
    ]
    assert len(sids) == len(set(sids)) == 4
    assert [each.config.prefix for each in stages] == ["finetune-al", "finetune-alice"]


def test_a_key_that_denies_the_other_stage_its_data_is_not_shared(app: App) -> None:
    """The statement of `data_readers` denies decrypting to all roles but those of its own stage and the readers."""
    platform = any_platform(app)
    reader = "arn:aws:iam::111122223333:role/Audit"
    for name, readers in (("al", reader), ("alice", "")):
        FineTuning(app, name, stage=name, profile="dev", key=platform.key, data_readers=readers)
    with pytest.raises(RuntimeError, match="key: a stage with data_readers shares it, and denies decrypting") as error:
        app.synth()
    assert "[alice]" in str(error.value)
    assert "[al]" not in str(error.value)


@pytest.fixture
def granted(app: App) -> tuple[FineTuning, Stack, iam.Role]:
    tuning = FineTuning(app, "Tuning", stage="dev")
    stack = Stack(app, "Application")
    return tuning, stack, iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))


def actions_of(stack: Stack) -> set[str]:
    (policy,) = Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    found: set[str] = set()
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        action = statement["Action"]
        found |= {action} if isinstance(action, str) else set(action)
    return found


def test_grants_allow_what_they_say_and_nothing_else(granted: tuple[FineTuning, Stack, iam.Role]) -> None:
    tuning, stack, role = granted
    assert tuning.grant_submit(role).success
    submit = {"s3:PutObject", "s3:AbortMultipartUpload", "kms:GenerateDataKey", "kms:Decrypt"}
    assert tuning.grant_invoke(role).success
    invoke = {"sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream", "sagemaker:CallWithBearerToken"}
    assert tuning.grant_approve(role).success
    approve = {"s3:GetObject", "s3:ListBucket", "states:SendTaskSuccess", "states:SendTaskFailure"}
    assert actions_of(stack) == submit | invoke | approve


def test_a_rule_and_a_metric_follow_the_runs(granted: tuple[FineTuning, Stack, iam.Role]) -> None:
    tuning, stack, _ = granted
    tuning.on_run_ended(events.Rule(stack, "Ended"))
    tuning.metric_runs_failed().create_alarm(stack, "Failed", threshold=1, evaluation_periods=1)
    template = Template.from_stack(stack)
    machine = Match.object_like({"Fn::ImportValue": Match.string_like_regexp("Workflow")})
    pattern = {"source": ["aws.states"], "detail": {"status": Match.any_value(), "stateMachineArn": [machine]}}
    template.has_resource_properties("AWS::Events::Rule", {"EventPattern": Match.object_like(pattern)})
    template.has_resource_properties("AWS::CloudWatch::Alarm", {"MetricName": "ExecutionsFailed"})
