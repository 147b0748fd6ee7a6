"""Checks of a deployed stage that only read: zones, sizes, and what IAM and Access Analyzer say of its policies."""

import json
import tempfile
import urllib.request
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import TypeAdapter

from finetuning.aws.clients import client
from finetuning.jumpstart.assumptions import price_list_region
from finetuning.runs.status import Check
from finetuning.settings import INTERFACE_ENDPOINTS, CommaSeparated
from finetuning_cli.live.resources import StageResources

UNPACKED_LIMIT = 262_144_000
"""Bytes that a function's code and layers may have together (Lambda's quotas)."""
NEEDED = ("lambda", "sagemaker.api", "sagemaker.runtime")
"""Services that run something in the stage's zones, whether or not the stage has endpoints of their APIs."""
CDK_JSON = Path("cdk.json")
"""The settings of a stage that is not deployed yet: of the CDK app in the folder where the command is called."""
SHOWN = 3


def check_zones(stage: StageResources) -> Iterator[Check]:
    """Whether the services are offered in the stage's zones. Of a stage that is not deployed: also the services of its
    interface endpoints, if it will have any.
    """
    ec2, region, zones, every_zone = client("ec2"), stage.names["region"], stage_zones(stage), zones_of_region()
    endpoints = list(stage.of_type("AWS::EC2::VPCEndpoint").values())
    deployed = ec2.describe_vpc_endpoints(VpcEndpointIds=endpoints)["VpcEndpoints"] if endpoints else []
    needed = {f"com.amazonaws.{region}.{name}" for name in NEEDED} | {each["ServiceName"] for each in deployed}
    optional = set() if stage.resources else {f"com.amazonaws.{region}.{name}" for name in INTERFACE_ENDPOINTS.values()}
    services = sorted(needed | optional)
    # By a filter: a name that the region does not have would be an error.
    found = ec2.describe_vpc_endpoint_services(Filters=[{"Name": "service-name", "Values": services}])
    offered = {each["ServiceName"]: set(each["AvailabilityZones"]) for each in found["ServiceDetails"]}
    fitting = [zone for zone in every_zone if all(zone in offered.get(service, ()) for service in services)]
    for service in services:
        absent = sorted(set(zones) - offered.get(service, set()))
        if not absent:
            yield Check(check=service, ok=True, message=f"offered in {', '.join(zones)}")
            continue
        where = f"not offered in {', '.join(absent)}"
        if service in needed:
            yield Check(check=service, ok=False, message=where, fix=_choose(fitting, stage))
        else:
            message = f"{where}: a stage with interface endpoints, such as prod, cannot be deployed there"
            yield Check(check=service, ok=None, message=message, fix=_choose(fitting, stage))


def check_instance_zones(stage: StageResources, instance_types: Sequence[str]) -> Iterator[Check]:
    """Whether EC2 has the instance types in a zone of the stage. Yellow at most: of SageMaker no such list exists."""
    pages = (
        client("ec2")
        .get_paginator("describe_instance_type_offerings")
        .paginate(
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [each.removeprefix("ml.") for each in instance_types]}],
        )
    )
    offered = defaultdict[str, set[str]](set)
    for page in pages:
        for each in page["InstanceTypeOfferings"]:
            offered[f"ml.{each['InstanceType']}"].add(each["Location"])
    zones = stage_zones(stage)
    absent = defaultdict[tuple[str, ...], list[str]](list)
    for instance_type in sorted(offered):
        if not offered[instance_type] & set(zones):
            absent[tuple(sorted(offered[instance_type]))].append(instance_type)
    nowhere = sorted(set(instance_types) - offered.keys())
    missing = len(nowhere) + sum(map(len, absent.values()))
    yield Check(
        check="instance types",
        ok=True if missing < len(instance_types) else None,
        message=f"{len(instance_types) - missing} of {len(instance_types)} are in {', '.join(zones)}",
    )
    if nowhere:
        yield Check(check=", ".join(nowhere), ok=None, message="EC2 has it in no zone of the region")
    for having, types in absent.items():
        fitting = [*having, *(zone for zone in zones if zone not in having)]
        yield Check(
            check=", ".join(types),
            ok=None,
            message=f"EC2 has it only in {', '.join(having)}: a job in {', '.join(zones)} gets no instance",
            fix=_choose(fitting, stage),
        )


def stage_zones(stage: StageResources) -> list[str]:
    """The zones of its subnets. Before it is deployed: those of cdk.json, if there is one, or the first two by name."""
    if subnets := list(stage.of_type("AWS::EC2::Subnet").values()):
        found = client("ec2").describe_subnets(SubnetIds=subnets)["Subnets"]
        return sorted({each["AvailabilityZone"] for each in found})
    context = json.loads(CDK_JSON.read_text(encoding="utf-8")).get("context", {}) if CDK_JSON.is_file() else {}
    chosen = context.get("availability_zones", ())
    return sorted(TypeAdapter(CommaSeparated).validate_python(chosen)) or zones_of_region()[:2]


def zones_of_region() -> list[str]:
    found = client("ec2").describe_availability_zones(Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}])
    return sorted(each["ZoneName"] for each in found["AvailabilityZones"])


def _choose(zones: Sequence[str], stage: StageResources) -> str:
    """How to have the stage in two of these zones."""
    if len(zones) < 2:
        return "No two zones of the region have everything that is needed: use another region."
    line = f'"availability_zones": "{",".join(zones[:2])}"'
    if stage.resources:
        return f'Subnets cannot move: destroy the stage, write {line} into "context" of cdk.json, and deploy it again.'
    return f'Write {line} into "context" of cdk.json before the first deployment: subnets cannot move later.'


