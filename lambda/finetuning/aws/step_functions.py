"""The executions of the state machine."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.errors import error_code, translate_errors
from finetuning.runs.uploads import Upload, upload_of
from finetuning.runs.waiting import Execution

ENDED_EARLY = ("ABORTED", "TIMED_OUT", "FAILED")


class Executions:
    """The executions of one state machine. Raises the errors of `translate_errors`."""

    def __init__(self, states: Any, state_machine_arn: str) -> None:
        self._states = states
        self._machine = state_machine_arn

    def running(self) -> list[Execution]:
        """The executions that are running. The list may lag some seconds behind."""
        return [Execution(each["startDate"], each["executionArn"]) for each in self._listed("RUNNING")]

    def ended_early(self, since: datetime, until: datetime) -> Iterator[str]:
        """The ARNs of the executions that were aborted, timed out or failed in that time.

        All pages are read: they are sorted by time, but AWS does not say whether by the start or by the end.
        """
        for status in ENDED_EARLY:
            for each in self._listed(status):
                if since <= each["stopDate"] <= until:
                    yield str(each["executionArn"])

    def describe(self, execution_arn: str) -> dict[str, Any]:
        """The DescribeExecution response."""
        with translate_errors(f"look up the execution {execution_arn}"):
            return dict(self._states.describe_execution(executionArn=execution_arn))

    def upload(self, execution_arn: str) -> Upload | None:
        """The upload that the execution was started for; None if its input names none."""
        return upload_of(self.describe(execution_arn)["input"])

    def start(self, upload: Upload) -> bool:
        """Starts an execution as the upload's event would; False if there is one already."""
        given = json.dumps(upload.event)
        with translate_errors(f"start the run {upload.run_id}"):
            try:
                self._states.start_execution(stateMachineArn=self._machine, name=upload.run_id, input=given)
            except ClientError as error:
                if error_code(error) == "ExecutionAlreadyExists":
                    return False
                raise
        return True

    def _listed(self, status: str) -> Iterator[dict[str, Any]]:
        with translate_errors(f"list the {status} executions"):
            pages = self._states.get_paginator("list_executions").paginate(
                stateMachineArn=self._machine, statusFilter=status
            )
            for page in pages:
                yield from page["executions"]


def start_of(execution: Mapping[str, Any]) -> datetime:
    """When an execution began, from its DescribeExecution response or EventBridge's event, which has milliseconds."""
    began = execution["startDate"]
    return began if isinstance(began, datetime) else datetime.fromtimestamp(began / 1000, UTC)


def runs_again(ended: Mapping[str, Any]) -> bool:
    """True if an execution was redriven after it ended like this, and runs. `ended`: as for `start_of`.

    DescribeExecution may lag behind an event, so that RUNNING alone does not mean that it was redriven.
    """
    found = find_execution(ended["executionArn"]) or {}
    return found.get("status") == "RUNNING" and found.get("redriveCount", 0) > ended.get("redriveCount", 0)


def execution_status(execution_arn: str) -> str | None:
    """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED; None if there is no such execution."""
    found = find_execution(execution_arn)
    return str(found["status"]) if found else None


def find_execution(execution_arn: str) -> dict[str, Any] | None:
    """The DescribeExecution response; None if there is no such execution."""
    with translate_errors(f"look up the execution {execution_arn}"):
        try:
            return dict(client("stepfunctions").describe_execution(executionArn=execution_arn))
        except ClientError as error:
            if error_code(error) == "ExecutionDoesNotExist":
                return None
            raise


def executions(state_machine_arn: str) -> Executions:
    return Executions(client("stepfunctions"), state_machine_arn)
