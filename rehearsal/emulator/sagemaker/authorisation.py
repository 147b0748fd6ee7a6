"""What IAM is asked about a SageMaker call: resource, condition keys, and the further actions that it takes.

Source: the Service Authorization Reference of SageMaker, whose keys of encryption are named `…KmsKeyArn`.
Not rehearsed: the permissions that a job's role needs for network interfaces, images and logs, which no one uses here.
"""

import json
from collections.abc import Iterator
from typing import Any

from rehearsal.emulator.identity import ACCOUNT

Request = dict[str, Any]
_RESOURCES = {
    "TrainingJobName": "training-job",
    "ModelName": "model",
    "EndpointName": "endpoint",
    "EndpointConfigName": "endpoint-config",
    "ModelPackageGroupName": "model-package-group",
    "ModelPackageName": "model-package",
    "ModelPackageArn": "model-package",
    "TrainingPlanName": "training-plan",
}
_LISTS = "List"


def resource(operation: str, path: str, body: bytes, region: str) -> str:
    """ARN of what the call acts on; `*` for a list, which is of no one resource."""
    if path.startswith("/endpoints/"):
        return _arn(region, "endpoint", path.split("/")[2])
    request = parsed(body)
    if "ResourceArn" in request:
        return str(request["ResourceArn"])
    if not operation.startswith(_LISTS):
        for member, kind in _RESOURCES.items():
            if member in request:
                name = str(request[member])
                return name if name.startswith("arn:") else _arn(region, kind, name)
    return "*"


def conditions(operation: str, body: bytes) -> dict[str, Any]:
    """The condition keys that the call's request gives a value to."""
    request = parsed(body)
    variants = request.get("ProductionVariants", [])
    resources, vpc, output = (request.get(name, {}) for name in ("ResourceConfig", "VpcConfig", "OutputDataConfig"))
    types = [
        each["InstanceType"]
        for named in (resources, *resources.get("InstancePreferences", []), *variants)
        for each in (named, *named.get("InstancePools", []))
        if "InstanceType" in each
    ]
    values = {
        "sagemaker:InstanceTypes": types if operation in {"CreateTrainingJob", "CreateEndpointConfig"} else None,
        "sagemaker:VpcSubnets": vpc.get("Subnets"),
        "sagemaker:VpcSecurityGroupIds": vpc.get("SecurityGroupIds"),
        "sagemaker:NetworkIsolation": _truth(request.get("EnableNetworkIsolation")),
        "sagemaker:InterContainerTrafficEncryption": _truth(request.get("EnableInterContainerTrafficEncryption")),
        "sagemaker:OutputKmsKeyArn": output.get("KmsKeyId"),
        "sagemaker:VolumeKmsKeyArn": resources.get("VolumeKmsKeyId", request.get("KmsKeyId")),
        "sagemaker:MaxRuntimeInSeconds": _text(request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")),
    }
    return {key: value for key, value in values.items() if value is not None}


def further(operation: str, request: Request, region: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Action, resource and condition keys of each other permission that SageMaker asks the caller for."""
    if role := request.get("RoleArn", request.get("ExecutionRoleArn")):
        yield "iam:PassRole", str(role), {"iam:PassedToService": "sagemaker.amazonaws.com"}
    if plan := request.get("ResourceConfig", {}).get("TrainingPlanArn"):
        yield f"sagemaker:{operation}", str(plan), conditions(operation, json.dumps(request).encode())
    if operation in {"CreateEndpoint", "UpdateEndpoint"}:
        yield f"sagemaker:{operation}", _arn(region, "endpoint-config", request["EndpointConfigName"]), {}
    if operation == "DeleteEndpoint":
        target = f"arn:aws:application-autoscaling:{region}:{ACCOUNT}:scalable-target/any"
        scaling = {"service-namespace": "sagemaker", "scalable-dimension": "sagemaker:variant:DesiredInstanceCount"}
        keys = {f"application-autoscaling:{key}": value for key, value in scaling.items()}
        yield "application-autoscaling:DeregisterScalableTarget", target, keys
    if operation == "CreateModelPackage":
        group = str(request["ModelPackageGroupName"])
        yield f"sagemaker:{operation}", _arn(region, "model-package", f"{group}/1"), {}
    if request.get("Tags") and operation.startswith("Create"):
        made = resource(operation, "", json.dumps(request).encode(), region)
        yield "sagemaker:AddTags", made, {"aws:TagKeys": [tag["Key"] for tag in request["Tags"]]}


def _arn(region: str, kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{kind}/{name.lower()}"


def parsed(body: bytes) -> Request:
    """The JSON object in the body; empty for any other body."""
    request: Request = json.loads(body) if body[:1] == b"{" else {}
    return request


def _truth(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)
