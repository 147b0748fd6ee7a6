"""Training jobs: the container's contract under a folder in place of /opt/ml, run by the stand-in trainer.

Not rehearsed: instances (their names and the account's quota are checked), the training image, JumpStart's own script.
"""

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from rehearsal.emulator import events
from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.faults import Fault
from rehearsal.emulator.sagemaker import checks
from rehearsal.emulator.sagemaker.errors import CAPACITY_REASONS, PENDING_MESSAGE, Refused, invalid
from rehearsal.emulator.sagemaker.training_plans import TrainingPlans

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_LONGEST_PENDING = 28 * 24 * 3600
_IMAGE = re.compile(r"\d{12}\.dkr\.ecr\.[\w-]+\.amazonaws\.com/[\w./-]+[:@].+")


class _Ended(Exception):
    """The job reached a terminal state: status, secondary status and the reason."""

    def __init__(self, status: str, secondary: str, reason: str = "") -> None:
        super().__init__(reason)
        self.status, self.secondary, self.reason = status, secondary, reason


class _Job:
    """One job: what DescribeTrainingJob answers, and the process behind it."""

    def __init__(self, context: EmulatorContext, request: dict[str, Any]) -> None:
        self.name = str(request["TrainingJobName"])
        self.request = request
        self.folder = context.state / "jobs" / self.name
        self.stopping = threading.Event()
        now = datetime.now(UTC)
        self.description: dict[str, Any] = {
            **{key: value for key, value in request.items() if key not in {"Tags"}},
            "TrainingJobArn": context.arn("training-job", self.name),
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "CreationTime": now,
            "LastModifiedTime": now,
            "SecondaryStatusTransitions": [],
            "FinalMetricDataList": [],
        }

    def enter(self, secondary: str, message: str) -> None:
        """The next secondary status, with the transition it makes."""
        now = datetime.now(UTC)
        transitions = self.description["SecondaryStatusTransitions"]
        if transitions:
            transitions[-1].setdefault("EndTime", now)
        transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
        self.description |= {"SecondaryStatus": secondary, "LastModifiedTime": now}
        events.training_job_changed(self.description)

    def conclude(self, ended: _Ended) -> None:
        now = datetime.now(UTC)
        self.description |= {"TrainingJobStatus": ended.status, "TrainingEndTime": now}
        if start := self.description.get("TrainingStartTime"):
            self.description["TrainingTimeInSeconds"] = int((now - start).total_seconds()) + 1
            self.description["BillableTimeInSeconds"] = self.description["TrainingTimeInSeconds"]
        if ended.status == "Failed":
            self.description["FailureReason"] = ended.reason[:1024]
        self.enter(ended.secondary, ended.reason or f"Training job {ended.status.lower()}")
        self.description["SecondaryStatusTransitions"][-1]["EndTime"] = now

    @property
    def instance_types(self) -> list[str]:
        """Those it may take, in order; one alone once it is selected."""
        return instance_types(self.description["ResourceConfig"])

    def grow_older(self, by: timedelta) -> None:
        self.description["CreationTime"] -= by

    def measure(self, line: str) -> None:
        """Keeps the last value of each metric whose expression matches the line, as SageMaker does."""
        for definition in self.request["AlgorithmSpecification"].get("MetricDefinitions", []):
            if found := re.search(definition["Regex"], line):
                latest = {
                    "MetricName": definition["Name"],
                    "Value": float(found.group(1)),
                    "Timestamp": datetime.now(UTC),
                }
                others = [m for m in self.description["FinalMetricDataList"] if m["MetricName"] != definition["Name"]]
                self.description["FinalMetricDataList"] = [*others, latest]


