"""The log of a run's training job."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.aws.sagemaker import sagemaker
from finetuning.errors import Code, FineTuningError
from finetuning.metrics import TRAINING_LOG_GROUP
from finetuning.operations.run import Run
from finetuning.report.text import visible
from finetuning.runs.status import RunState

POLL_SECONDS = 3


def training_log(run: Run, *, follow: bool = False, wait: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """The lines of the run's latest training job; with `follow` also those that come, until the training is
    complete or the run ends. Where AWS has no capacity, the log of the next training job follows.

    Raises `FineTuningError` (LOG_NOT_FOUND) if no training job has started; with `follow` it is waited for.
    """
    tokens: dict[str, str] = {}
    while True:
        status = run.find_status()
        job = status.training_job if status else ""
        ended = status is None or status.state is not RunState.RUNNING or (follow and bool(job) and _is_complete(job))
        yield from _new_lines(job, tokens) if job else ()
        if not job and (ended or not follow):
            raise FineTuningError(
                Code.LOG_NOT_FOUND,
                f"The run {run.run_id} has started no training job.",
                "`finetune watch` shows its progress. A refused run has no training job.",
            )
        if ended or not follow:
            return
        wait(POLL_SECONDS)


def _is_complete(job: str) -> bool:
    described = sagemaker().describe_training_job(job)
    return described is not None and described["TrainingJobStatus"] == "Completed"


def _new_lines(job: str, tokens: dict[str, str]) -> Iterator[str]:
    """The lines of each stream (one per instance) after those of the last call; `tokens` remembers how far it read."""
    logs = client("logs")
    with translate_errors(f"read the log of {job}"):
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=TRAINING_LOG_GROUP, logStreamNamePrefix=f"{job}/"
        )
        try:
            streams = [each["logStreamName"] for page in pages for each in page["logStreams"]]
        except logs.exceptions.ResourceNotFoundException:  # the account has not trained yet
            return
        for stream in streams:
            yield from _rest_of(logs, stream, tokens)


def _rest_of(logs: Any, stream: str, tokens: dict[str, str]) -> Iterator[str]:
    """CloudWatch Logs repeats the token at the end of a stream."""
    where = {"logGroupName": TRAINING_LOG_GROUP, "logStreamName": stream, "startFromHead": True}
    while True:
        last = tokens.get(stream)
        page = logs.get_log_events(**where, **({"nextToken": last} if last else {}))
        for event in page["events"]:
            yield visible(event["message"].rstrip())
        tokens[stream] = page["nextForwardToken"]
        if tokens[stream] == last:
            return
