"""The deployed product as its users meet it: uploads by a plain boto3 client, then status.json and the execution."""

import io
import json
import time
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finetuning.datasets.offline import prepare_files
from finetuning.metrics import TRAINING_LOG_GROUP
from finetuning.runs.layout import RunLayout
from finetuning.runs.run_json import RunRequest
from finetuning.runs.uploads import Upload, upload_of
from rehearsal.running import Emulator
from tests.rehearsal.support.stacks import any_name, finished, invoke

SETTINGS: dict[str, Any] = {
    "model": "meta-textgeneration-llama-3-1-8b-instruct",
    "accept_eula": True,
    "task": "chat",
    "hyperparameters": {
        "epoch": 2, "learning_rate": 0.003, "lora_r": 4, "per_device_train_batch_size": 4, "max_input_length": 512,
    },
    "validation_fraction": 0.25,
    "endpoint": {"deploy": False},
    "evaluation": {"prompts": 2, "compare_with_base": False},
}  # fmt: skip

QUICK = {"hyperparameters": {"epoch": 1, "max_input_length": 128, "per_device_train_batch_size": 4}}
"""Changes to SETTINGS for a training that need not learn anything."""

JUDGE, JUDGE_PROFILE = "amazon.nova-pro-v1:0", "us.amazon.nova-lite-v1:0"
"""What the stage lets judge: a model, and an inference profile."""

SCALING = {"min_instances": 1, "max_instances": 2, "invocations_per_instance": 30}
"""An `endpoint.autoscaling` of run.json."""

PROBE = """
import importlib
import os

def handler(event, context):
    files = {name: importlib.import_module(name).__file__ for name in event["modules"]}
    return {"task_root": os.environ["LAMBDA_TASK_ROOT"], "files": files}
"""


