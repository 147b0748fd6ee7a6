"""Each weakening of prod's templates breaks the rule that covers it; unchanged, the templates break none."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.infra.rules import RULES, broken
from tests.infra.synthesis import Synthesised

Resource = dict[str, Any]
Resources = dict[str, Resource]
Mutation = Callable[[Resources], None]


@pytest.fixture(scope="module")
def strong(importing: Synthesised) -> list[dict[str, Any]]:
    return [template.to_json() for template in importing.templates.values()]


def of(resources: Resources, type: str, containing: str = "") -> Resource:
    """A resource of the type whose properties contain the text."""
    return next(each for each in every(resources, type) if containing in json.dumps(each["Properties"]))


def every(resources: Resources, type: str) -> Iterator[Resource]:
    yield from (each for each in resources.values() if each["Type"] == type)


def statement(resources: Resources, action: str) -> dict[str, Any]:
    """A statement of a role's policy that allows the action."""
    return next(
        s
        for policy in every(resources, "AWS::IAM::ManagedPolicy")
        for s in policy["Properties"]["PolicyDocument"]["Statement"]
        if action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    )


def setting(type: str, path: str, value: Any, containing: str = "") -> Mutation:
    """Sets a property, such as `VersioningConfiguration.Status`; None removes it."""

    def mutate(resources: Resources) -> None:
        at = of(resources, type, containing)["Properties"]
        *way, last = path.split(".")
        for step in way:
            at = at[int(step)] if step.isdigit() else at[step]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return mutate


ALARMS = "arn:aws:cloudwatch:us-east-1:123456789012:alarm"


def granting(action: str, **changes: Any) -> Mutation:
    """Changes the statement that allows the action; None removes an element."""

    def mutate(resources: Resources) -> None:
        found = statement(resources, action)
        for element, value in changes.items():
            if value is None:
                del found[element]
            else:
                found[element] = value

    return mutate


def without_condition(action: str, operator: str, key: str) -> Mutation:
    return lambda resources: statement(resources, action)["Condition"][operator].pop(key)


def also_granting(**element: Any) -> Mutation:
    """One more statement in a function's policy."""
    added = {"Effect": "Allow", "Resource": "arn:aws:s3:::elsewhere/x", **element}
    policies = "AWS::IAM::ManagedPolicy"
    return lambda resources: of(resources, policies)["Properties"]["PolicyDocument"]["Statement"].append(added)


def granting_to_bedrock(action: str, resource: str) -> Mutation:
    """Allows the role for imports one more action."""

    def mutate(resources: Resources) -> None:
        policy = next(each for id, each in resources.items() if id.startswith("ImportRolePermissions"))
        policy["Properties"]["PolicyDocument"]["Statement"] += [
            {"Effect": "Allow", "Action": action, "Resource": resource}
        ]

    return mutate


def opening(type: str, document: str, **element: Any) -> Mutation:
    """One more statement in a resource's own policy."""
    added = {"Effect": "Allow", "Action": "*", "Resource": "*", **element}
    return lambda resources: of(resources, type)["Properties"][document]["Statement"].append(added)


def without_tls_in(type: str) -> Mutation:
    def mutate(resources: Resources) -> None:
        document = of(resources, type)["Properties"]["PolicyDocument"]
        document["Statement"] = [s for s in document["Statement"] if s["Effect"] != "Deny"]

    return mutate


def removing(type: str, containing: str = "") -> Mutation:
    def mutate(resources: Resources) -> None:
        found = of(resources, type, containing)
        del resources[next(id for id, each in resources.items() if each is found)]

    return mutate


def adding(type: str, **properties: Any) -> Mutation:
    return lambda resources: resources.update({"Added": {"Type": type, "Properties": properties}})


def definition(change: Callable[[dict[str, Any]], None]) -> Mutation:
    def mutate(resources: Resources) -> None:
        machine = of(resources, "AWS::StepFunctions::StateMachine")["Properties"]
        parsed = json.loads(machine["DefinitionString"])
        change(parsed)
        machine["DefinitionString"] = json.dumps(parsed)

    return mutate


