"""A check for each open assumption that the first runs can settle: reads what AWS shows of them."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from finetuning.aws.clients import client
from finetuning.aws.cloudwatch import invocations
from finetuning.aws.sagemaker_runtime import stream_answer
from finetuning.aws.step_functions import executions
from finetuning.metrics import TRAINING_LOG_GROUP
from finetuning.runs.expiry import METRICS_DELAY
from finetuning.runs.guardrails import alarm_names
from finetuning.runs.tags import EULA_TAG, IDLE_TAG, OWNER_TAG, RUN_TAG, STAGE_TAG, TTL_TAG
from finetuning.runs.uploads import event_word
from finetuning_cli.live.assumptions import Observation
from finetuning_cli.live.first_runs import PROMPT, FirstRuns, now
from finetuning_cli.live.openai_calls import chat
from finetuning_cli.live.removal import remaining
from finetuning_cli.stage.runs import START_WITHIN_SECONDS

BILLING_TOLERANCE_SECONDS = 60


class Moment(StrEnum):
    """When a check can see what it needs."""

    SERVED = "after the first run"
    UPDATED = "after the second run"
    ROLLED_BACK = "after the rollback"
    REMOVED = "after the removal"


LiveCheck = Callable[[FirstRuns], Observation]
CHECKS: dict[str, tuple[Moment, LiveCheck]] = {}
"""By the id of the assumption."""


def settles(assumption: str, moment: Moment) -> Callable[[LiveCheck], LiveCheck]:
    def register(check: LiveCheck) -> LiveCheck:
        CHECKS[assumption] = (moment, check)
        return check

    return register


@settles("upload-starts-run", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    upload = runs.uploads[0]
    put = client("s3").head_object(Bucket=upload.bucket, Key=upload.key, VersionId=upload.version_id)["LastModified"]
    described = executions(runs.deployment.state_machine_arn).describe(runs.first.status.execution_arn)
    seconds = (described["startDate"] - put).total_seconds()
    event = json.loads(described["input"])
    known = upload.version_id == event["object"].get("version-id")
    words = f"{seconds:.0f} s after the upload; the event {'names' if known else 'does not name'} its version"
    requester = event_word(event.get("requester"))
    words += f" and {requester or 'nobody'} as its requester"
    return Observation(bool(known and requester) and seconds <= START_WITHIN_SECONDS, words)


@settles("gated-weights", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    job = runs.job()
    by_environment = "SageMakerGatedModelS3Uri" in job.get("Environment", {})
    if not by_environment:
        return Observation(None, "the stage uses a channel for the weights (gated_weights)")
    return Observation(job["TrainingJobStatus"] == "Completed", f"the job is {job['TrainingJobStatus']}")


@settles("isolated-job", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    job = runs.job()
    isolated, subnets = job.get("EnableNetworkIsolation"), job.get("VpcConfig", {}).get("Subnets", [])
    words = f"network isolation {isolated}, {len(subnets)} subnets, {job.get('TrainingJobStatus')}"
    return Observation(bool(isolated and subnets and job.get("TrainingJobStatus") == "Completed"), words)


@settles("model-location", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    run, found = runs.first, runs.job().get("ModelArtifacts", {}).get("S3ModelArtifacts", "")
    prefix = run.layout.model_artifact(run.status.training_job)
    files = len(runs.objects(prefix))
    as_expected = found.rstrip("/") == f"s3://{runs.deployment.artifacts_bucket}/{prefix}".rstrip("/")
    return Observation(as_expected and files > 0, f"{files} files; the job says {found.partition('runs/')[2] or found}")


@settles("model-encryption", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    run, s3 = runs.first, client("s3")
    keys = runs.objects(run.layout.model_artifact(run.status.training_job))
    heads = [s3.head_object(Bucket=runs.deployment.artifacts_bucket, Key=key) for key in keys]
    wrong = [head for head in heads if not head.get("SSEKMSKeyId", "").endswith(runs.kms_key)]
    return Observation(
        bool(heads) and not wrong, f"{len(heads) - len(wrong)} of {len(heads)} files have the stage's key"
    )


@settles("metrics", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    job = runs.job()
    defined = {each["Name"] for each in job.get("AlgorithmSpecification", {}).get("MetricDefinitions", [])}
    seen = {each["MetricName"] for each in job.get("FinalMetricDataList", [])}
    losses = {name for name in seen if "eval-loss" in name or "eval_loss" in name}
    return Observation(bool(losses), f"{len(seen)} of {len(defined)} metrics: {', '.join(sorted(seen)) or 'none'}")


@settles("training-log", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    logs, job = client("logs"), runs.first.status.training_job
    found = logs.describe_log_streams(logGroupName=TRAINING_LOG_GROUP, logStreamNamePrefix=f"{job}/")["logStreams"]
    if not found:
        return Observation(False, f"no stream {job}/… in {TRAINING_LOG_GROUP}")
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=TRAINING_LOG_GROUP,
        logStreamNames=[each["logStreamName"] for each in found],
        filterPattern='"step" "completed" "loss"',
    )
    steps = [event["message"].strip() for page in pages for event in page["events"]]
    return Observation(
        bool(steps), f"{len(steps)} lines about steps" + (f", such as {steps[-1][:120]}" if steps else "")
    )


@settles("billed-time", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    job = runs.job()
    billed = job.get("BillableTimeInSeconds", 0)
    trained = _seconds(job.get("TrainingStartTime"), job.get("TrainingEndTime"))
    waited = _seconds(job.get("CreationTime"), job.get("TrainingStartTime"))
    fits = 0 < billed <= trained + BILLING_TOLERANCE_SECONDS
    return Observation(fits, f"{billed} s billed; {trained:.0f} s of training after {waited:.0f} s of waiting")


@settles("training-time", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    job, status, plan = runs.job(), runs.first.status, runs.first.plan
    option = plan.training.option_on(status.ladder[-1].instance_type) if status.ladder else None
    predicted = option.estimate.seconds if option else None
    taken = _seconds(job.get("TrainingStartTime"), job.get("TrainingEndTime"))
    if predicted is None:
        return Observation(None, f"{taken:.0f} s; the plan predicted nothing")
    return Observation(0 < taken <= 1.5 * predicted + 60, f"{taken:.0f} s, predicted {predicted} s")


@settles("job-tags", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    return _tagged(runs.control.tags(runs.job().get("TrainingJobArn", "")), STAGE_TAG, OWNER_TAG, RUN_TAG, EULA_TAG)


@settles("endpoint-in-time", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    live, limit = runs.live(), runs.first.plan.endpoint.timeout_seconds
    seconds = _seconds(live.get("CreationTime"), live.get("LastModifiedTime"))
    in_service = live.get("EndpointStatus") == "InService"
    return Observation(in_service and 0 < seconds <= limit, f"{seconds:.0f} s, {limit} s allowed")


@settles("evaluation-time", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    predicted, events = runs.first.plan.evaluation.estimate, runs.first.status.events
    times = {step: [event.time for event in events if event.step == step] for step in ("DeployEndpoint", "AskBatch")}
    ended = [event.time for event in events if event.step == "EvaluateAnswers"]
    if predicted is None or not all([*times.values(), ended]):
        return Observation(None, "the run has no evaluation with a prediction")
    taken = _seconds(min(times["DeployEndpoint"]), min(ended))
    words = f"{taken:.0f} s from the deployment to the last answer, predicted {predicted.seconds} s"
    return Observation(0 < taken <= 1.5 * predicted.seconds + 60, words)


@settles("endpoint-tags", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    tags = runs.control.tags(runs.live().get("EndpointArn", ""))
    return _tagged(tags, STAGE_TAG, OWNER_TAG, RUN_TAG, TTL_TAG, IDLE_TAG)


@settles("answer", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    reply = runs.ask()
    words = reply.error or f"{len(reply.text)} characters in {reply.latency_ms} ms"
    return Observation(reply.error is None and bool(reply.text.strip()), words)


@settles("streamed-answer", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    pieces: list[str] = []
    reply = stream_answer(runs.endpoint, runs.inputs, pieces.append)
    return Observation(reply.error is None and len(pieces) > 1, reply.error or f"{len(pieces)} pieces")


@settles("openai-chat", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    answer = chat(runs.endpoint, PROMPT)
    try:
        text = json.loads(answer.body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return Observation(False, f"status {answer.status}: {answer.body[:200]}")
    return Observation(bool(str(text).strip()), f"{len(str(text))} characters")


@settles("openai-stream", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    answer = chat(runs.endpoint, PROMPT, stream=True)
    lines = [line for line in answer.body.splitlines() if line.startswith('{"')]
    words = f"status {answer.status}, {answer.content_type or answer.body[:200]}, {len(lines)} JSON lines"
    return Observation(answer.content_type.startswith("application/jsonlines") and len(lines) > 1, words)


@settles("answer-ends", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    reply = runs.ask()
    if reply.error is not None:
        return Observation(None, reply.error)
    ended = {True: "it ended by itself", False: "it was cut off at the limit", None: "its end is not reported"}
    clean = "<|" not in reply.text
    return Observation(clean, f"{'no special token' if clean else 'a special token'}; {ended[reply.finished]}")


@settles("invocation-metric", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    runs.ask()
    asked = now()
    found = runs.until(lambda: invocations(runs.endpoint, asked - timedelta(hours=1), now() + timedelta(minutes=1)))
    late = now() - asked
    if not found:
        return Observation(False, f"none within {late.total_seconds():.0f} s")
    return Observation(late <= METRICS_DELAY, f"seen after {late.total_seconds():.0f} s")


@settles("registered-model", Moment.SERVED)
def _(runs: FirstRuns) -> Observation:
    package = client("sagemaker").describe_model_package(ModelPackageName=runs.first.status.model_package)
    status, group = package["ModelApprovalStatus"], package["ModelPackageGroupName"]
    return Observation(status == "Approved" and group == runs.endpoint, f"version {status} in {group}")


@settles("update-in-place", Moment.UPDATED)
def _(runs: FirstRuns) -> Observation:
    live, ours = runs.live(), runs.second.names.endpoint_config
    older = "CreationTime" in live and live["CreationTime"] < runs.second.status.started_at
    words = f"{live.get('EndpointStatus')} on {live.get('EndpointConfigName')}"
    return Observation(live.get("EndpointConfigName") == ours and older, words)


@settles("update-without-downtime", Moment.ROLLED_BACK)
def _(runs: FirstRuns) -> Observation:
    runs.probe.ask(runs.endpoint, runs.inputs)
    errors = runs.probe.errors
    words = f"{runs.probe.asked - len(errors)} of {runs.probe.asked} questions answered"
    return Observation(not errors, words + (f"; the first error: {errors[0][:200]}" if errors else ""))


@settles("rollback-alarms", Moment.UPDATED)
def _(runs: FirstRuns) -> Observation:
    config = runs.live().get("LastDeploymentConfig", {}).get("AutoRollbackConfiguration", {})
    alarms = {alarm["AlarmName"] for alarm in config.get("Alarms", [])}
    return Observation(alarms >= set(alarm_names(runs.endpoint)), f"{len(alarms)} alarms")


@settles("data-capture", Moment.UPDATED)
def _(runs: FirstRuns) -> Observation:
    runs.ask()
    found = runs.until(lambda: runs.objects(runs.second.layout.capture))
    return Observation(bool(found), f"{len(found)} files" if found else f"none within {runs.patience:.0f} s")


@settles("rollback", Moment.ROLLED_BACK)
def _(runs: FirstRuns) -> Observation:
    live, reply = runs.live(), runs.ask()
    back = live.get("EndpointConfigName") == runs.first.names.endpoint_config
    words = f"{live.get('EndpointStatus')} on {live.get('EndpointConfigName')}; {reply.error or 'it answers'}"
    return Observation(back and live.get("EndpointStatus") == "InService" and reply.error is None, words)


@settles("capture-ends", Moment.ROLLED_BACK)
def _(runs: FirstRuns) -> Observation:
    """The configuration to which the rollback returned has no data capture; that of the second run had."""
    capture = runs.live().get("DataCaptureConfig", {})
    captures = bool(capture.get("EnableCapture"))
    return Observation(
        not captures, f"stores calls in {capture['DestinationS3Uri']}" if captures else "stores no calls"
    )


@settles("endpoint-deleted", Moment.REMOVED)
def _(runs: FirstRuns) -> Observation:
    gone = runs.until(lambda: runs.control.describe_endpoint(runs.endpoint) is None)
    return Observation(gone, "it could not be found" if gone else f"it is {runs.live().get('EndpointStatus')}")


@settles("nothing-left", Moment.REMOVED)
def _(runs: FirstRuns) -> Observation:
    left = remaining(runs.deployment)
    return Observation(not left, "; ".join(left) or "nothing")


def _tagged(tags: dict[str, str], *wanted: str) -> Observation:
    missing = [tag for tag in wanted if tag not in tags]
    return Observation(not missing, f"without {', '.join(missing)}" if missing else f"{len(tags)} tags")


def _seconds(begin: datetime | None, end: datetime | None) -> float:
    return (end - begin).total_seconds() if begin and end else 0.0
