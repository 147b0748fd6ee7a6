"""Findings of cdk-nag that are right about a resource and still no defect: each with its reason, on that resource alone."""

from typing import Any

from aws_cdk import Acknowledgment, Reference, Stack, Token, Tokenization, Validations
from constructs import IConstruct


def acknowledge(construct: IConstruct, *rules: str, because: str) -> None:
    """Acknowledges the rules ("AwsSolutions-S1") for this construct."""
    Validations.of(construct).acknowledge(*(Acknowledgment(id=rule, reason=because) for rule in rules))


def wildcard_finding(scope: IConstruct, resource: str) -> str:
    """The exact id under which cdk-nag reports a wildcard in the resource of a policy statement."""
    return f"AwsSolutions-IAM5[Resource::{_flat(Stack.of(scope).resolve(_with_imports(scope, resource)))}]"


def _with_imports(scope: IConstruct, resource: str) -> str:
    """The resource with references to other stacks as the template will show them: by the name of their export."""
    for token in Tokenization.reverse_string(resource).tokens:
        if Reference.is_reference(token):
            producer = Stack.of(token.target)
            if producer is not Stack.of(scope):
                reference = Token.as_string(token)
                resource = resource.replace(reference, producer.export_value(reference))
    return resource


def _flat(value: Any) -> str:
    """A template value as cdk-nag writes it: `<LogicalId.Arn>/prefix/*`."""
    match value:
        case str():
            return value
        case {"Fn::Join": [delimiter, items]}:
            return str(delimiter).join(map(_flat, items))
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{resource}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return _flat(name)
        case {"Ref": name}:
            return f"<{name}>"
    raise ValueError(f"cdk-nag's name of {value!r} is not known")
