"""`finetune logs`, `download` and `open`."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest

from finetuning.aws.clients import client
from finetuning.errors import Code, FineTuningError
from finetuning.metrics import TRAINING_LOG_GROUP
from finetuning.runs.status import RunState
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.downloads import RemoteFile, download, model_files
from finetuning_cli.stage.logs import training_log
from tests.builders.cli import ARTIFACTS, Command, write_status
from tests.builders.runs import RUN_ID, any_status

JOB = f"finetune-dev-{RUN_ID}"
MODEL = f"runs/{RUN_ID}/output/{JOB}/output/model/"
WEIGHTS = bytes(range(256)) * 5000


@pytest.fixture
def model(deployment: Deployment) -> dict[str, bytes]:
    """The files of a tuned model: one with a checksum that Python can compute, one with none."""
    s3 = boto3.client("s3", region_name="us-east-1")
    files = {"config.json": b"{}", "parts/model.safetensors": WEIGHTS}
    s3.put_object(Bucket=ARTIFACTS, Key=MODEL + "config.json", Body=b"{}")
    s3.put_object(Bucket=ARTIFACTS, Key=MODEL + "parts/model.safetensors", Body=WEIGHTS, ChecksumAlgorithm="SHA256")
    write_status(any_status(training_job=JOB, model_artifact=f"s3://{ARTIFACTS}/{MODEL}"))
    return files


def weights_of(deployment: Deployment) -> RemoteFile:
    (found,) = [file for file in model_files(deployment.run(RUN_ID)) if file.name.endswith("safetensors")]
    return found


def test_a_model_is_downloaded_with_its_digests(model: dict[str, bytes], finetune: Command, tmp_path: Path) -> None:
    code, output = finetune("download", RUN_ID, str(tmp_path / "model"))
    assert code == 0
    assert {name: (tmp_path / "model" / name).read_bytes() for name in model} == model
    sums = (tmp_path / "model" / "SHA256SUMS").read_text().splitlines()
    assert "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a  config.json" in sums  # of {}
    assert "2 files" in output


def test_a_download_goes_on_where_it_ended(
    model: dict[str, bytes], deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, ranges, seen = weights_of(deployment), [], []
    part = tmp_path / "parts" / f"model.safetensors.{file.etag[:8]}.part"
    part.parent.mkdir()
    part.write_bytes(WEIGHTS[:1000])
    get = client("s3").get_object

    def watched(**request: str) -> object:
        ranges.append(request.get("Range"))
        return get(**request)

    monkeypatch.setattr(client("s3"), "get_object", watched)
    done = download(file, tmp_path, seen.append)
    assert (tmp_path / file.name).read_bytes() == WEIGHTS
    assert ranges == ["bytes=1000-"]
    assert sum(seen) == len(WEIGHTS)
    assert done.checked
    assert not part.exists()
    download(file, tmp_path, seen.append)
    assert len(ranges) == 1  # what is complete is not downloaded again


def test_a_model_that_the_disk_has_no_room_for_is_not_downloaded(
    model: dict[str, bytes], finetune: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    config = tmp_path / "model" / "config.json"
    finetune("download", RUN_ID, str(tmp_path / "model"))
    (tmp_path / "model" / "parts" / "model.safetensors").unlink()
    usage = SimpleNamespace(free=len(WEIGHTS) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert finetune("download", RUN_ID, str(tmp_path / "model"))[0] == 2
    assert "1,280,000 bytes are still to be downloaded" in " ".join(finetune.stderr.replace("│", "").split())
    usage.free = len(WEIGHTS)
    assert finetune("download", RUN_ID, str(tmp_path / "model"))[0] == 0
    assert config.read_bytes() == b"{}"


def test_a_folder_that_cannot_be_written_is_a_usage_error(
    model: dict[str, bytes], finetune: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").touch()
    assert finetune("download", RUN_ID, str(tmp_path / "taken" / "model"))[0] == 2
    assert "FOLDER" in finetune.stderr


def test_a_damaged_file_is_deleted_and_reported(
    model: dict[str, bytes], deployment: Deployment, tmp_path: Path
) -> None:
    file = weights_of(deployment)
    path = tmp_path / file.name
    path.parent.mkdir()
    path.write_bytes(b"x" * len(WEIGHTS))
    os.utime(path, (file.changed_at, file.changed_at))
    with pytest.raises(FineTuningError) as caught:
        download(file, tmp_path, lambda count: None)
    assert caught.value.code == Code.DOWNLOAD_DAMAGED
    assert not path.exists()


def test_a_name_cannot_lead_out_of_the_folder(deployment: Deployment, tmp_path: Path) -> None:
    with pytest.raises(FineTuningError, match="leads out of its folder"):
        download(RemoteFile(ARTIFACTS, MODEL + "../x", "../x", 1, "e", 0), tmp_path / "model", lambda count: None)


def test_a_file_of_another_run_with_the_same_name_and_size_is_replaced(
    model: dict[str, bytes], deployment: Deployment, tmp_path: Path
) -> None:
    file = weights_of(deployment)
    path = tmp_path / file.name
    path.parent.mkdir()
    path.write_bytes(b"x" * len(WEIGHTS))
    os.utime(path, (file.changed_at - 3600, file.changed_at - 3600))
    download(file, tmp_path, lambda count: None)
    assert path.read_bytes() == WEIGHTS


def test_a_run_without_a_model_cannot_be_downloaded(deployment: Deployment, finetune: Command, tmp_path: Path) -> None:
    write_status(any_status(state=RunState.FAILED))
    with pytest.raises(FineTuningError) as caught:
        finetune("download", RUN_ID, str(tmp_path))
    assert caught.value.code == Code.RUN_HAS_NO_MODEL


@pytest.fixture
def log(deployment: Deployment) -> str:
    """A log stream with 30 lines; returns its name."""
    logs, stream = boto3.client("logs", region_name="us-east-1"), f"{JOB}/algo-1-1"
    logs.create_log_group(logGroupName=TRAINING_LOG_GROUP)
    logs.create_log_stream(logGroupName=TRAINING_LOG_GROUP, logStreamName=stream)
    add_lines(stream, 0, 30)
    return stream


def add_lines(stream: str, first: int, count: int) -> None:
    now = round(time.time() * 1000) - 60_000  # CloudWatch Logs refuses lines of more than two weeks ago
    events = [{"timestamp": now + number, "message": f"step {number}"} for number in range(first, first + count)]
    boto3.client("logs", region_name="us-east-1").put_log_events(
        logGroupName=TRAINING_LOG_GROUP, logStreamName=stream, logEvents=events
    )


def test_the_log_of_the_training_is_printed(log: str, finetune: Command) -> None:
    write_status(any_status(training_job=JOB))
    code, output = finetune("logs", RUN_ID)
    assert (code, output.splitlines()) == (0, [f"step {number}" for number in range(30)])
    assert json.loads(finetune("logs", RUN_ID, "--json")[1])["lines"][-1] == "step 29"


def test_followed_lines_come_once_until_the_training_ends(
    log: str, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status(training_job=JOB, state=RunState.RUNNING))
    states: Iterator[str] = iter(["Failed", "Completed"])  # without capacity another job follows
    monkeypatch.setattr(client("sagemaker"), "describe_training_job", lambda **_: {"TrainingJobStatus": next(states)})
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        add_lines(log, 30, 2)

    lines = list(training_log(deployment.run(RUN_ID), follow=True, wait=wait))
    assert lines == [f"step {number}" for number in range(32)]
    assert len(waits) == 1


def test_a_run_that_trains_nothing_has_no_log(deployment: Deployment, finetune: Command) -> None:
    write_status(any_status(state=RunState.FAILED, training_job=""))
    with pytest.raises(FineTuningError) as caught:
        finetune("logs", RUN_ID, "--follow")
    assert caught.value.code == Code.LOG_NOT_FOUND


@pytest.mark.parametrize("browser", [True, False])
def test_the_report_is_opened_or_its_link_printed(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch, browser: bool
) -> None:
    write_status(any_status(state=RunState.SUCCEEDED))
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or browser)
    code, output = finetune("open", RUN_ID)
    assert code == 0
    assert f"runs/{RUN_ID}/report.html" in opened[0]
    assert (opened[0] in output) is not browser
