"""The security rules of the templates, as functions that name the resources that break them.

They check types, properties and relations, never logical ids, so that they apply to new resources. docs/security.md
lists them; test_security.py checks both stages, test_mutations.py shows that each rule can fail.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Properties = dict[str, Any]
Statement = dict[str, Any]
Offenders = Iterable[str]

SERVICES_OF_ROLES = ("sagemaker", "bedrock", "states", "events", "scheduler", "pipes", "vpc-flow-logs")
BINDS_A_SERVICE = {"aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid", "kms:viaservice"}
UNNAMEABLE = re.compile(
    r"ec2:Describe\w+|ecr:GetAuthorizationToken|xray:\w+|sagemaker:List\w+"
    r"|logs:(Create|Get|Update|Delete|List)LogDeliver(y|ies)|logs:(PutResourcePolicy|Describe(ResourcePolicies|LogGroups))"
)
"""Actions without resource-level permissions (Service Authorization Reference): they require `*`."""
PRIVATE_APIS = ("sagemaker.api", "sagemaker.runtime", "logs", "monitoring", "kms", "sns", "states", "servicequotas")
OF_AWS = re.compile(r":(foundation-model|inference-profile)/")
"""Models and profiles in Bedrock that are AWS's, not the stage's."""
BEDROCK_APIS = ("bedrock", "bedrock-runtime")
"""Called by a stage that may import models, or lets models judge."""
SECRET = re.compile(
    r"(AKIA|ASIA)[A-Z0-9]{16}|\bhf_[A-Za-z0-9]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:password|secret|token)\w*\W{1,4}[A-Za-z0-9/+]{20,}"
)


@dataclass(frozen=True)
class Rule:
    """One sentence, and the function that finds what breaks it."""

    number: int
    sentence: str
    offenders: Callable[["Deployed"], Offenders]

    def __str__(self) -> str:
        return f"{self.number:02d}"


RULES: list[Rule] = []


def rule(
    number: int, sentence: str
) -> Callable[[Callable[["Deployed"], Offenders]], Callable[["Deployed"], Offenders]]:
    def add(offenders: Callable[["Deployed"], Offenders]) -> Callable[["Deployed"], Offenders]:
        RULES.append(Rule(number, sentence, offenders))
        return offenders

    return add


def broken(templates: Iterable[Mapping[str, Any]]) -> dict[int, list[str]]:
    """The offenders of each broken rule, by its number."""
    deployed = Deployed(templates)
    found = {each.number: sorted(set(each.offenders(deployed))) for each in RULES}
    return {number: offenders for number, offenders in found.items() if offenders}


class Deployed:
    """The templates of a stage as one, with references written as text: `<LogicalId>`, `<LogicalId.Arn>`."""

    def __init__(self, templates: Iterable[Mapping[str, Any]]) -> None:
        self._exports: dict[str, Any] = {}
        self.resources: dict[str, dict[str, Any]] = {}
        for template in templates:
            for output in template.get("Outputs", {}).values():
                if "Export" in output:
                    self._exports[output["Export"]["Name"]] = output["Value"]
            assert not self.resources.keys() & template["Resources"].keys(), "two stacks share a logical id"
            self.resources |= template["Resources"]

    def of(self, *types: str) -> dict[str, Properties]:
        """Properties of the resources of these types, by logical id."""
        return {id: self._properties[id] for id, resource in self.resources.items() if resource["Type"] in types}

    @cached_property
    def _properties(self) -> dict[str, Properties]:
        return {id: self._plain(resource.get("Properties", {})) for id, resource in self.resources.items()}

    def _plain(self, value: Any) -> Any:
        match value:
            case {"Ref": name}:
                return f"<{name}>"
            case {"Fn::GetAtt": [resource, attribute]}:
                return f"<{resource}.{attribute}>"
            case {"Fn::Join": [delimiter, items]}:
                return str(delimiter).join(map(str, self._plain(items)))
            case {"Fn::Split": [delimiter, text]}:
                return str(self._plain(text)).split(delimiter)
            case {"Fn::ImportValue": name}:
                return self._plain(self._exports[name])
            case dict():
                return {key: self._plain(item) for key, item in value.items()}
            case list():
                return [self._plain(item) for item in value]
        return value

    @cached_property
    def buckets(self) -> dict[str, Properties]:
        return self.of("AWS::S3::Bucket")

    @cached_property
    def log_buckets(self) -> set[str]:
        """Those that receive other buckets' access logs."""
        targets = [
            bucket.get("LoggingConfiguration", {}).get("DestinationBucketName") for bucket in self.buckets.values()
        ]
        return {id for id in self.buckets if f"<{id}>" in targets}

    @cached_property
    def roles(self) -> dict[str, Properties]:
        return self.of("AWS::IAM::Role")

    def granted(self, *actions: str) -> Iterator[tuple[str, Statement]]:
        """The allowing statements of roles' policies, each with its policy's id: those that allow an action, or all."""
        policies = self.of("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::RolePolicy")
        documents = [(id, policy["PolicyDocument"]) for id, policy in policies.items()]
        documents += [(id, p["PolicyDocument"]) for id, role in self.roles.items() for p in role.get("Policies", [])]
        for id, document in documents:
            for statement in document["Statement"]:
                if statement["Effect"] == "Allow" and (not actions or any(allows(statement, a) for a in actions)):
                    yield id, statement

    def policies_of(self, role: str) -> set[str]:
        """The ids of the policies that a role of this stage has."""
        attached = {arn.strip("<>") for arn in self.roles[role].get("ManagedPolicyArns", [])}
        inline = [id for id, p in self.of("AWS::IAM::Policy").items() if f"<{role}>" in p.get("Roles", [])]
        return {role, *attached, *inline}

    def opened(self, *types: str) -> Iterator[tuple[str, Statement]]:
        """Every statement of a resource's own policy, with the id of the resource that has it."""
        for id, properties in self.of(*types).items():
            document = properties.get("PolicyDocument", properties.get("KeyPolicy", {}))
            for statement in document.get("Statement", []):
                yield id, statement

    @cached_property
    def machines(self) -> dict[str, dict[str, Any]]:
        return {
            id: json.loads(machine["DefinitionString"])
            for id, machine in self.of("AWS::StepFunctions::StateMachine").items()
        }

    def security_group_rules(self, direction: str) -> Iterator[tuple[str, Properties]]:
        """The rules of each security group, `Ingress` or `Egress`, inline or separate."""
        for id, group in self.of("AWS::EC2::SecurityGroup").items():
            yield from ((id, each) for each in group.get(f"SecurityGroup{direction}", []))
        for each in self.of(f"AWS::EC2::SecurityGroup{direction}").values():
            yield each["GroupId"].strip("<>").partition(".")[0], each


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def allows(statement: Statement, action: str) -> bool:
    patterns = (re.escape(str(each)).replace(r"\*", ".*") for each in listed(statement.get("Action")))
    return any(re.fullmatch(pattern, action, re.IGNORECASE) for pattern in patterns)


