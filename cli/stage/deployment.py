"""A deployed stage as its operator's command sees it: where to upload, what runs there are, what they left behind."""

import json
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from botocore.exceptions import ClientError
from pydantic import BaseModel

from cli.errors import cli_errors
from finetuning.aws.autoscaling import scale
from finetuning.aws.clients import client
from finetuning.aws.errors import error_code, translate_errors
from finetuning.aws.run_store import RunStore
from finetuning.aws.sagemaker import OWNER_TAG, RUN_TAG, SageMaker, sagemaker
from finetuning.aws.step_functions import executions
from finetuning.aws.traffic import invocations
from finetuning.aws.upload_bucket import RUN_FILE, TEMPLATE_FILE, is_data
from finetuning.datasets.detection import SUFFIXES
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.results import EvaluationReport
from finetuning.operations.clean_up import remove_unfinished
from finetuning.operations.endpoint_life import EndpointState, endpoint_state
from finetuning.operations.endpoint_updates import Fleet, create_or_update, earlier_request
from finetuning.operations.preflight import no_model
from finetuning.report import commands
from finetuning.runs.approval import Approval
from finetuning.runs.expiry import IDLE_TAG, KEPT_TAG, NEVER, TTL_TAG, Deadline, Lifetime, Limit, kept_until
from finetuning.runs.guardrails import LONGEST_UPDATE_SECONDS
from finetuning.runs.layout import RunLayout
from finetuning.runs.names import Names
from finetuning.runs.outcomes import Outcome, endpoint_outcome
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunState, RunStatus
from finetuning.runs.uploads import Upload, data_stem

PREFIX = "finetune-"
APPROVAL_STEP = "ApproveDeployment"
MAX_CAUSE = 32_000
"""Step Functions takes 32,768 characters of a cause."""

OUTPUTS = ("UploadBucketName", "ArtifactsBucketName", "StateMachineArn", "TopicArn")

UNKNOWN = Lifetime(NEVER, NEVER)
"""What the command takes an endpoint's limits for where its tags do not tell: only the sweeper knows the stage's."""

Advance = Callable[[int], None]
"""Told how many more bytes of a file have been sent."""


class EndpointSummary(BaseModel):
    """One of our endpoints. Times in hours or minutes as the names say; None where its tags do not tell."""

    name: str
    status: str
    run_id: str
    created_at: datetime
    ttl_hours: Limit | None
    idle_minutes: Limit | None
    goes_at: datetime | None
    """None: it does not go by itself."""
    goes_because: str
    instance_type: str
    instances: int
    usd_per_hour: float | None
    """Of all its instances, as many as there are now; so is the next."""
    usd_so_far: float | None
    calls_last_hour: int
    calls_last_day: int


def files_to_submit(folder: Path) -> list[Path]:
    """The data files of a run's folder, and its template.json; whatever else lies there stays at home.

    Raises `FineTuningError` (UPLOAD_WITHOUT_DATA) where there is no data file.
    """
    visible = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    data = [path for path in visible if is_data(path.name)]
    if not data:
        raise FineTuningError(
            Code.UPLOAD_WITHOUT_DATA,
            f"{folder} holds no data file.",
            f"Put a file there whose name ends in {', '.join(SUFFIXES)} (or one of these with .gz).",
        )
    return data + [path for path in visible if path.name == TEMPLATE_FILE]