def check_layer_sizes(stage: StageResources) -> Iterator[Check]:
    """The unpacked size of each function with its layers. Downloads code and layers, about 60 MB."""
    sizes: dict[str, int] = {}
    api = client("lambda")
    for name, function in sorted(stage.of_type("AWS::Lambda::Function").items()):
        found = api.get_function(FunctionName=function)
        layers = [layer["Arn"] for layer in found["Configuration"].get("Layers", [])]
        if not layers:
            continue  # the CDK's own functions
        try:
            sizes.setdefault(found["Configuration"]["CodeSha256"], _unpacked(found["Code"]["Location"]))
            for arn in layers:
                if arn not in sizes:
                    sizes[arn] = _unpacked(api.get_layer_version_by_arn(Arn=arn)["Content"]["Location"])
        except (BotoCoreError, ClientError, OSError, KeyError) as error:
            yield Check(check=name, ok=None, message=f"cannot be read: {error}")
            continue
        total = sizes[found["Configuration"]["CodeSha256"]] + sum(sizes[arn] for arn in layers)
        yield Check(
            check=name,
            ok=total <= UNPACKED_LIMIT,
            message=f"{total:,} of {UNPACKED_LIMIT:,} bytes with {len(layers)} layers",
        )


def check_permissions(stage: StageResources) -> Iterator[Check]:
    """Asks IAM about every call that the rehearsal recorded, with real names: a check for each role."""
    iam, asked = client("iam"), defaultdict[tuple[str, str, str], set[str]](set)
    region = stage.names["region"]
    for call in stage.calls():
        # Nothing is called in a simulation, so that it knows no region but this.
        where = price_list_region(region) if call["action"] == "pricing:GetProducts" else region
        keys = call["keys"] | {"aws:RequestedRegion": where}
        asked[call["role"], call["resource"], json.dumps(keys)].add(call["action"])
    refused, counts = defaultdict[str, list[str]](list), defaultdict[str, int](int)
    for (role, resource, keys), actions in asked.items():
        answer = iam.simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{stage.names['account']}:role/{stage.resources[role][1]}",
            ActionNames=sorted(actions),
            ResourceArns=[resource],
            ContextEntries=[_context(key, value) for key, value in json.loads(keys).items()],
        )
        for result in answer["EvaluationResults"]:
            counts[role] += 1
            if result["EvalDecision"] != "allowed":
                missing = ", ".join(result.get("MissingContextValues", []))
                lacking = f", without a value for {missing}" if missing else ""
                refused[role].append(
                    f"{result['EvalActionName']} on {_without_account(resource)} ({result['EvalDecision']}{lacking})"
                )
    for role in sorted(counts):
        denied = refused[role]
        more = f" and {len(denied) - SHOWN} more" if len(denied) > SHOWN else ""
        yield Check(
            check=role,
            ok=not denied,
            message=f"IAM denies {'; '.join(denied[:SHOWN])}{more}"
            if denied
            else f"all {counts[role]} calls are allowed",
            fix="Compare the role's policies with the template: `npx cdk diff --all`." * bool(denied),
        )


def check_policies(stage: StageResources) -> Iterator[Check]:
    """What Access Analyzer finds in the policies of the stage's roles, those of AWS left out."""
    iam, analyzer = client("iam"), client("accessanalyzer")
    for name, role in sorted(stage.of_type("AWS::IAM::Role").items()):
        for document in _policies(iam, role, stage.names["account"]):
            pages = analyzer.get_paginator("validate_policy").paginate(
                policyDocument=json.dumps(document), policyType="IDENTITY_POLICY"
            )
            findings = [finding for page in pages for finding in page["findings"]]
            serious = [each for each in findings if each["findingType"] in ("ERROR", "SECURITY_WARNING")]
            errors = [each for each in serious if each["findingType"] == "ERROR"]
            words = "; ".join(f"{each['issueCode']}: {each['findingDetails']}" for each in (errors or serious)[:SHOWN])
            yield Check(
                check=name, ok=False if errors else None if serious else True, message=words or "no errors or warnings"
            )


def _policies(iam: Any, role: str, account: str) -> Iterator[Any]:
    """The documents of a role: inline ones, and managed ones of the account, which the CDK makes of very long ones."""
    for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = attached["PolicyArn"]
        if f":{account}:" in arn:
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            yield iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]


def _context(key: str, value: Any) -> dict[str, Any]:
    """A condition key with its value as IAM's simulation takes it."""
    values = value if isinstance(value, list) else [value]
    kind = "boolean" if value in ("true", "false") else "string"
    return {
        "ContextKeyName": key,
        "ContextKeyValues": values,
        "ContextKeyType": f"{kind}List" if isinstance(value, list) else kind,
    }


def _without_account(arn: str) -> str:
    parts = arn.split(":", 5)
    return parts[-1] if len(parts) == 6 else arn


def _unpacked(location: str) -> int:
    """Bytes of the files in the zip at that signed address."""
    with tempfile.TemporaryFile() as file:
        with urllib.request.urlopen(location, timeout=60) as answer:  # noqa: S310 — an address that AWS signed
            while piece := answer.read(1 << 20):
                file.write(piece)
        with zipfile.ZipFile(file) as archive:
            return sum(member.file_size for member in archive.infolist())