def keys_of(statement: Statement) -> set[str]:
    """The condition keys of a statement, in lower case."""
    return {key.lower() for keys in statement.get("Condition", {}).values() for key in keys}


def is_anyone(principal: Any) -> bool:
    return principal == "*" or (isinstance(principal, dict) and "*" in listed(principal.get("AWS")))


def services(principal: Any) -> list[str]:
    return listed(principal.get("Service")) if isinstance(principal, dict) else []


# --- data at rest -----------------------------------------------------------------------------------------------------


@rule(1, "Every bucket is encrypted with a key of the stage; one that receives access logs may use S3's own")
def _(stage: Deployed) -> Offenders:
    for id, bucket in stage.buckets.items():
        rules = bucket.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [])
        defaults = [each["ServerSideEncryptionByDefault"] for each in rules]
        keys = {f"<{key}.Arn>" for key in stage.of("AWS::KMS::Key")}
        if not defaults or any(d.get("KMSMasterKeyID") not in keys for d in defaults if id not in stage.log_buckets):
            yield id


@rule(2, "Every bucket blocks all four kinds of public access")
def _(stage: Deployed) -> Offenders:
    kinds = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    for id, bucket in stage.buckets.items():
        if not all(bucket.get("PublicAccessBlockConfiguration", {}).get(kind) is True for kind in kinds):
            yield id


@rule(3, "Every bucket is versioned; old versions and unfinished uploads expire")
def _(stage: Deployed) -> Offenders:
    for id, bucket in stage.buckets.items():
        rules = [r for r in bucket.get("LifecycleConfiguration", {}).get("Rules", []) if r["Status"] == "Enabled"]
        expire = {key for each in rules for key in each}
        versioned = bucket.get("VersioningConfiguration", {}).get("Status") == "Enabled"
        if not versioned or not {"NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"} <= expire:
            yield id


