"""The state machine's executions, as the functions beside it need them."""

from collections.abc import Iterator
from typing import Any

from finetuning.aws.clients import client
from finetuning.aws.faults import explained
from finetuning.runs.turns import Execution


class Executions:
    """Of one state machine. Raises the typed errors of `aws.faults`."""

    def __init__(self, states: Any, state_machine_arn: str) -> None:
        self._states = states
        self._machine = state_machine_arn

    def running(self) -> list[Execution]:
        """Those that run now; AWS's list may miss what happened in the last seconds."""
        return [Execution(each["startDate"], each["executionArn"]) for each in self._listed("RUNNING")]

    def _listed(self, status: str) -> Iterator[dict[str, Any]]:
        with explained(f"list the {status} executions"):
            pages = self._states.get_paginator("list_executions").paginate(
                stateMachineArn=self._machine, statusFilter=status
            )
            for page in pages:
                yield from page["executions"]


def executions(state_machine_arn: str) -> Executions:
    return Executions(client("stepfunctions"), state_machine_arn)