@dataclass(frozen=True)
class Deployment:
    """The workflow of one stage in one account, found by its stack's outputs."""

    prefix: str
    upload_bucket: str
    artifacts_bucket: str
    state_machine_arn: str
    topic_arn: str

    @classmethod
    def find(cls, stage: str) -> "Deployment":
        """Reads the outputs of the stack `finetune-<stage>-workflow`.

        Raises `FineTuningError`: DEPLOYMENT_NOT_FOUND where it is not there, else what `cli.errors` makes of it.
        """
        prefix = PREFIX + stage
        stack = f"{prefix}-workflow"
        with cli_errors(f"read the stack {stack}"):
            cloudformation = client("cloudformation")
            try:
                described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
            except ClientError as error:
                if error_code(error) != "ValidationError" or "does not exist" not in str(error):
                    raise
                region = cloudformation.meta.region_name
                raise _not_found(f"There is no stack {stack} in {region}.", stage) from error
        outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}
        missing = [name for name in OUTPUTS if name not in outputs]
        if missing:
            state = described["StackStatus"]
            raise _not_found(f"The stack {stack} is {state} and has no output {', '.join(missing)}.", stage)
        return cls(prefix, *(outputs[name] for name in OUTPUTS))

    @property
    def stage(self) -> str:
        return self.prefix.removeprefix(PREFIX)

    @property
    def store(self) -> RunStore:
        """For reading: the command never writes into the artifacts bucket."""
        return RunStore(client("s3"), self.artifacts_bucket, kms_key_arn="")

    # A run begins

    def submit_file(self, path: Path, advance: Advance, name: str = "") -> Upload:
        """Uploads one data file into the inbox, which starts a run with the stage's defaults, of that name or the
        file's.
        """
        suffix = path.name.removeprefix(data_stem(path.name))
        return self._upload(path, f"inbox/{name + suffix if name else path.name}", advance)

    def submit_folder(
        self, files: Sequence[Path], run_json: bytes, name: str, advance: Callable[[Path], Advance]
    ) -> Upload:
        """Uploads the files, and then run.json, whose arrival starts the run.

        Raises `FineTuningError` (UPLOAD_FOLDER_TAKEN) where data of another upload lies there: it would be trained on.
        """
        self._require_no_other_data(f"runs/{name}/", {path.name for path in files})
        for path in files:
            self._upload(path, f"runs/{name}/{path.name}", advance(path))
        key = f"runs/{name}/{RUN_FILE}"
        with translate_errors(f"upload {key}"):
            put = client("s3").put_object(
                Bucket=self.upload_bucket, Key=key, Body=run_json, ContentType="application/json"
            )
        return Upload(self.upload_bucket, key, put["VersionId"])

    def submit_again(self, run_id: str) -> Upload:
        """Uploads what started a run once more, as a version of its own, which starts a run of its own.

        Raises `FineTuningError` (UPLOAD_NOT_FOUND) where nothing tells any more what that was, or it is gone.
        """
        status = self.status(run_id)
        try:
            with translate_errors(f"look up the upload of {run_id}"):
                upload = executions(self.state_machine_arn).upload(status.execution_arn if status else "")
                if upload is None:
                    raise FineTuningError(Code.REQUEST_INVALID, "Its execution was started with no upload.", "")
                source = {"Bucket": upload.bucket, "Key": upload.key, "VersionId": upload.version_id}
                # With other metadata, for S3 refuses to copy an object onto itself unchanged.
                changed = {"MetadataDirective": "REPLACE", "Metadata": {"again": run_id}}
                s3 = client("s3")
                s3.copy(source, upload.bucket, upload.key, ExtraArgs=changed)
                version = s3.head_object(Bucket=upload.bucket, Key=upload.key)["VersionId"]
        except FineTuningError as error:
            if error.code != Code.REQUEST_INVALID:
                raise
            raise FineTuningError(
                Code.UPLOAD_NOT_FOUND,
                f"What started {run_id} cannot be uploaded again: {error.message}",
                "Old versions are kept for 30 days, executions for 90. Submit the files themselves.",
            ) from error
        return Upload(upload.bucket, upload.key, version)

    def _require_no_other_data(self, folder: str, ours: Set[str]) -> None:
        with translate_errors(f"list {folder}"):
            pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.upload_bucket, Prefix=folder)
            names = [each["Key"].removeprefix(folder) for page in pages for each in page.get("Contents", [])]
        others = [name for name in names if name not in ours and (is_data(name) or name == TEMPLATE_FILE)]
        if others:
            raise FineTuningError(
                Code.UPLOAD_FOLDER_TAKEN,
                f"s3://{self.upload_bucket}/{folder} holds {', '.join(others)} of an earlier upload; "
                "that data would be trained on, too.",
                f"Choose another name with --name, or remove it: aws s3 rm s3://{self.upload_bucket}/{folder}{others[0]}",
            )

    def _upload(self, path: Path, key: str, advance: Advance) -> Upload:
        with translate_errors(f"upload {path}"), path.open("rb") as body:
            s3 = client("s3")
            # Not upload_file, whose own error hides AWS's.
            s3.upload_fileobj(body, self.upload_bucket, key, Callback=advance)
            return Upload(self.upload_bucket, key, s3.head_object(Bucket=self.upload_bucket, Key=key)["VersionId"])

    # A run goes on

    def status(self, run_id: str) -> RunStatus | None:
        """The run's status.json, None before the workflow has written it."""
        body = self.store.read(RunLayout(run_id).status)
        return None if body is None else RunStatus.model_validate_json(body)

    def plan(self, run_id: str) -> RunPlan | None:
        body = self.store.read(RunLayout(run_id).plan)
        return None if body is None else RunPlan.model_validate_json(body)

    def evaluation(self, run_id: str) -> EvaluationReport | None:
        body = self.store.read(RunLayout(run_id).evaluation)
        return None if body is None else EvaluationReport.model_validate_json(body)

    def report_page(self, run_id: str) -> str:
        """The S3 URI of the run's report."""
        return f"s3://{self.artifacts_bucket}/{RunLayout(run_id).report_page}"

    def stop(self, run_id: str) -> bool:
        """Stops the execution of a run; False where it runs no more. What was under way is cleaned up after it."""
        status = self.status(run_id)
        if status is None or not _is_running(status):
            return False
        cause = f"finetune stop, by {_caller()}"
        with translate_errors(f"stop the execution of {run_id}"):
            client("stepfunctions").stop_execution(
                executionArn=status.execution_arn, error=Code.RUN_ABORTED, cause=cause
            )
        return True

    def approve(self, run_id: str) -> str:
        """Answers yes to a run that waits for approval; returns whose answer it is.

        Raises `FineTuningError` (NOT_WAITING_FOR_APPROVAL).
        """
        token, who = self._asked(run_id), _caller()
        with _answering(run_id):
            client("stepfunctions").send_task_success(taskToken=token, output=json.dumps({"approved_by": who}))
        return who

    def reject(self, run_id: str, reason: str) -> str:
        """Answers no, which ends the run; else as `approve`."""
        token, who = self._asked(run_id), _caller()
        rejection = FineTuningError(
            Code.APPROVAL_REJECTED,
            f"{who} rejected the deployment{f': {reason}' if reason else '.'}",
            f"The tuned model is kept: {self._tuned_model(run_id)}. "
            f"Ask anew, without training: {commands.deploy(run_id, self.stage)}",
        )
        with _answering(run_id):
            client("stepfunctions").send_task_failure(
                taskToken=token, error=Code.APPROVAL_REJECTED, cause=str(rejection)[:MAX_CAUSE]
            )
        return who

    def _asked(self, run_id: str) -> str:
        """The token the run waits for."""
        body, status = self.store.read(RunLayout(run_id).approval), self.status(run_id)
        if body is None or status is None or status.step != APPROVAL_STEP or status.state.is_final:
            at = f"is {status.state} at {status.step}" if status else "has not begun"
            raise _not_waiting(f"The run {run_id} {at}: it does not wait for approval.")
        return Approval.model_validate_json(body).task_token

    def _tuned_model(self, run_id: str) -> str:
        status = self.status(run_id)
        artifact = RunLayout(run_id).model_artifact(status.training_job) if status else RunLayout(run_id).root
        return f"s3://{self.artifacts_bucket}/{artifact}"

    def execution_status(self, execution_arn: str) -> str:
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED."""
        with translate_errors("look up the execution"):
            return str(client("stepfunctions").describe_execution(executionArn=execution_arn)["status"])

    def run_ids(self) -> list[str]:
        with translate_errors("list the runs"):
            pages = (
                client("s3")
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self.artifacts_bucket, Prefix="runs/", Delimiter="/")
            )
            return [each["Prefix"].split("/")[1] for page in pages for each in page.get("CommonPrefixes", [])]

    def runs(self) -> list[RunStatus]:
        """Every run that has a status, the latest first."""
        with ThreadPoolExecutor(max_workers=16) as pool:
            found = [status for status in pool.map(self.status, self.run_ids()) if status]
        return sorted(found, key=lambda status: status.started_at, reverse=True)

    def resolve(self, run: str) -> str:
        """A run's id: as it is, or the latest run of an upload of that name.

        Raises `FineTuningError` (RUN_NOT_FOUND).
        """
        if self.status(run):
            return run
        named = [status.run_id for status in self.runs() if status.run_id.rpartition("-")[0] == run]
        if not named:
            raise FineTuningError(
                Code.RUN_NOT_FOUND,
                f"There is no run {run} in s3://{self.artifacts_bucket}/runs/.",
                "List the runs with `finetune runs`. A run appears some seconds after its upload.",
            )
        return named[0]

    def deploy(self, run_id: str, ttl_hours: float | None = None) -> str:
        """Starts an execution that deploys the model of an ended run once more, and returns its ARN.

        Raises `FineTuningError`: RUN_STILL_RUNNING, or RUN_HAS_NO_MODEL where the run trained none.
        """
        status, plan = self.status(run_id), self.plan(run_id)
        if status is None or plan is None or not status.training_job:
            finding = no_model(run_id)
            raise FineTuningError(finding.code, finding.message, finding.fix)
        if not status.state.is_final:
            raise FineTuningError(
                Code.RUN_STILL_RUNNING,
                f"The run {run_id} is still running, at {status.step}.",
                f"Wait for its end: {commands.watch(run_id, self.stage)}",
            )
        terms = {} if ttl_hours is None else {"ttl_hours": ttl_hours}
        event = {**plan.upload.model_dump(), "redeploy": terms}
        with translate_errors(f"start the deployment of {run_id}"):
            started = client("stepfunctions").start_execution(
                stateMachineArn=self.state_machine_arn, input=json.dumps(event)
            )
        return str(started["executionArn"])

    def taken_over(self, run_id: str, execution_arn: str) -> bool:
        """Whether the execution of `deploy` has the run by now.

        Raises `FineTuningError` where it ended without: RUN_STILL_RUNNING where another has it, else RUN_NOT_STARTED.
        """
        state = self.execution_status(execution_arn)  # first: it may take the run over and end between two looks
        status = self.status(run_id)
        if status and status.execution_arn == execution_arn:
            return True
        if state == "SUCCEEDED":
            raise FineTuningError(
                Code.RUN_STILL_RUNNING,
                f"Another execution has taken the run {run_id} up, so this one did nothing.",
                f"Wait for its end: {commands.watch(run_id, self.stage)}",
            )
        if state != "RUNNING":
            raise FineTuningError(
                Code.RUN_NOT_STARTED,
                f"The execution that was to deploy the model of {run_id} ended {state} before that: {execution_arn}",
                f"Read in the Step Functions console why it ended; then: {commands.deploy(run_id, self.stage)}",
            )
        return False

    # What answers, and what is left

    def endpoints(self) -> Iterator[EndpointSummary]:
        """The endpoints that runs of this stage made: by their names' prefix, and their tag."""
        now = datetime.now(UTC)
        for each in list(sagemaker().endpoints(f"{self.prefix}-")):
            found = endpoint_state(sagemaker(), each["EndpointName"], UNKNOWN, now)
            if found and found.run_id:
                yield self._summary(found, now)

    def _summary(self, found: EndpointState, now: datetime) -> EndpointSummary:
        plan, told = self.plan(found.run_id), found.tags.keys() - found.unreadable
        instances = found.instances or (plan.endpoint.instance_count if plan else 0)
        hourly = plan.endpoint.usd_per_hour * instances if plan and plan.endpoint.usd_per_hour is not None else None
        calls = invocations(found.name, now - timedelta(days=1), now)
        return EndpointSummary(
            name=found.name,
            status=found.status,
            run_id=found.run_id,
            created_at=found.created_at,
            ttl_hours=found.lifetime.ttl_hours if TTL_TAG in told else None,
            idle_minutes=found.lifetime.idle_minutes if IDLE_TAG in told else None,
            goes_at=found.deadline.at if found.deadline else None,
            goes_because=found.deadline.reason if found.deadline else "",
            instance_type=plan.endpoint.instance_type if plan else "",
            instances=instances,
            usd_per_hour=hourly,
            usd_so_far=None if hourly is None else hourly * (now - found.created_at).total_seconds() / 3600,
            calls_last_hour=round(sum(count for at, count in calls if at > now - timedelta(hours=1))),
            calls_last_day=round(sum(count for _, count in calls)),
        )

    def extend(self, endpoint: str, hours: float) -> Deadline | None:
        """Keeps the endpoint for at least so many hours from now, asked or not; returns when it goes then.

        It never shortens: an endpoint that would go later still does. None where it does not go by itself. Raises
        `FineTuningError` (ENDPOINT_NOT_FOUND) where there is none, or it is not this stage's.
        """
        control, now = sagemaker(), datetime.now(UTC)
        found = endpoint_state(control, endpoint, UNKNOWN, now)
        if found is None or found.tags.get(OWNER_TAG) != self.prefix:
            raise FineTuningError(
                Code.ENDPOINT_NOT_FOUND,
                f"The stage has no endpoint {endpoint}.",
                "List its endpoints with `finetune endpoints`.",
            )
        until = max(now + timedelta(hours=hours), kept_until(found.tags) or now)
        control.tag_endpoint(endpoint, {KEPT_TAG: until.isoformat(timespec="seconds")})
        extended = endpoint_state(control, endpoint, UNKNOWN, now)
        return extended.deadline if extended else None

    def endpoint(self, name: str) -> tuple[str, RunPlan | None]:
        """An endpoint's full name, and the plan of the run it serves; `name` may leave out the stage's prefix.

        Raises `FineTuningError` (ENDPOINT_NOT_FOUND).
        """
        control = sagemaker()
        for candidate in (name, f"{self.prefix}-{name}"):
            live = control.describe_endpoint(candidate)
            if live:
                run_id = control.tags(live["EndpointArn"]).get(RUN_TAG)
                return candidate, self.plan(run_id) if run_id else None
        raise _no_endpoint(name, self.prefix)

    def roll_back(self, endpoint: str) -> str:
        """Starts putting the endpoint back on the configuration it had before; returns that configuration's name.

        Raises `FineTuningError`: ENDPOINT_BUSY, NOTHING_TO_ROLL_BACK_TO.
        """
        control = sagemaker()
        request, instance_count = earlier_request(control, endpoint)
        run_id = next((tag["Value"] for tag in request["Tags"] if tag["Key"] == RUN_TAG), "")
        plan = self.plan(run_id)
        seconds = plan.endpoint.timeout_seconds if plan else LONGEST_UPDATE_SECONDS
        scaled = bool(plan and plan.endpoint.autoscaling)
        create_or_update(control, self.store, request, self.topic_arn, Fleet(instance_count, scaled, seconds))
        return str(request["EndpointConfigName"])

    def rolled_back(self, endpoint: str, config: str) -> bool:
        """Whether the endpoint serves that configuration by now; its autoscaling is then set up again.

        Raises `EndpointFailed` where it does not come to it.
        """
        live = sagemaker().describe_endpoint(endpoint)
        if live is None:
            raise _no_endpoint(endpoint, self.prefix)
        tags = sagemaker().tags(live["EndpointArn"])
        plan = self.plan(tags.get(RUN_TAG, ""))
        seconds = plan.endpoint.timeout_seconds if plan else LONGEST_UPDATE_SECONDS
        if endpoint_outcome(live, config, datetime.now(UTC), seconds) is Outcome.IN_PROGRESS:
            return False
        if plan and plan.endpoint.autoscaling:
            scale(endpoint, plan.endpoint.autoscaling)
        return True

    def names(self, run_id: str) -> Names:
        plan = self.plan(run_id)
        return plan.names(self.prefix) if plan else Names(self.prefix, run_id)

    def remains(self, run_id: str) -> list[str]:
        """What of a run still costs money, a line each."""
        control, names, status = sagemaker(), self.names(run_id), self.status(run_id)
        lines = [f"execution of {run_id}"] if _is_running(status) else []
        lines += [f"training job {job}" for job in control.training_jobs(names.training_job(0), "InProgress")]
        return lines + [f"endpoint {name}" for name in self._endpoints_of(control, names)]

    def remove(self, run_id: str) -> list[str]:
        """Stops and deletes what a run made in SageMaker; returns what was done, a line each. May be repeated.

        The run's files, the tuned weights among them, stay in the artifacts bucket.
        """
        control, names, status = sagemaker(), self.names(run_id), self.status(run_id)
        done = []
        if status and _is_running(status):
            with translate_errors(f"stop the execution of {run_id}"):
                client("stepfunctions").stop_execution(
                    executionArn=status.execution_arn, error=Code.RUN_ABORTED, cause="finetune clean-up"
                )
            done.append(f"Stopped the execution of {run_id}")
        for name in self._endpoints_of(control, names):
            control.delete_endpoint(name)
            done.append(f"Deleted the endpoint {name} and its configuration")
        done += remove_unfinished(control, names)
        control.delete_endpoint_config(names.endpoint_config)
        control.delete_model(names.model)
        return done

    @staticmethod
    def _endpoints_of(control: SageMaker, names: Names) -> list[str]:
        """An endpoint with a name of the user's may serve a later run: only the run's own configuration counts."""
        owned = {
            names.endpoint: names.endpoint_config,
            names.candidate: names.candidate,
            names.base: names.base,
        }
        live = {name: control.describe_endpoint(name) for name in owned}
        return [name for name, found in live.items() if found and found["EndpointConfigName"] == owned[name]]