@rule(4, "No bucket, key or log group is deleted with its stack, and nothing empties a bucket")
def _(stage: Deployed) -> Offenders:
    for id, resource in stage.resources.items():
        if resource["Type"] in ("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::Logs::LogGroup"):
            if resource.get("DeletionPolicy") != "Retain":
                yield id
        elif resource["Type"] == "Custom::S3AutoDeleteObjects" or resource.get("Properties", {}).get("EmptyBuckets"):
            yield id


@rule(5, "Every bucket logs its accesses, except the one that receives the logs")
def _(stage: Deployed) -> Offenders:
    return [id for id, b in stage.buckets.items() if id not in stage.log_buckets and "LoggingConfiguration" not in b]


@rule(6, "Every bucket denies requests without TLS, for itself and its objects")
def _(stage: Deployed) -> Offenders:
    policies = stage.of("AWS::S3::BucketPolicy").values()
    for id in stage.buckets:
        statements = [s for p in policies if p["Bucket"] == f"<{id}>" for s in p["PolicyDocument"]["Statement"]]
        if not any(
            _refuses_plain_http(statement) and {f"<{id}.Arn>", f"<{id}.Arn>/*"} <= set(listed(statement["Resource"]))
            for statement in statements
        ):
            yield id


def _refuses_plain_http(statement: Statement) -> bool:
    insecure = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
    return statement["Effect"] == "Deny" and str(insecure).lower() == "false" and is_anyone(statement["Principal"])


@rule(7, "No bucket policy allows access without limiting the account, the organisation or the source")
def _(stage: Deployed) -> Offenders:
    bound = {"aws:sourceaccount", "aws:sourcearn", "aws:principalaccount", "aws:principalorgid"}
    for id, statement in stage.opened("AWS::S3::BucketPolicy"):
        stranger = is_anyone(statement["Principal"]) or services(statement["Principal"])
        if statement["Effect"] == "Allow" and stranger and not keys_of(statement) & bound:
            yield id


@rule(8, "No bucket uses access control lists")
def _(stage: Deployed) -> Offenders:
    for id, bucket in stage.buckets.items():
        owners = [each.get("ObjectOwnership") for each in bucket.get("OwnershipControls", {}).get("Rules", [])]
        if "AccessControl" in bucket or any(owner != "BucketOwnerEnforced" for owner in owners):
            yield id


@rule(9, "Bucket events reach EventBridge, and their rules are limited to one bucket and to keys")
def _(stage: Deployed) -> Offenders:
    if not any("EventBridgeConfiguration" in b.get("NotificationConfiguration", {}) for b in stage.buckets.values()):
        yield "no bucket sends events"
    for id, each in stage.of("AWS::Events::Rule").items():
        pattern = each.get("EventPattern", {})
        detail = pattern.get("detail", {})
        limited = detail.get("bucket", {}).get("name") and detail.get("object", {}).get("key")
        if "aws.s3" in pattern.get("source", []) and not (limited and pattern.get("detail-type")):
            yield id


# --- keys, topics and queues ------------------------------------------------------------------------------------------


@rule(10, "Key rotation is enabled for every key")
def _(stage: Deployed) -> Offenders:
    return [id for id, key in stage.of("AWS::KMS::Key").items() if key.get("EnableKeyRotation") is not True]


@rule(11, "No key is open to everyone")
def _(stage: Deployed) -> Offenders:
    bound = {"kms:calleraccount", "aws:principalorgid", "aws:principalaccount", "aws:sourceaccount"}
    for id, statement in stage.opened("AWS::KMS::Key"):
        if statement["Effect"] == "Allow" and is_anyone(statement["Principal"]) and not keys_of(statement) & bound:
            yield id