def deleted_with_its_stack(type: str) -> Mutation:
    return lambda resources: of(resources, type).update(DeletionPolicy="Delete")


def trusting(service: str, **changes: Any) -> Mutation:
    def mutate(resources: Resources) -> None:
        trust = of(resources, ROLE, f"{service}.amazonaws.com")["Properties"]["AssumeRolePolicyDocument"]["Statement"][
            0
        ]
        trust.update(changes)

    return mutate


BUCKET, KEY, FUNCTION, ROLE = "AWS::S3::Bucket", "AWS::KMS::Key", "AWS::Lambda::Function", "AWS::IAM::Role"
BUCKET_POLICY, TOPIC, QUEUE = "AWS::S3::BucketPolicy", "AWS::SNS::Topic", "AWS::SQS::Queue"
LOGS, ENDPOINT, MACHINE = "AWS::Logs::LogGroup", "AWS::EC2::VPCEndpoint", "AWS::StepFunctions::StateMachine"
GROUP, RULE, ALARM = "AWS::EC2::SecurityGroup", "AWS::Events::Rule", "AWS::CloudWatch::Alarm"
ANYWHERE = {"CidrIp": "0.0.0.0/0", "IpProtocol": "-1"}
DATA = "LoggingConfiguration"
"""What only buckets with data have in their properties."""
ELSEWHERE = {"AWS": "arn:aws:iam::222233334444:root"}
ONE_ROLE = {"Fn::Join": ["", ["arn:aws:iam::222233334444:role/finetune-prod-promotion-", {"Ref": "AWS::Region"}]]}
BY_ONE_ROLE = {"ArnEquals": {"aws:PrincipalArn": ONE_ROLE}}
"""As the role that promotes models is named; the statements are weak in something else."""
A_MODEL = {"Fn::Join": ["", [{"Fn::GetAtt": ["Artifacts82DD59A1", "Arn"]}, "/runs/*/release.json"]]}

