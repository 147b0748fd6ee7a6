"""Calling a handler as Lambda does, and reading what it logs."""

import json
from dataclasses import dataclass
from typing import Any

from finetuning.handlers.step import Payload
from finetuning.metrics import NAMESPACE


@dataclass
class AnyContext:
    """A stand-in for Lambda's context."""

    function_name: str = "AnyFunction"
    function_version: str = "1"
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:AnyFunction"
    memory_limit_in_mb: int = 512
    aws_request_id: str = "request"
    seconds_left: float = 900

    def get_remaining_time_in_millis(self) -> int:
        return round(self.seconds_left * 1000)


def invoke(handler: Any, event: Payload | None = None, **fields: Any) -> Any:
    """What the handler, or the module it is in, returns for the event."""
    return getattr(handler, "handler", handler)({**(event or {}), **fields}, AnyContext())


def log_lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def metrics_in(output: str) -> list[dict[str, Any]]:
    """The metrics of the output: each line in CloudWatch's embedded metric format, as CloudWatch demands it."""
    lines = [line for line in log_lines(output) if "_aws" in line]
    for line in lines:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == NAMESPACE
        named = [*directive["Dimensions"][0], *(metric["Name"] for metric in directive["Metrics"])]
        assert set(named) <= line.keys()
    return lines


def metric(output: str, name: str) -> float | None:
    """The value of a metric that the output has once, or None."""
    values = [line[name] for line in metrics_in(output) if name in line]
    return values[0][0] if values else None


def dimensions_of(line: dict[str, Any]) -> set[str]:
    return set(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0])
