"""Patterns, lengths and enumerations that boto3 itself lets pass."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from finetuning.jumpstart.constraints import violations
from tests.builders.jumpstart import sagemaker_model


def problems(request: dict[str, Any], operation: str = "CreateEndpoint") -> list[str]:
    return list(violations(sagemaker_model().operation_model(operation).input_shape, request))


def any_request(**changes: Any) -> dict[str, Any]:
    return {"EndpointName": "an-endpoint", "EndpointConfigName": "a-config", "Tags": []} | changes


def test_a_good_request_has_no_violation() -> None:
    assert problems(any_request(Tags=[{"Key": "a:b_c", "Value": "ü /=+-@ 1"}])) == []


@pytest.mark.parametrize(
    ("changes", "path", "reason"),
    [
        ({"EndpointName": "no_underscore"}, "EndpointName", "does not match"),
        ({"EndpointName": "ends-"}, "EndpointName", "does not match"),
        ({"EndpointName": "x" * 64}, "EndpointName", "the maximum is 63"),
        ({"EndpointName": 5}, "EndpointName", "must be text"),
        ({"EndpointConfigName": None}, "EndpointConfigName", "is required"),
        ({"Colour": "red"}, "Colour", "is not a member"),
        ({"Tags": {}}, "Tags", "must be a list"),
        ({"Tags": [{"Key": "k", "Value": "no #"}]}, "Tags[0].Value", "does not match"),
        ({"Tags": [{"Key": "k", "Value": "v"}] * 51}, "Tags", "the maximum is 50"),
        ({"Tags": ["k"]}, "Tags[0]", "must be a structure"),
    ],
)
def test_each_violation_says_where_and_why(changes: dict[str, Any], path: str, reason: str) -> None:
    found = problems(any_request(**changes))
    assert any(problem.startswith(f"{path}:") and reason in problem for problem in found), found


def test_enumerations_numbers_and_maps_are_checked_too() -> None:
    request = {
        "TrainingJobName": "j",
        "RoleArn": "arn:aws:iam::111122223333:role/r",
        "OutputDataConfig": {"S3OutputPath": "s3://b/o", "CompressionType": "ZIP"},
        "ResourceConfig": {"InstanceType": "ml.nope.1xlarge", "InstanceCount": True, "VolumeSizeInGB": -1},
        "HyperParameters": {"a": "x" * 2501, "b": 1},
        "EnableNetworkIsolation": "yes",
    }
    text = "\n".join(problems(request, "CreateTrainingJob"))
    for part in (
        "CompressionType: 'ZIP' is not an allowed value",
        "InstanceType: 'ml.nope.1xlarge' is not an allowed value",
        "InstanceCount: must be a number",
        "VolumeSizeInGB: is -1",
        "HyperParameters.a: has 2501 characters",
        "HyperParameters.b: must be text",
        "EnableNetworkIsolation: must be true or false",
    ):
        assert part in text


def test_every_pattern_of_the_four_requests_can_be_read() -> None:
    def strings(shape: Any, seen: frozenset[str] = frozenset()) -> Iterator[Any]:
        children: list[Any] = []
        if shape.name in seen:
            return
        if shape.type_name == "structure":
            children = list(shape.members.values())
        elif shape.type_name == "list":
            children = [shape.member]
        elif shape.type_name == "map":
            children = [shape.key, shape.value]
        elif shape.type_name == "string":
            yield shape
        for child in children:
            yield from strings(child, seen | {shape.name})

    def is_read(shape: Any) -> bool:
        try:
            list(violations(shape, "a"))
        except re.error:
            return False
        return True

    operations = ("CreateTrainingJob", "CreateModel", "CreateEndpointConfig", "CreateEndpoint")
    shapes = [s for name in operations for s in strings(sagemaker_model().operation_model(name).input_shape)]
    patterns = [shape for shape in shapes if "pattern" in shape.metadata]
    assert len(patterns) > len(operations)
    assert [shape.name for shape in patterns if not is_read(shape)] == []


def shape_of(kind: str, **metadata: Any) -> Any:
    """A shape as botocore's: a list of integers, a map of texts to integers, or a scalar."""
    number = SimpleNamespace(type_name="integer", name="Number", metadata={})
    text = SimpleNamespace(type_name="string", name="Text", metadata={"max": 3}, enum=[])
    shapes: dict[str, dict[str, Any]] = {"list": {"member": number}, "map": {"key": text, "value": number}}
    return SimpleNamespace(type_name=kind, name="Shape", metadata=metadata, **shapes.get(kind, {}))


@pytest.mark.parametrize(
    ("kind", "value", "metadata", "found"),
    [
        ("list", [1, 2], {"max": 1}, ["p: has 2 items, the maximum is 1"]),
        ("list", [1, "x"], {}, ["p[1]: must be a number, not 'x'"]),
        ("map", {"a": 1, "b": 2}, {"max": 1}, ["p: has 2 entries, the maximum is 1"]),
        ("map", {"a": 1}, {"min": 2}, ["p: has 1 entries, the minimum is 2"]),
        ("map", {"long": 1}, {}, ["p.long (the key): has 4 characters, the maximum is 3"]),
        ("map", {"a": "x"}, {}, ["p.a: must be a number, not 'x'"]),
        ("map", [1], {}, ["p: must be a map"]),
        ("long", 1.5, {}, ["p: must be a number, not 1.5"]),
        ("integer", 1.5, {}, ["p: must be a number, not 1.5"]),
        ("float", "x", {}, ["p: must be a number, not 'x'"]),
        ("double", True, {}, ["p: must be a number, not True"]),
        ("double", 1.5, {"max": 1}, ["p: is 1.5, the maximum is 1"]),
        ("float", 1, {}, []),
    ],
)
def test_each_kind_of_shape_has_its_own_violations(
    kind: str, value: Any, metadata: dict[str, Any], found: list[str]
) -> None:
    assert list(violations(shape_of(kind, **metadata), value, "p")) == found


def test_a_violation_inside_a_structure_has_the_whole_path() -> None:
    request = {
        "TrainingJobName": "j",
        "RoleArn": "arn:aws:iam::111122223333:role/role",
        "OutputDataConfig": {"Colour": "red"},
        "ResourceConfig": {"VolumeSizeInGB": 1},
        "StoppingCondition": {},
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
    }
    found = [each.partition(":")[0] for each in problems(request, "CreateTrainingJob")]
    assert "OutputDataConfig.S3OutputPath" in found
    assert "OutputDataConfig.Colour" in found
