"""Findings of cdk-nag that are accepted: each with its reason, on one resource."""

import json
from typing import Any

from aws_cdk import Acknowledgment, Reference, Stack, Token, Tokenization, Validations
from constructs import IConstruct

PACKS = ("AwsSolutions", "Serverless", "HIPAA.Security", "NIST.800.53.R5", "PCI.DSS.321")


def acknowledge(construct: IConstruct, *rules: str, because: str) -> None:
    """Acknowledges the rules for this construct: by full name ("AwsSolutions-S1"), or by the name under which several
    packs have the same rule ("S3BucketReplicationEnabled").
    """
    rules = tuple(name for rule in rules for name in ([rule] if "-" in rule else [f"{pack}-{rule}" for pack in PACKS]))
    Validations.of(construct).acknowledge(*(Acknowledgment(id=rule, reason=because) for rule in rules))


def wildcard_finding(scope: IConstruct, resource: str) -> str:
    """The exact id under which cdk-nag reports a wildcard in the resource of a policy statement."""
    return f"AwsSolutions-IAM5[Resource::{flat(Stack.of(scope).resolve(_with_imports(scope, resource)))}]"


def _with_imports(scope: IConstruct, resource: str) -> str:
    """The resource with references to other stacks as in the template: by the name of their export."""
    for token in Tokenization.reverse_string(resource).tokens:
        if isinstance(token, Reference):
            producer = Stack.of(token.target)
            if producer is not Stack.of(scope):
                reference = Token.as_string(token)
                resource = resource.replace(reference, producer.export_value(reference))
    return resource


def flat(value: Any) -> str:
    """A template value as cdk-nag writes it: `<LogicalId.Arn>/prefix/*`, and as JSON where it knows no other form."""
    match value:
        case str():
            return value.replace("${", "<").replace("}", ">")
        case {"Fn::Join": [delimiter, items]}:
            return str(delimiter).join(map(flat, items))
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{resource}.{attribute}>"
        case {"Fn::ImportValue": inner} | {"Fn::Sub": inner}:
            return flat(inner)
        case {"Ref": name}:
            return f"<{name}>"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