@rule(12, "A service allowed by a key, topic or queue policy acts for this account only")
def _(stage: Deployed) -> Offenders:
    for id, statement in stage.opened("AWS::KMS::Key", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy"):
        keys = keys_of(statement)
        bound = keys & BINDS_A_SERVICE or any(key.startswith("kms:encryptioncontext:") for key in keys)
        if statement["Effect"] == "Allow" and services(statement["Principal"]) and not bound:
            yield id


@rule(13, "No role administers keys or changes the protection of buckets")
def _(stage: Deployed) -> Offenders:
    actions = (
        *("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:DisableKeyRotation"),
        *("s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:DeleteBucket", "s3:PutBucketPublicAccessBlock"),
        *("s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration", "s3:PutBucketVersioning"),
    )
    return [id for id, _ in stage.granted(*actions)]


@rule(14, "Key grants are created only for AWS resources")
def _(stage: Deployed) -> Offenders:
    for id, statement in stage.granted("kms:CreateGrant"):
        if not keys_of(statement) & {"kms:grantisforawsresource", "kms:viaservice"}:
            yield id


@rule(15, "Every topic is encrypted with a key of the stage")
def _(stage: Deployed) -> Offenders:
    keys = [key for id in stage.of("AWS::KMS::Key") for key in (f"<{id}.Arn>", f"<{id}>")]
    return [id for id, topic in stage.of("AWS::SNS::Topic").items() if topic.get("KmsMasterKeyId") not in keys]


@rule(16, "Every queue is encrypted; topics and queues deny requests without TLS")
def _(stage: Deployed) -> Offenders:
    for id, queue in stage.of("AWS::SQS::Queue").items():
        if queue.get("SqsManagedSseEnabled") is not True and "KmsMasterKeyId" not in queue:
            yield id
    policies = [
        *((p["PolicyDocument"], set(p["Topics"])) for p in stage.of("AWS::SNS::TopicPolicy").values()),
        *((p["PolicyDocument"], set(p["Queues"])) for p in stage.of("AWS::SQS::QueuePolicy").values()),
    ]
    for id in stage.of("AWS::SNS::Topic", "AWS::SQS::Queue"):
        if not any(
            f"<{id}>" in guarded and any(map(_refuses_plain_http, document["Statement"]))
            for document, guarded in policies
        ):
            yield id


# --- roles ------------------------------------------------------------------------------------------------------------


@rule(17, "No role allows all actions, `NotAction`, or all actions of a service")
def _(stage: Deployed) -> Offenders:
    for id, statement in stage.granted():
        whole = any(str(action).split(":")[-1] == "*" for action in listed(statement.get("Action")))
        if whole or "NotAction" in statement or "NotResource" in statement:
            yield id


@rule(18, "No role has an AWS managed policy, except those that Lambda itself needs")
def _(stage: Deployed) -> Offenders:
    for id, role in stage.roles.items():
        for policy in role.get("ManagedPolicyArns", []):
            if ":iam::aws:policy/" in policy and not re.search(r"service-role/AWSLambda\w+ExecutionRole$", policy):
                yield id


@rule(19, "A resource is `*` only for actions without resource-level permissions, or with a condition")
def _(stage: Deployed) -> Offenders:
    for id, statement in stage.granted():
        nameless = all(UNNAMEABLE.fullmatch(str(action)) for action in listed(statement["Action"]))
        if "*" in listed(statement.get("Resource")) and not statement.get("Condition") and not nameless:
            yield id


@rule(20, "A role is passed by its ARN, and to a named service")
def _(stage: Deployed) -> Offenders:
    for id, statement in stage.granted("iam:PassRole"):
        named = all(re.fullmatch(r"<\w+\.Arn>", str(role)) for role in listed(statement["Resource"]))
        if not named or "iam:passedtoservice" not in keys_of(statement):
            yield id


@rule(21, "Jobs and models are created only in the stage's subnets and security groups, with network isolation")
def _(stage: Deployed) -> Offenders:
    return [
        id
        for id, statement in stage.granted("sagemaker:CreateTrainingJob", "sagemaker:CreateModel")
        if not _only(statement, "sagemaker:VpcSubnets", "sagemaker:VpcSecurityGroupIds")
        or statement["Condition"].get("Bool", {}).get("sagemaker:NetworkIsolation") != "true"
    ]


def _only(statement: Statement, *keys: str) -> bool:
    """Whether the statement allows only listed values for these keys, and no request without them."""
    condition = statement.get("Condition", {})
    listed_keys = {
        key for operator, values in condition.items() if operator.startswith("ForAllValues:") for key in values
    }
    present = {key for key, value in condition.get("Null", {}).items() if value == "false"}
    return set(keys) <= listed_keys & present


@rule(22, "Jobs use the stage's key, listed instance types, encrypted traffic and a maximum run time")
def _(stage: Deployed) -> Offenders:
    for id, statement in stage.granted("sagemaker:CreateTrainingJob"):
        condition = statement.get("Condition", {})
        held = (
            _only(statement, "sagemaker:InstanceTypes")
            and "sagemaker:OutputKmsKeyArn" in condition.get("ArnEquals", {})
            and "sagemaker:MaxRuntimeInSeconds" in condition.get("NumericLessThanEquals", {})
            and condition.get("Bool", {}).get("sagemaker:InterContainerTrafficEncryption") == "true"
        )
        if not held or keys_of(statement) & {"sagemaker:outputkmskey", "sagemaker:volumekmskey"}:
            yield id
    for id, statement in stage.granted("sagemaker:CreateEndpointConfig"):
        if not _only(statement, "sagemaker:InstanceTypes"):
            yield id


@rule(23, "SageMaker resources are created, changed, invoked and deleted only under the stage's prefix")
def _(stage: Deployed) -> Offenders:
    for id, statement in stage.granted():
        changes = any(
            re.match(r"sagemaker:(Create|Delete|Stop|Update|Invoke|AddTags)", a) for a in listed(statement["Action"])
        )
        if changes and not all(re.search(r"/finetune-\w+-\*$", str(r)) for r in listed(statement["Resource"])):
            yield id


@rule(24, "Roles are assumed only by services acting for this account")
def _(stage: Deployed) -> Offenders:
    for id, role in stage.roles.items():
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            names = [str(service).split(".")[0] for service in services(statement["Principal"])]
            unbound = not keys_of(statement) & {"aws:sourceaccount", "aws:sourcearn"}
            if not names or (unbound and set(names) & set(SERVICES_OF_ROLES)):
                yield id


WRITTEN_BY_JOBS = ("/runs/*/training/*", "/runs/*/capture/*")


@rule(25, "SageMaker jobs create nothing, pass no role, and write only training output and captured calls")
def _(stage: Deployed) -> Offenders:
    for role, properties in stage.roles.items():
        if "sagemaker.amazonaws.com" not in json.dumps(properties["AssumeRolePolicyDocument"]):
            continue
        for id, statement in stage.granted():
            if id not in stage.policies_of(role):
                continue
            actions = [str(action) for action in listed(statement["Action"])]
            writes = any(allows(statement, action) for action in ("s3:PutObject", "s3:DeleteObject"))
            if any(re.match(r"sagemaker:(Create|Update|Delete)|iam:|sts:AssumeRole", action) for action in actions) or (
                writes and not all(str(r).endswith(WRITTEN_BY_JOBS) for r in listed(statement["Resource"]))
            ):
                yield id


# --- network ----------------------------------------------------------------------------------------------------------


@rule(26, "There is no route to the internet")
def _(stage: Deployed) -> Offenders:
    gateways = ("InternetGateway", "NatGateway", "EgressOnlyInternetGateway", "EIP", "TransitGatewayAttachment")
    yield from stage.of(*(f"AWS::EC2::{kind}" for kind in gateways))
    yield from (id for id, subnet in stage.of("AWS::EC2::Subnet").items() if subnet.get("MapPublicIpOnLaunch") is True)
    for id, route in stage.of("AWS::EC2::Route").items():
        if route.get("DestinationCidrBlock") == "0.0.0.0/0" or route.get("DestinationIpv6CidrBlock") == "::/0":
            yield id


@rule(27, "The network spans two or more zones, and every connection is logged")
def _(stage: Deployed) -> Offenders:
    zones = {json.dumps(subnet["AvailabilityZone"]) for subnet in stage.of("AWS::EC2::Subnet").values()}
    if len(zones) < 2 or any("dummy" in zone for zone in zones):
        yield "the subnets' zones"
    logged = [log["ResourceId"] for log in stage.of("AWS::EC2::FlowLog").values() if log.get("TrafficType") == "ALL"]
    yield from (id for id in stage.of("AWS::EC2::VPC") if f"<{id}>" not in logged)


@rule(28, "Every API that is called has a private address, and S3 is reachable from every subnet")
def _(stage: Deployed) -> Offenders:
    endpoints = stage.of("AWS::EC2::VPCEndpoint").values()
    private = [e["ServiceName"] for e in endpoints if e.get("PrivateDnsEnabled") is True]
    calls_bedrock = any(stage.granted("bedrock:CreateModelImportJob", "bedrock:GetFoundationModel"))
    called = (*PRIVATE_APIS, *(BEDROCK_APIS if calls_bedrock else ()))
    yield from (api for api in called if f"com.amazonaws.<AWS::Region>.{api}" not in private)
    reached = {table for e in endpoints if e["VpcEndpointType"] == "Gateway" for table in e["RouteTableIds"]}
    yield from (id for id in stage.of("AWS::EC2::RouteTable") if f"<{id}>" not in reached)


@rule(29, "Every VPC endpoint has a policy that limits resources or principals")
def _(stage: Deployed) -> Offenders:
    for id, endpoint in stage.of("AWS::EC2::VPCEndpoint").items():
        statements = endpoint.get("PolicyDocument", {}).get("Statement", [])
        if not statements or any("*" in listed(s["Resource"]) and not s.get("Condition") for s in statements):
            yield id


@rule(30, "The S3 endpoint also allows JumpStart's buckets")
def _(stage: Deployed) -> Offenders:
    needed = ("jumpstart-cache-prod-", "jumpstart-private-cache-prod-", "starport-layer-bucket")
    for id, endpoint in stage.of("AWS::EC2::VPCEndpoint").items():
        text = json.dumps(endpoint.get("PolicyDocument"))
        if endpoint["VpcEndpointType"] == "Gateway" and not all(name in text for name in needed):
            yield id


@rule(31, "No security group allows inbound traffic from anywhere or all outbound traffic")
def _(stage: Deployed) -> Offenders:
    def is_the_world(each: Properties) -> bool:
        return each.get("CidrIp") == "0.0.0.0/0" or each.get("CidrIpv6") == "::/0"

    yield from (id for id, each in stage.security_group_rules("Ingress") if is_the_world(each))
    leaving = list(stage.security_group_rules("Egress"))
    yield from (
        id for id, each in leaving if is_the_world(each) and (each["IpProtocol"], each.get("ToPort")) != ("tcp", 443)
    )
    # A group without any rule of this kind gets AWS's default: everything out.
    yield from stage.of("AWS::EC2::SecurityGroup").keys() - {id for id, _ in leaving}


@rule(32, "Jobs reach S3 and each other")
def _(stage: Deployed) -> Offenders:
    values = [
        s.get("Condition", {}).get("ForAllValues:StringEquals", {}) for _, s in stage.granted("sagemaker:CreateModel")
    ]
    groups = {str(id) for each in values for id in listed(each.get("sagemaker:VpcSecurityGroupIds"))}
    for group in groups:
        id = group.strip("<>").partition(".")[0]
        out = [each for owner, each in stage.security_group_rules("Egress") if owner == id]
        into = [
            each.get("SourceSecurityGroupId") for owner, each in stage.security_group_rules("Ingress") if owner == id
        ]
        if group not in into or not any(each.get("ToPort") == 443 and each["IpProtocol"] == "tcp" for each in out):
            yield id


# --- functions, workflow and what is watched --------------------------------------------------------------------------


@rule(33, "Every function has a supported runtime, runs in the VPC, is traced and logs to a group of the stage")
def _(stage: Deployed) -> Offenders:
    """RemoveRuns is the one outside: it waits until the network interfaces of all others are gone."""
    for id, function in stage.of("AWS::Lambda::Function").items():
        if not (
            re.fullmatch(r"python3\.1[2-9]", function.get("Runtime", ""))
            and (function.get("VpcConfig", {}).get("SubnetIds") or function["Handler"].endswith(".remove_runs.handler"))
            and function.get("TracingConfig", {}).get("Mode") == "Active"
            and function.get("LoggingConfig", {}).get("LogGroup")
        ):
            yield id


@rule(34, "Every log group has a retention period and is encrypted with a key of the stage")
def _(stage: Deployed) -> Offenders:
    keys = {f"<{id}.Arn>" for id in stage.of("AWS::KMS::Key")}
    for id, group in stage.of("AWS::Logs::LogGroup").items():
        if not group.get("RetentionInDays") or group.get("KmsKeyId") not in keys:
            yield id


@rule(35, "No template contains a secret")
def _(stage: Deployed) -> Offenders:
    return [id for id, resource in stage.resources.items() if SECRET.search(json.dumps(resource.get("Properties", {})))]


@rule(36, "Every state machine logs all events without data, is traced and has a time limit")
def _(stage: Deployed) -> Offenders:
    for id, machine in stage.of("AWS::StepFunctions::StateMachine").items():
        logs = machine.get("LoggingConfiguration", {})
        logged = logs.get("Level") == "ALL" and logs.get("Destinations") and logs.get("IncludeExecutionData") is False
        traced = machine.get("TracingConfiguration", {}).get("Enabled") is True
        if not logged or not traced or not stage.machines[id].get("TimeoutSeconds"):
            yield id


@rule(37, "Every task's failure is caught and reported, and transient errors are retried")
def _(stage: Deployed) -> Offenders:
    for id, definition in stage.machines.items():
        states = definition["States"]
        caught = {catch["Next"] for state in states.values() for catch in state.get("Catch", [])}
        reporting = {name for name in caught if _leads_to_fail(states, name)}
        for name, state in states.items():
            if state["Type"] in ("Task", "Map") and "Catch" not in state and name not in reporting:
                yield f"{id}/{name}"
            tasks = [state, *state.get("ItemProcessor", {}).get("States", {}).values()]
            if any(task["Type"] == "Task" and "Retry" not in task for task in tasks):
                yield f"{id}/{name}"


def _leads_to_fail(states: Mapping[str, Any], name: str) -> bool:
    following = states[states[name].get("Next", "")] if states[name].get("Next") else {}
    return following.get("Type") == "Fail"


@rule(40, "Rules and schedules have a role for their target only, retry, and keep undelivered events")
def _(stage: Deployed) -> Offenders:
    targets = [(id, t) for id, each in stage.of("AWS::Events::Rule").items() for t in each.get("Targets", [])]
    targets += [(id, schedule["Target"]) for id, schedule in stage.of("AWS::Scheduler::Schedule").items()]
    for id, target in targets:
        own_role = "RoleArn" in target or target["Arn"].strip("<>").partition(".")[0] in stage.of(
            "AWS::Lambda::Function"
        )
        if (
            not own_role
            or "DeadLetterConfig" not in target
            or "MaximumRetryAttempts" not in target.get("RetryPolicy", {})
        ):
            yield id
    for id, statement in stage.granted("states:StartExecution"):
        if not all(re.fullmatch(r"<\w+>", str(machine)) for machine in listed(statement["Resource"])):
            yield id


@rule(41, "Failed and timed-out runs, failing functions and undelivered events raise alarms that notify the team")
def _(stage: Deployed) -> Offenders:
    alarms = stage.of("AWS::CloudWatch::Alarm")
    yield from (id for id, alarm in alarms.items() if not alarm.get("AlarmActions"))
    watched = {alarm.get("MetricName") for alarm in alarms.values()}
    yield from {"ExecutionsFailed", "ExecutionsTimedOut", "Errors", "ApproximateNumberOfMessagesVisible"} - watched


@rule(42, "Every acknowledgement is for one finding and has a reason")
def _(stage: Deployed) -> Offenders:
    for id, resource in stage.resources.items():
        metadata = resource.get("Metadata", {})
        notes = metadata.get("cdk_nag", {}).get("rules_to_suppress", []) + metadata.get("checkov", {}).get("skip", [])
        if any(len(str(note.get("reason", note.get("comment", "")))) < 20 for note in notes):
            yield id


@rule(43, "Failed asynchronous calls are kept")
def _(stage: Deployed) -> Offenders:
    queues = {f"<{id}.Arn>" for id in stage.of("AWS::SQS::Queue")}
    for id, function in stage.of("AWS::Lambda::Function").items():
        if function.get("DeadLetterConfig", {}).get("TargetArn") not in queues:
            yield id


@rule(44, "Every function's environment is encrypted with a key of the stage")
def _(stage: Deployed) -> Offenders:
    keys = {f"<{id}.Arn>" for id in stage.of("AWS::KMS::Key")}
    return [id for id, f in stage.of("AWS::Lambda::Function").items() if f.get("KmsKeyArn") not in keys]


@rule(45, "Alarms are set and deleted only under the names of the stage and of its endpoints' autoscaling")
def _(stage: Deployed) -> Offenders:
    name = re.compile(r":alarm:(TargetTracking-endpoint/)?finetune-\w+-\*$")
    for id, statement in stage.granted("cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"):
        if not all(name.search(str(resource)) for resource in listed(statement["Resource"])):
            yield id


@rule(46, "Events are sent to the account's default bus only, as events about a run")
def _(stage: Deployed) -> Offenders:
    own_bus = "arn:<AWS::Partition>:events:<AWS::Region>:<AWS::AccountId>:event-bus/default"
    about_a_run = {"events:source": ["finetune.run"], "events:detail-type": ["Fine-Tuning Run State Change"]}
    for id, statement in stage.granted("events:PutEvents"):
        condition = statement.get("Condition", {}).get("StringEquals", {})
        limited = {key: listed(values) for key, values in condition.items()}
        if listed(statement["Resource"]) != [own_bus] or limited != about_a_run:
            yield id


@rule(47, "Imported models are created, tagged, asked and deleted only with the stage's tag")
def _(stage: Deployed) -> Offenders:
    for id, statement in stage.granted():
        if all(OF_AWS.search(str(resource)) for resource in listed(statement["Resource"])):
            continue  # models of AWS have no tags: rule 49
        acting = r"bedrock:(Create|Delete|Tag|Invoke|Get(?!FoundationModelAvailability))"
        changes = any(re.match(acting, a) for a in listed(statement["Action"]))
        tags = {
            str(value)
            for operator, keys in statement.get("Condition", {}).items()
            for key, value in keys.items()
            if operator == "StringEquals" and re.fullmatch(r"aws:(Request|Resource)Tag/finetune:created-by", key)
        }
        if changes and not (tags and all(re.fullmatch(r"finetune-\w+", tag) for tag in tags)):
            yield id


@rule(48, "Bedrock's role reads tuned models only, for import jobs of this account")
def _(stage: Deployed) -> Offenders:
    for role, properties in stage.roles.items():
        if "bedrock.amazonaws.com" not in json.dumps(properties["AssumeRolePolicyDocument"]):
            continue
        for statement in properties["AssumeRolePolicyDocument"]["Statement"]:
            source = statement.get("Condition", {}).get("ArnLike", {}).get("aws:SourceArn", "")
            if not str(source).endswith(":model-import-job/*"):
                yield role
        for id, statement in stage.granted():
            if id in stage.policies_of(role):
                actions = set(map(str, listed(statement["Action"])))
                objects = [str(each) for each in listed(statement["Resource"])]
                if not all(re.match(r"s3:(GetObject|ListBucket)$|kms:", action) for action in actions):
                    yield id
                if "s3:GetObject" in actions and not all(each.endswith("/runs/*/training/*") for each in objects):
                    yield id


@rule(49, "Judges are called by their exact ids, and the model of an inference profile only by way of the profile")
def _(stage: Deployed) -> Offenders:
    for id, statement in stage.granted("bedrock:InvokeModel"):
        by_profile = "bedrock:InferenceProfileArn" in statement.get("Condition", {}).get("ArnEquals", {})
        for resource in map(str, listed(statement["Resource"])):
            region, name = resource.split(":")[3], resource.partition("/")[2]
            if OF_AWS.search(resource) and ("*" in name or (region == "*" and not by_profile)):
                yield id


@rule(50, "Another account reads tuned models only, with one named role")
def _(stage: Deployed) -> Offenders:
    role = re.compile(r"arn:aws:iam::\d{12}:role/finetune-\w+-promotion-<AWS::Region>")
    models = re.compile(r"<\w+\.Arn>/runs/\*/(training/\*/output/model/\*|release\.json)")
    for id, statement in stage.opened("AWS::S3::BucketPolicy", "AWS::KMS::Key"):
        principals = listed(statement["Principal"].get("AWS")) if isinstance(statement["Principal"], dict) else []
        if statement["Effect"] != "Allow" or not any(re.search(r"::\d{12}:", str(each)) for each in principals):
            continue
        condition = statement.get("Condition", {})
        roles = listed(condition.get("ArnEquals", {}).get("aws:PrincipalArn"))
        actions, resources = set(listed(statement["Action"])), [str(each) for each in listed(statement["Resource"])]
        of_key = actions == {"kms:Decrypt"} and "kms:ViaService" in condition.get("StringEquals", {})
        of_bucket = actions <= {"s3:GetObject", "s3:GetObjectVersion"} and all(map(models.fullmatch, resources))
        if not roles or not all(role.fullmatch(str(each)) for each in roles) or not (of_key or of_bucket):
            yield id