class TrainingJobs:
    """The training jobs of the account."""

    def __init__(self, context: EmulatorContext, plans: TrainingPlans) -> None:
        self._world, self._plans = context, plans
        self._jobs: dict[str, _Job] = {}
        self._reasons = cycle(CAPACITY_REASONS)

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        if job := self._jobs.get(request["TrainingJobName"]):
            raise Refused(
                "ResourceInUse",
                "Training job names must be unique within an AWS account and region, and a training job with this name "
                f"already exists ({job.description['TrainingJobArn']})",
            )
        self._check(request)
        job = self._jobs[request["TrainingJobName"]] = _Job(self._world, request)
        threading.Thread(target=self._run, args=(job,), daemon=True, name=f"job-{job.name}").start()
        return {"TrainingJobArn": job.description["TrainingJobArn"]}

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._job(request).description

    def stop(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._job(request)
        status = job.description["TrainingJobStatus"]
        if status not in {"InProgress", "Stopping"}:
            raise invalid(f"The request was rejected because the training job is in status {status}.")
        job.description["TrainingJobStatus"] = "Stopping"
        job.stopping.set()
        return {}

    def summaries(self) -> list[dict[str, Any]]:
        members = (
            "TrainingJobName",
            "TrainingJobArn",
            "CreationTime",
            "TrainingEndTime",
            "LastModifiedTime",
            "TrainingJobStatus",
        )
        return [{m: j.description[m] for m in members if m in j.description} for j in self._jobs.values()]

    def costing(self) -> Iterator[dict[str, Any]]:
        """The jobs that have not ended."""
        for job in list(self._jobs.values()):
            described = job.description
            if described["TrainingJobStatus"] in {"InProgress", "Stopping"}:
                yield {
                    "kind": "training job",
                    "name": job.name,
                    "arn": described["TrainingJobArn"],
                    "status": described["TrainingJobStatus"],
                    "instance_type": job.instance_types[0],
                    "instances": described["ResourceConfig"]["InstanceCount"],
                }

    def _job(self, request: dict[str, Any]) -> _Job:
        if job := self._jobs.get(request["TrainingJobName"]):
            return job
        raise invalid("Requested resource not found.")

    def _check(self, request: dict[str, Any]) -> None:
        context, resources = self._world, request.get("ResourceConfig", {})
        for member in ("InputDataConfig", "StoppingCondition"):
            if not request.get(member):
                raise invalid(f"{member} is required for a training job.")
        if ("InstanceType" in resources) == ("InstancePreferences" in resources):
            raise invalid(
                "A training job needs either ResourceConfig.InstanceType or ResourceConfig.InstancePreferences."
            )
        self._plans.require_for(resources)
        wanted = instance_types(resources)
        if len(set(wanted)) < len(wanted):
            raise invalid("An instance type can appear only once in InstancePreferences.")
        if not _IMAGE.fullmatch(request["AlgorithmSpecification"].get("TrainingImage", "")):
            raise invalid("AlgorithmSpecification.TrainingImage is not the URI of an image in ECR.")
        checks.role_can_be_assumed(context, request["RoleArn"])
        checks.network_exists(context, request.get("VpcConfig"))
        for instance_type in wanted:
            checks.volume_key_fits(instance_type, resources.get("VolumeKmsKeyId"), "VolumeKmsKeyId")
        as_role = context.client("s3", request["RoleArn"])
        for channel in request["InputDataConfig"]:
            source = channel["DataSource"]["S3DataSource"]
            if checks.is_gated(source["S3Uri"]):
                accepted = source.get("ModelAccessConfig", {}).get("AcceptEula", False)
                checks.gated_object_opens(context, source["S3Uri"], accepted, "ModelAccessConfig.AcceptEula")
            elif reason := checks.has_objects(as_role, source["S3Uri"]):
                raise invalid(
                    f'No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source. Please ensure '
                    f"that the bucket exists in the selected region ({context.region}), that objects exist under that "
                    f'S3 prefix, and that the role "{request["RoleArn"]}" has "s3:ListBucket" permissions on the '
                    f"bucket. Error message from S3: {reason}"
                )
        environment = request.get("Environment", {})
        if gated := environment.get("SageMakerGatedModelS3Uri"):
            checks.gated_object_opens(
                context, gated, environment.get("accept_eula") == "true", "Environment accept_eula"
            )
        # A job of several types is taken to need, and to hold, the quota of each until one is selected.
        for instance_type in wanted:
            running = sum(
                j.description["ResourceConfig"]["InstanceCount"]
                for j in self._jobs.values()
                if j.description["TrainingJobStatus"] == "InProgress" and instance_type in j.instance_types
            )
            count = resources.get("InstanceCount", 1)
            checks.quota_allows(context, instance_type, "training job usage", count, running)

    def _run(self, job: _Job) -> None:
        try:
            job.enter("Starting", "Launching requested ML instances")
            self._launch(job)
            self._require_weights(job)
            job.description["TrainingStartTime"] = datetime.now(UTC)
            job.enter("Downloading", "Downloading input data")
            self._download(job)
            job.enter("Training", "Training image download completed. Training in progress.")
            self._train(job)
            job.enter("Uploading", "Uploading generated training model")
            self._upload(job)
            raise _Ended("Completed", "Completed")
        except _Ended as ended:
            job.conclude(ended)
        except Exception as error:  # noqa: BLE001 — SageMaker, too, reports its own faults as a failed job
            job.conclude(_Ended("Failed", "Failed", f"InternalServerError: {error!r}"))

    def _launch(self, job: _Job) -> None:
        """Finds an instance of the first type in the job's order that has capacity."""
        faults, described = self._world.faults, f"{job.name} {' '.join(job.instance_types)}"
        if faults.take(Fault.PENDING_ENDS, described):
            longest = job.request["StoppingCondition"].get("MaxPendingTimeInSeconds", _LONGEST_PENDING)
            job.grow_older(timedelta(seconds=longest))
            job.enter("Pending", PENDING_MESSAGE)
            raise _Ended("Stopped", "Stopped")
        if hours := faults.number(Fault.PENDING, described, default=48):
            job.grow_older(timedelta(hours=hours))
            job.enter("Pending", PENDING_MESSAGE)
            job.stopping.wait()
            raise _Ended("Stopped", "Stopped")
        message = ""
        for instance_type in job.instance_types:
            if message := faults.take(Fault.CAPACITY, f"{job.name} {instance_type}") or "":
                continue
            if "InstancePreferences" in job.description["ResourceConfig"]:
                selected = {"SelectedInstanceType": instance_type, "SelectedInstanceCount": 1}
                job.description["ResourceConfig"] = job.description["ResourceConfig"] | selected
            return
        reason = next(self._reasons).format(instance_type=job.instance_types[-1])
        raise _Ended("Failed", "Failed", f"{reason} ({message})")

    def _require_weights(self, job: _Job) -> None:
        channels = {channel["ChannelName"] for channel in job.request["InputDataConfig"]}
        if "SageMakerGatedModelS3Uri" not in job.request.get("Environment", {}) and "model" not in channels:
            raise _Ended(
                "Failed",
                "Failed",
                "AlgorithmError: no model weights: neither SageMakerGatedModelS3Uri nor a model channel",
            )

    def _download(self, job: _Job) -> None:
        """Fills input/ as the container finds it; the base model's weights stay where they are."""
        config = job.folder / "input" / "config"
        config.mkdir(parents=True)
        for folder in ("model", "output"):
            (job.folder / folder).mkdir()
        (config / "hyperparameters.json").write_text(json.dumps(job.request.get("HyperParameters", {})))
        (config / "inputdataconfig.json").write_text(
            json.dumps({channel["ChannelName"]: {} for channel in job.request["InputDataConfig"]})
        )
        s3 = self._world.client("s3", job.request["RoleArn"])
        for channel in job.request["InputDataConfig"]:
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            if checks.is_gated(uri):
                continue
            bucket, prefix = checks.split_uri(uri)
            for key in checks.objects(s3, uri):
                relative = key.removeprefix(prefix).lstrip("/") or Path(key).name
                target = job.folder / "input" / "data" / channel["ChannelName"] / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, key, str(target))

    def _train(self, job: _Job) -> None:
        faults, deadline = self._world.faults, time.monotonic() + _max_seconds(job.request)
        released = faults.hold(Fault.JOB_HANGS, job.name)
        while not released.wait(0.1):
            _end_if_over(job, deadline)
        if message := faults.take(Fault.JOB_FAILS, job.name):
            self._follow(job, [message])
            raise _Ended("Failed", "Failed", f"AlgorithmError: {message}, exit code: 1")
        if faults.take(Fault.JOB_TIMES_OUT, job.name):
            raise _Ended("Stopped", "MaxRuntimeExceeded")
        arguments = ("--root", job.folder, "--base-model", self._world.base_model)
        reading, writing = os.pipe()
        with os.fdopen(writing, "w") as output:
            process = self._world.trainer.start("train", *arguments, output=output)
        reader = threading.Thread(target=self._follow, args=(job, os.fdopen(reading)), daemon=True)
        reader.start()
        if faults.take(Fault.JOB_STOPS, job.name):
            job.stopping.set()
        try:
            while (code := process.wait(0.2)) is None:
                _end_if_over(job, deadline)
        finally:
            process.end()
        reader.join()
        if code:
            failure = job.folder / "output" / "failure"
            reason = failure.read_text() if failure.exists() else "the process left no reason"
            raise _Ended("Failed", "Failed", f"AlgorithmError: {reason}, exit code: {code}")

    def _follow(self, job: _Job, lines: Iterable[str]) -> None:
        """Copies the container's lines to CloudWatch Logs and reads the metrics in them."""
        logs = self._world.client("logs")
        stream = {"logGroupName": LOG_GROUP, "logStreamName": f"{job.name}/algo-1-{int(time.time())}"}
        try:
            logs.create_log_group(logGroupName=LOG_GROUP)
        except ClientError as error:
            # By an earlier job. `logs.exceptions` may have another class for it if two jobs begin at the same moment.
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise
        logs.create_log_stream(**stream)
        for line in lines:
            job.measure(line)
            entry = {"timestamp": int(time.time() * 1000), "message": line.rstrip() or " "}
            logs.put_log_events(**stream, logEvents=[entry])

    def _upload(self, job: _Job) -> None:
        """The files below `output/model`, or `output/model.tar.gz`, as the request's CompressionType says; the location
        is reported without a slash at its end, which CreateModel requires."""
        output = job.request["OutputDataConfig"]
        artefact = f"{output['S3OutputPath'].rstrip('/')}/{job.name}/output/model"
        encryption = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": output["KmsKeyId"]} if "KmsKeyId" in output else {}
        )
        s3 = self._world.client("s3", job.request["RoleArn"])
        model = job.folder / "model"
        if output.get("CompressionType", "GZIP") == "NONE":
            files = {f"/{file.relative_to(model).as_posix()}": file for file in model.rglob("*") if file.is_file()}
        else:
            files = {".tar.gz": Path(shutil.make_archive(str(model), "gztar", model))}
            artefact += ".tar.gz"
        bucket, key = checks.split_uri(artefact.removesuffix(".tar.gz"))
        for rest, file in sorted(files.items()):
            s3.upload_file(str(file), bucket, key + rest, ExtraArgs=encryption)
        job.description["ModelArtifacts"] = {"S3ModelArtifacts": artefact}


def instance_types(resources: dict[str, Any]) -> list[str]:
    """The types that a ResourceConfig names, in order of preference; the selected one alone once there is one."""
    if selected := resources.get("SelectedInstanceType", resources.get("InstanceType")):
        return [selected]
    return [preference["InstanceType"] for preference in resources["InstancePreferences"]]


def _max_seconds(request: dict[str, Any]) -> int:
    return int(request["StoppingCondition"].get("MaxRuntimeInSeconds", 86400))


def _end_if_over(job: _Job, deadline: float) -> None:
    if job.stopping.is_set():
        raise _Ended("Stopped", "Stopped")
    if time.monotonic() > deadline:
        raise _Ended("Stopped", "MaxRuntimeExceeded")