@dataclass(frozen=True)
class Product:
    """The stacks' outputs, and the emulator they are deployed to."""

    emulator: Emulator
    uploads: str
    artifacts: str
    state_machine: str

    def put(self, key: str, body: bytes) -> Upload:
        version = self.emulator.client("s3").put_object(Bucket=self.uploads, Key=key, Body=body)["VersionId"]
        return Upload(self.uploads, key, version)

    def submit(self, data: bytes, file: str = "chats.jsonl", *, name: str = "", **changes: Any) -> str:
        """Uploads a folder of one data file with a run.json, SETTINGS with the changes; returns the run's id."""
        name = name or any_name("run")
        self.put(f"runs/{name}/{file}", data)
        return self.put(f"runs/{name}/run.json", json.dumps(SETTINGS | changes).encode()).run_id

    def submit_training(self, **changes: Any) -> str:
        """The id of a run whose training job is under way, and does nothing until it is stopped."""
        name = any_name("training")
        self.emulator.inject("job-hangs", match=name)
        run_id = self.submit(b"".join(any_chats()), name=name, **changes)
        self.until(run_id, lambda _: "InProgress" in self.jobs_of(run_id).values())
        return run_id

    def status(self, run_id: str) -> dict[str, Any]:
        """status.json as it is now; empty before there is one."""
        s3 = self.emulator.client("s3")
        try:
            answer = s3.get_object(Bucket=self.artifacts, Key=RunLayout(run_id).status)
        except s3.exceptions.NoSuchKey:
            return {}
        status: dict[str, Any] = json.loads(answer["Body"].read())
        return status

    def history(self, key: str) -> list[dict[str, Any]]:
        """What a document of the stage has been, the earliest first."""
        s3 = self.emulator.client("s3")
        listed = s3.list_object_versions(Bucket=self.artifacts, Prefix=key)["Versions"]
        ids = [each["VersionId"] for each in reversed(listed)]
        return [
            json.loads(s3.get_object(Bucket=self.artifacts, Key=key, VersionId=each)["Body"].read()) for each in ids
        ]

    def ended(self, run_id: str, seconds: float = 300) -> dict[str, Any]:
        """status.json once the run has ended."""
        return self.until(run_id, lambda status: status.get("state", "running") != "running", seconds)

    def until(self, run_id: str, reached: Any, seconds: float = 120) -> dict[str, Any]:
        """status.json once `reached(status)`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.status(run_id)
            if reached(status):
                return status
            time.sleep(0.1)
        at = {key: status.get(key) for key in ("state", "step", "progress", "ladder", "events")}
        raise AssertionError(f"{run_id} did not get there in {seconds} s: {json.dumps(at)[-2000:]}")

    def executions_of(self, run_id: str) -> list[dict[str, Any]]:
        """The executions whose input is the upload of the run, with their status."""
        states = self.emulator.client("stepfunctions")
        listed = states.list_executions(stateMachineArn=self.state_machine)["executions"]
        described = [states.describe_execution(executionArn=execution["executionArn"]) for execution in listed]
        return [execution for execution in described if _upload_of(execution).run_id == run_id]

    def execution_ended(self, execution: dict[str, Any]) -> dict[str, Any]:
        return finished(self.emulator, execution["executionArn"])

    def until_started(self, run_id: str, seconds: float = 60) -> str:
        """The ARN of the run's execution once there is one."""
        deadline = time.monotonic() + seconds
        while not (executions := self.executions_of(run_id)):
            assert time.monotonic() < deadline, f"{run_id} was not started"
            time.sleep(0.2)
        return str(executions[0]["executionArn"])

    def versions(self, name: str) -> list[tuple[str, str]]:
        """Key and version of every object that was ever in the folder of that upload."""
        listed = self.emulator.client("s3").list_object_versions(Bucket=self.uploads, Prefix=f"runs/{name}/")
        return sorted(
            (item["Key"], item["VersionId"]) for kind in ("Versions", "DeleteMarkers") for item in listed.get(kind, [])
        )

    def sweep(self) -> dict[str, Any]:
        """What the schedule does every few minutes."""
        answer: dict[str, Any] = invoke(self.emulator, self.function("sweep_endpoints"), {"period_minutes": 15})
        assert "errorType" not in answer, answer
        return answer

    def sweep_runs(self) -> dict[str, list[str]]:
        """What the scheduled sweep of runs does, without the ten minutes it gives events and clean-ups."""
        given = {"state_machine_arn": self.state_machine, "older_than_minutes": 0}
        swept: dict[str, list[str]] = invoke(self.emulator, self.function("sweep_runs"), given)
        return swept

    def log(self, handler: str) -> list[str]:
        """What the function with that handler has logged so far."""
        config = self.emulator.client("lambda").get_function_configuration(FunctionName=self.function(handler))
        pages = self.emulator.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=config["LoggingConfig"]["LogGroup"])
        return [event["message"] for page in found for event in page["events"]]

    def function(self, handler: str) -> str:
        """Name of the deployed function with that handler."""
        pages = self.emulator.client("lambda").get_paginator("list_functions").paginate()
        return next(
            str(f["FunctionName"])
            for page in pages
            for f in page["Functions"]
            if f["Handler"] == f"finetuning.handlers.{handler}.handler"
        )

    def probe(self, function: dict[str, Any]) -> str:
        """A function of the same zip, layers and settings, and one module more: it tells where modules come from."""
        api = self.emulator.client("lambda")
        with urllib.request.urlopen(
            api.get_function(FunctionName=function["FunctionName"])["Code"]["Location"]
        ) as code:
            archive = io.BytesIO(code.read())
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("probe.py", PROBE)
        name = any_name("probe")
        api.create_function(
            FunctionName=name,
            Runtime=function["Runtime"],
            Role=function["Role"],
            Handler="probe.handler",
            Code={"ZipFile": archive.getvalue()},
            Environment=function["Environment"],
            Layers=[layer["Arn"] for layer in function["Layers"]],
            Timeout=60,
        )
        return name

    def states_of(self, run_id: str) -> list[str]:
        """The states that the run's execution entered until it ended, in their order."""
        return [entered["name"] for entered in self._history(run_id, "stateEnteredEventDetails")]

    def errors_of(self, run_id: str) -> set[str]:
        """The errors of the tasks of the run's execution until it ended, those of tries that were repeated included."""
        return {failed["error"] for failed in self._history(run_id, "taskFailedEventDetails")}

    def _history(self, run_id: str, details: str) -> list[dict[str, Any]]:
        (execution,) = self.executions_of(run_id)
        self.execution_ended(execution)
        pages = self.emulator.client("stepfunctions").get_paginator("get_execution_history")
        found = pages.paginate(executionArn=execution["executionArn"])
        return [event[details] for page in found for event in page["events"] if details in event]

    def training_log(self, job: str) -> list[str]:
        """The lines that the training job wrote."""
        logs, group = self.emulator.client("logs"), TRAINING_LOG_GROUP
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")["logStreams"]
        events = logs.get_log_events(logGroupName=group, logStreamName=streams[0]["logStreamName"])["events"]
        return [event["message"] for event in events]

    def channels(self, run_id: str) -> dict[str, bytes]:
        """What the run would train on, or trained on: `train/<file>` and `validation/<file>`, and its content."""
        s3, prefix = self.emulator.client("s3"), f"{RunLayout(run_id).root}dataset/"
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=self.artifacts, Prefix=prefix).get("Contents", [])]
        get = lambda key: s3.get_object(Bucket=self.artifacts, Key=key)["Body"].read()  # noqa: E731
        return {key.removeprefix(prefix): get(key) for key in keys}

    def jobs_of(self, run_id: str) -> dict[str, str]:
        """The training jobs of a run and their status."""
        jobs = self.emulator.client("sagemaker").list_training_jobs(NameContains=run_id)["TrainingJobSummaries"]
        return {job["TrainingJobName"]: job["TrainingJobStatus"] for job in jobs}


def undisturbed(data: bytes, folder: Path, file: str = "chats.jsonl") -> dict[str, bytes]:
    """What a run of this file with SETTINGS trains on, prepared on this machine: as `Product.channels`."""
    (folder / file).write_bytes(data)
    out = folder / "out"
    prepare_files([folder / file], out, options=RunRequest.model_validate(SETTINGS).data_options)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def as_parquet(lines: list[bytes]) -> bytes:
    """The same rows as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([json.loads(line) for line in lines]), file)
    return file.getvalue()


def any_chats(count: int = 12) -> list[bytes]:
    """Lines of short chats, all answered in one style."""
    return [
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"What is {number} and {number}?"},
                    {"role": "assistant", "content": f"Aye, that be {2 * number}, matey."},
                ]
            }
        ).encode()
        + b"\n"
        for number in range(count)
    ]


def _upload_of(execution: dict[str, Any]) -> Upload:
    upload = upload_of(execution["input"])
    assert upload, execution["input"]
    return upload