def _no_endpoint(name: str, prefix: str) -> FineTuningError:
    return FineTuningError(
        Code.ENDPOINT_NOT_FOUND,
        f"There is no endpoint {name}, nor {prefix}-{name}.",
        "List them with `finetune endpoints`. One past its time was deleted; `finetune deploy RUN` brings it back.",
    )


def _not_found(message: str, stage: str) -> FineTuningError:
    return FineTuningError(
        Code.DEPLOYMENT_NOT_FOUND,
        message,
        f"Deploy the stage first (`npx cdk deploy --all -c stage={stage}`), or name another with --stage; "
        "check the account, the region and AWS_ENDPOINT_URL.",
    )


def _not_waiting(message: str) -> FineTuningError:
    return FineTuningError(
        Code.NOT_WAITING_FOR_APPROVAL,
        message,
        'See where it is with `finetune watch`. Only a run with "approval": true in its run.json asks, after training.',
    )


@contextmanager
def _answering(run_id: str) -> Iterator[None]:
    """Tells an answer that comes too late from one that could not be sent."""
    with translate_errors(f"answer the run {run_id}"):
        try:
            yield
        except ClientError as error:
            if error_code(error) not in ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken"):
                raise
            raise _not_waiting(f"The run {run_id} does not wait any more: it was answered, or it ended.") from error


def _caller() -> str:
    """The name of whoever runs the command, as AWS knows it."""
    with translate_errors("ask who you are"):
        return str(client("sts").get_caller_identity()["Arn"])


def _is_running(status: RunStatus | None) -> bool:
    return status is not None and status.state is RunState.RUNNING and bool(status.execution_arn)