MUTATIONS: dict[str, tuple[int, Mutation]] = {
    "a bucket without encryption": (1, setting(BUCKET, "BucketEncryption", None)),
    "a bucket with S3's own key": (
        1,
        setting(
            BUCKET,
            "BucketEncryption.ServerSideEncryptionConfiguration",
            [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}],
            DATA,
        ),
    ),
    "a public bucket": (2, setting(BUCKET, "PublicAccessBlockConfiguration.BlockPublicPolicy", False)),
    "a bucket without a block on public access": (2, setting(BUCKET, "PublicAccessBlockConfiguration", None)),
    "a bucket without versions": (3, setting(BUCKET, "VersioningConfiguration", None)),
    "a bucket that keeps old versions forever": (
        3,
        setting(BUCKET, "LifecycleConfiguration.Rules.0.NoncurrentVersionExpiration", None),
    ),
    "a bucket deleted with its stack": (4, deleted_with_its_stack(BUCKET)),
    "a key deleted with its stack": (4, deleted_with_its_stack(KEY)),
    "a log group deleted with its stack": (4, deleted_with_its_stack(LOGS)),
    "buckets emptied when the stacks are destroyed": (4, setting("Custom::RunRemoval", "EmptyBuckets", ["uploads"])),
    "a bucket without access logs": (5, setting(BUCKET, DATA, None, DATA)),
    "a bucket that accepts plain HTTP": (6, without_tls_in(BUCKET_POLICY)),
    "a bucket without a policy": (6, removing(BUCKET_POLICY)),
    "a bucket open to everyone": (7, opening(BUCKET_POLICY, "PolicyDocument", Principal="*")),
    "a bucket open to a service of any account": (
        7,
        opening(BUCKET_POLICY, "PolicyDocument", Principal={"Service": "logging.s3.amazonaws.com"}),
    ),
    "a bucket with an access control list": (8, setting(BUCKET, "AccessControl", "PublicRead")),
    "a rule on every bucket's events": (9, setting(RULE, "EventPattern.detail", None, "aws.s3")),
    "a rule on every key": (9, setting(RULE, "EventPattern.detail.object", None, "aws.s3")),
    "a key that does not rotate": (10, setting(KEY, "EnableKeyRotation", False)),
    "a key open to everyone": (11, opening(KEY, "KeyPolicy", Principal={"AWS": "*"})),
    "a key for CloudWatch of any account": (12, setting(KEY, "KeyPolicy.Statement.2.Condition", None)),
    "a topic for CloudWatch of any account": (
        12,
        opening("AWS::SNS::TopicPolicy", "PolicyDocument", Principal={"Service": "cloudwatch.amazonaws.com"}),
    ),
    "a role that may delete the key": (13, also_granting(Action="kms:ScheduleKeyDeletion")),
    "a role that may change a bucket's policy": (13, also_granting(Action=["s3:GetObject", "s3:PutBucketPolicy"])),
    "a grant on the key for anyone": (14, granting("kms:CreateGrant", Condition=None)),
    "an unencrypted topic": (15, setting(TOPIC, "KmsMasterKeyId", None)),
    "a topic with AWS's key": (15, setting(TOPIC, "KmsMasterKeyId", "alias/aws/sns")),
    "an unencrypted queue": (16, setting(QUEUE, "SqsManagedSseEnabled", False)),
    "a topic that accepts plain HTTP": (16, without_tls_in("AWS::SNS::TopicPolicy")),
    "a role that allows everything": (17, also_granting(Action="*")),
    "a role that allows all of S3": (17, also_granting(Action="s3:*")),
    "a role that allows everything except one action": (17, also_granting(Action=[], NotAction="iam:CreateUser")),
    "a role with full access to SageMaker": (
        18,
        setting(ROLE, "ManagedPolicyArns", ["arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"], "sagemaker"),
    ),
    "an action on every resource": (19, granting("sns:Publish", Resource="*")),
    "an action in every region": (19, granting("cloudwatch:GetMetricStatistics", Condition=None)),
    "any role may be passed": (20, granting("iam:PassRole", Resource="arn:aws:iam::123456789012:role/*")),
    "a role may be passed to any service": (20, granting("iam:PassRole", Condition=None)),
    "jobs in any network": (
        21,
        without_condition("sagemaker:CreateTrainingJob", "ForAllValues:StringEquals", "sagemaker:VpcSubnets"),
    ),
    "jobs in no network": (21, without_condition("sagemaker:CreateTrainingJob", "Null", "sagemaker:VpcSubnets")),
    "models without network isolation": (
        21,
        without_condition("sagemaker:CreateModel", "Bool", "sagemaker:NetworkIsolation"),
    ),
    "jobs on any instance type": (
        22,
        without_condition("sagemaker:CreateTrainingJob", "ForAllValues:StringLike", "sagemaker:InstanceTypes"),
    ),
    "jobs without a maximum run time": (22, granting("sagemaker:CreateTrainingJob", Condition={"Bool": {"x": "true"}})),
    "jobs with any key": (
        22,
        without_condition("sagemaker:CreateTrainingJob", "ArnEquals", "sagemaker:OutputKmsKeyArn"),
    ),
    "jobs with unencrypted traffic": (
        22,
        without_condition("sagemaker:CreateTrainingJob", "Bool", "sagemaker:InterContainerTrafficEncryption"),
    ),
    "endpoints on any instance type": (22, granting("sagemaker:CreateEndpointConfig", Condition=None)),
    "deleting endpoints of any name": (
        23,
        granting("sagemaker:DeleteEndpoint", Resource="arn:aws:sagemaker:eu-west-1:123456789012:endpoint/*"),
    ),
    "a role that events of any account assume": (24, trusting("events", Condition={})),
    "a role that anyone assumes": (24, trusting("lambda", Principal={"AWS": "*"})),
    "jobs that write anywhere in the bucket": (
        25,
        lambda resources: statement(resources, "ecr:BatchGetImage").update(
            Action=["ecr:BatchGetImage", "s3:PutObject"], Resource="arn:aws:s3:::artifacts/*"
        ),
    ),
    "an internet gateway": (26, adding("AWS::EC2::InternetGateway")),
    "a NAT gateway": (26, adding("AWS::EC2::NatGateway", SubnetId="subnet-1")),
    "a route to the internet": (26, adding("AWS::EC2::Route", DestinationCidrBlock="0.0.0.0/0")),
    "a subnet with public addresses": (26, setting("AWS::EC2::Subnet", "MapPublicIpOnLaunch", True)),
    "no flow log": (27, removing("AWS::EC2::FlowLog")),
    "a flow log of rejected traffic only": (27, setting("AWS::EC2::FlowLog", "TrafficType", "REJECT")),
    "no private address for SageMaker": (28, removing(ENDPOINT, "sagemaker.api")),
    "an endpoint without private DNS": (28, setting(ENDPOINT, "PrivateDnsEnabled", False, ".kms")),
    "a subnet without a route to S3": (28, lambda r: of(r, ENDPOINT, "Gateway")["Properties"]["RouteTableIds"].pop()),
    "an endpoint without a policy": (29, setting(ENDPOINT, "PolicyDocument", None, ".sns")),
    "a VPC endpoint for every account": (29, setting(ENDPOINT, "PolicyDocument.Statement.0.Condition", None, ".sns")),
    "an S3 endpoint for every bucket": (29, setting(ENDPOINT, "PolicyDocument.Statement.0.Resource", "*", "Gateway")),
    "no access to JumpStart's buckets": (
        30,
        lambda r: of(r, ENDPOINT, "Gateway")["Properties"]["PolicyDocument"]["Statement"].pop(1),
    ),
    "a group open to inbound traffic": (31, setting(GROUP, "SecurityGroupIngress", [ANYWHERE])),
    "a group open to all outbound traffic": (31, setting(GROUP, "SecurityGroupEgress", [ANYWHERE])),
    "no private address for an imported model": (28, removing(ENDPOINT, "bedrock-runtime")),
    "a group without an outbound rule": (31, setting(GROUP, "SecurityGroupEgress", [], "Lambda functions")),
    "jobs with unreachable containers": (
        32,
        removing("AWS::EC2::SecurityGroupIngress", "Containers of one job"),
    ),
    "a function outside the VPC": (33, setting(FUNCTION, "VpcConfig", None)),
    "a function without traces": (33, setting(FUNCTION, "TracingConfig", None)),
    "a function with an old runtime": (33, setting(FUNCTION, "Runtime", "python3.9")),
    "a function with Lambda's own log group": (33, setting(FUNCTION, "LoggingConfig", None)),
    "a log group without a key": (34, setting(LOGS, "KmsKeyId", None)),
    "a log group without a retention period": (34, setting(LOGS, "RetentionInDays", None)),
    "a token in a function's environment": (
        35,
        setting(FUNCTION, "Environment.Variables.HF_TOKEN", "hf_" + "a1B2c3D4" * 4),
    ),
    "a state machine that logs the data": (
        36,
        setting(MACHINE, "LoggingConfiguration.IncludeExecutionData", True),
    ),
    "a state machine without logs": (36, setting(MACHINE, "LoggingConfiguration", None)),
    "a state machine without a time limit": (36, definition(lambda d: d.pop("TimeoutSeconds"))),
    "a step whose failure is not caught": (37, definition(lambda d: d["States"]["StartTraining"].pop("Catch"))),
    "a step without retries": (37, definition(lambda d: d["States"]["StartTraining"].pop("Retry"))),
    "a trigger without a dead-letter queue": (40, setting(RULE, "Targets.0.DeadLetterConfig", None)),
    "a trigger without retries": (40, setting(RULE, "Targets.0.RetryPolicy", None)),
    "a trigger that may start every workflow": (
        40,
        granting("states:StartExecution", Resource="arn:aws:states:eu-west-1:123456789012:stateMachine:*"),
    ),
    "an alarm without a notification": (41, setting(ALARM, "AlarmActions", None)),
    "no alarm on failed runs": (41, removing(ALARM, "ExecutionsFailed")),
    "a finding acknowledged without a reason": (
        42,
        lambda resources: of(resources, BUCKET).update(
            Metadata={"cdk_nag": {"rules_to_suppress": [{"id": "AwsSolutions-S1", "reason": "n/a"}]}}
        ),
    ),
    "a function without a dead-letter queue": (43, setting(FUNCTION, "DeadLetterConfig", None)),
    "a function with its environment under Lambda's key": (44, setting(FUNCTION, "KmsKeyArn", None)),
    "any alarm may be set": (45, granting("cloudwatch:PutMetricAlarm", Resource=f"{ALARMS}:*")),
    "every endpoint's alarms may be deleted": (
        45,
        also_granting(Action="cloudwatch:DeleteAlarms", Resource=f"{ALARMS}:TargetTracking-endpoint/*"),
    ),
    "events of any source": (46, without_condition("events:PutEvents", "StringEquals", "events:source")),
    "events to any bus": (46, granting("events:PutEvents", Resource="arn:aws:events:*:*:event-bus/*")),
    "imports without the stage's tag": (47, granting("bedrock:CreateModelImportJob", Condition={})),
    "any imported model may be asked": (47, granting("bedrock:InvokeModel", Condition={})),
    "models of every stage may be deleted": (
        47,
        granting(
            "bedrock:DeleteImportedModel",
            Condition={"StringEquals": {"aws:ResourceTag/finetune:created-by": "*"}},
        ),
    ),
    "a role that Bedrock assumes for anything": (
        48,
        trusting("bedrock", Condition={"StringEquals": {"aws:SourceAccount": "123456789012"}}),
    ),
    "a role with which Bedrock reads every file": (48, granting_to_bedrock("s3:GetObject", "arn:aws:s3:::b/*")),
    "any model may judge": (
        49,
        also_granting(Action="bedrock:InvokeModel", Resource="arn:aws:bedrock:us-east-1::foundation-model/amazon.*"),
    ),
    "a judge may be called in any region without its profile": (
        49,
        also_granting(
            Action="bedrock:InvokeModel", Resource="arn:aws:bedrock:*::foundation-model/amazon.nova-pro-v1:0"
        ),
    ),
    "a bucket to which another account writes": (
        50,
        opening(BUCKET_POLICY, "PolicyDocument", Principal=ELSEWHERE, Action="s3:PutObject", Condition=BY_ONE_ROLE),
    ),
    "a bucket that another account reads whole": (
        50,
        opening(BUCKET_POLICY, "PolicyDocument", Principal=ELSEWHERE, Action="s3:GetObject", Condition=BY_ONE_ROLE),
    ),
    "a bucket that every role of another account reads": (
        50,
        opening(BUCKET_POLICY, "PolicyDocument", Principal=ELSEWHERE, Action="s3:GetObject", Resource=A_MODEL),
    ),
    "a key with which another account decrypts anything": (
        50,
        opening(KEY, "KeyPolicy", Principal=ELSEWHERE, Action="kms:Decrypt", Condition=BY_ONE_ROLE),
    ),
    "a role with which Bedrock writes": (48, granting_to_bedrock("s3:PutObject", "arn:aws:s3:::b/runs/*/training/*")),
}


@pytest.mark.parametrize(("number", "mutate"), MUTATIONS.values(), ids=MUTATIONS.keys())
def test_a_weaker_template_breaks_its_rule(strong: list[dict[str, Any]], number: int, mutate: Mutation) -> None:
    weak = copy.deepcopy(strong)
    resources = {id: resource for template in weak for id, resource in template["Resources"].items()}
    known = set(resources)
    mutate(resources)
    for template in weak:
        template["Resources"] = {id: each for id, each in template["Resources"].items() if id in resources}
    weak[0]["Resources"] |= {id: each for id, each in resources.items() if id not in known}
    assert number in broken(weak)


def test_every_rule_is_broken_by_a_mutation() -> None:
    assert {rule.number for rule in RULES} == {number for number, _ in MUTATIONS.values()}
