"""`finetune submit`: what is uploaded, in which order, and what is refused before."""

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest

from finetuning.aws.clients import client
from finetuning.errors import Code, FineTuningError, RunRefused
from finetuning.runs.status import RunState
from finetuning.runs.uploads import Upload
from finetuning_cli.preflight.data import LocalData, is_run_json
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.uploads import submit_file, submit_folder
from tests.builders.cli import UPLOAD, Command, any_chat_line, write_status
from tests.builders.runs import RUN_ID, any_status

ACCEPTED = '{"accept_eula": true}'


def test_a_refused_upload_is_reported_with_the_error_of_aws(deployment: Deployment, tmp_path: Path) -> None:
    data = tmp_path / "faq.jsonl"
    data.write_text("{}\n")
    boto3.client("s3", region_name="us-east-1").delete_bucket(Bucket=UPLOAD)
    with pytest.raises(FineTuningError, match="NoSuchBucket"):
        submit_file(deployment, data, lambda sent: None)


@pytest.mark.parametrize("size", [2, 9 << 20])
def test_a_run_is_that_of_the_own_upload_although_another_follows_at_once(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Two pipelines may upload a file of the same name: each version starts a run. Large files are sent in parts."""
    data = tmp_path / "faq.jsonl"
    data.write_bytes(b"x" * size)
    theirs, send = boto3.client("s3", region_name="us-east-1"), client("s3").upload_fileobj

    def send_and_lose(*given: Any, **named: Any) -> None:
        send(*given, **named)
        theirs.put_object(Bucket=UPLOAD, Key="inbox/faq.jsonl", Body=b"theirs")

    monkeypatch.setattr(client("s3"), "upload_fileobj", send_and_lose)
    upload = submit_file(deployment, data, lambda sent: None)
    kept = theirs.head_object(Bucket=upload.bucket, Key=upload.key, VersionId=upload.version_id)
    assert kept["ContentLength"] == size


def test_only_data_files_and_the_template_of_a_folder_are_uploaded(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    data = ("b.jsonl", "a.csv.gz", "part/c.json")
    for name in (*data, "template.json", "run.json", "README.md", ".hidden.jsonl", "_x.csv", "part/.b.csv"):
        (tmp_path / name).write_text("x")
    uploads = LocalData.read([tmp_path]).uploads
    assert uploads == {name: tmp_path / name for name in (*data, "template.json")}


def test_a_file_with_options_on_the_data_is_uploaded_with_a_run_json(
    finetune: Command, deployment: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "faq.csv").write_text("Customer question,Agent reply\nHow do I open it?,Turn the handle.\n" * 2)
    code, _ = finetune(
        *("submit", str(tmp_path / "faq.csv"), "--accept-eula"),
        *("--columns", "prompt=Customer question,completion=Agent reply"),
    )
    assert code == 0
    s3 = boto3.client("s3", region_name="us-east-1")
    document = json.loads(s3.get_object(Bucket=UPLOAD, Key="runs/faq/run.json")["Body"].read())
    assert document == {
        "accept_eula": True,
        "data": {"columns": {"prompt": "Customer question", "completion": "Agent reply"}},
    }
    assert s3.head_object(Bucket=UPLOAD, Key="runs/faq/faq.csv")["ContentLength"]


def test_columns_in_another_form_are_a_usage_error(finetune: Command, tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("a,b\n")
    assert finetune("check", str(tmp_path / "faq.csv"), "--columns", "question=a")[0] == 2
    assert "prompt=NAME" in " ".join(finetune.stderr.split())


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(FineTuningError) as caught:
        LocalData.read([tmp_path]).require_files()
    assert caught.value.code == Code.UPLOAD_WITHOUT_DATA


def test_run_json_arrives_last_and_its_version_names_the_run(deployment: Deployment, tmp_path: Path) -> None:
    data = tmp_path / "chat.jsonl"
    data.write_text("{}\n")
    sent: list[int] = []
    upload = submit_folder(deployment, {data.name: data}, b'{"accept_eula": true}', "pirate", lambda path: sent.append)
    s3 = boto3.client("s3", region_name="us-east-1")
    stored = {each["Key"]: each for each in s3.list_objects_v2(Bucket=UPLOAD)["Contents"]}
    assert stored.keys() == {"runs/pirate/chat.jsonl", "runs/pirate/run.json"}
    assert stored["runs/pirate/chat.jsonl"]["LastModified"] <= stored["runs/pirate/run.json"]["LastModified"]
    version = s3.head_object(Bucket=UPLOAD, Key="runs/pirate/run.json")["VersionId"]
    assert upload == Upload(UPLOAD, "runs/pirate/run.json", version)
    assert sum(sent) == 3


def test_a_folder_that_holds_other_data_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    data = tmp_path / "new.jsonl"
    data.write_text("{}\n")
    s3 = boto3.client("s3", region_name="us-east-1")
    for name in ("run.json", "new.jsonl", "old.jsonl"):
        s3.put_object(Bucket=UPLOAD, Key=f"runs/pirate/{name}", Body=b"earlier")
    with pytest.raises(FineTuningError, match=r"old\.jsonl") as caught:
        submit_folder(deployment, {data.name: data}, b"{}", "pirate", lambda path: lambda sent: None)
    assert caught.value.code == Code.UPLOAD_FOLDER_TAKEN
    assert s3.get_object(Bucket=UPLOAD, Key="runs/pirate/new.jsonl")["Body"].read() == b"earlier"


def test_a_single_file_goes_into_the_inbox(deployment: Deployment, tmp_path: Path) -> None:
    data = tmp_path / "faq.jsonl"
    data.write_text("{}\n")
    upload = submit_file(deployment, data, lambda sent: None)
    version = boto3.client("s3", region_name="us-east-1").head_object(Bucket=UPLOAD, Key="inbox/faq.jsonl")["VersionId"]
    assert upload.run_id == Upload(UPLOAD, "inbox/faq.jsonl", version).run_id


def test_a_single_file_can_be_given_another_name(deployment: Deployment, tmp_path: Path) -> None:
    data = tmp_path / "faq.jsonl.gz"
    data.write_text("{}\n")
    assert submit_file(deployment, data, lambda sent: None, "support").key == "inbox/support.jsonl.gz"


def an_execution_for(upload: Upload) -> str:
    """An execution that was started by that upload."""
    states = boto3.client("stepfunctions", region_name="us-east-1")
    succeed = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
    role = "arn:aws:iam::123456789012:role/states"
    machine = states.create_state_machine(name="m", definition=json.dumps(succeed), roleArn=role)["stateMachineArn"]
    return str(states.start_execution(stateMachineArn=machine, input=json.dumps(upload.event))["executionArn"])


def test_submitting_an_upload_again_starts_a_new_run_with_the_same_bytes(
    finetune: Command, deployment: Deployment
) -> None:
    s3 = boto3.client("s3", region_name="us-east-1")
    key = "runs/pirate/run.json"
    first = Upload(UPLOAD, key, s3.put_object(Bucket=UPLOAD, Key=key, Body=b'{"accept_eula": true}')["VersionId"])
    s3.put_object(Bucket=UPLOAD, Key=key, Body=b'{"accept_eula": false}')
    write_status(any_status(state=RunState.FAILED, execution_arn=an_execution_for(first)))
    code, output = finetune("submit", "--again", RUN_ID, "--json")
    assert code == 0
    now = s3.get_object(Bucket=UPLOAD, Key=key)
    assert now["Body"].read() == b'{"accept_eula": true}'
    assert json.loads(output)["run_id"] == Upload(UPLOAD, key, now["VersionId"]).run_id != first.run_id


def test_a_deleted_upload_cannot_be_submitted_again(finetune: Command, deployment: Deployment) -> None:
    gone = Upload(UPLOAD, "runs/pirate/run.json", "00000000-0000-0000-0000-000000000000")
    write_status(any_status(state=RunState.FAILED, execution_arn=an_execution_for(gone)))
    with pytest.raises(FineTuningError) as caught:
        finetune("submit", "--again", RUN_ID)
    assert caught.value.code == Code.UPLOAD_NOT_FOUND


def test_submit_takes_a_path_or_a_run_and_not_both(finetune: Command, deployment: Deployment) -> None:
    assert finetune("submit")[0] == 2
    assert finetune("submit", ".", "--again", RUN_ID)[0] == 2


def test_submitting_a_folder_prints_the_id_of_the_run_it_starts(
    deployment: Deployment, finetune: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "Pirate Talk"
    folder.mkdir()
    (folder / "chat.jsonl").write_text("\n".join(any_chat_line(number) for number in range(20)))
    (folder / "run.json").write_text(ACCEPTED)
    code, output = finetune("submit", str(folder), "--json")
    assert code == 0
    assert json.loads(output)["run_id"].startswith("pirate-talk-")
    stored = boto3.client("s3", region_name="us-east-1").get_object(Bucket=UPLOAD, Key="runs/Pirate Talk/run.json")
    assert stored["Body"].read() == ACCEPTED.encode()


def test_data_that_the_workflow_would_refuse_is_not_uploaded(
    deployment: Deployment, finetune: Command, tmp_path: Path
) -> None:
    rows = [any_chat_line(number) for number in range(9)]
    data = tmp_path / "chat.jsonl"
    data.write_text("\n".join([*rows[:6], "{broken", *rows[6:]]))
    with pytest.raises(RunRefused) as caught:
        finetune("submit", str(data), "--accept-eula")
    assert [finding.code for finding in caught.value.findings] == [Code.DATASET_REFUSED]
    assert uploaded() == []
    assert finetune("submit", str(data), "--no-check")[0] == 0


def uploaded() -> list[str]:
    listed = boto3.client("s3", region_name="us-east-1").list_objects_v2(Bucket=UPLOAD)
    return [each["Key"] for each in listed.get("Contents", [])]


def test_nothing_is_uploaded_before_the_licence_is_accepted(
    deployment: Deployment, finetune: Command, tmp_path: Path
) -> None:
    data = tmp_path / "chat.jsonl"
    data.write_text("\n".join(any_chat_line(number) for number in range(20)))
    with pytest.raises(RunRefused) as caught:
        finetune("submit", str(data))
    assert [finding.code for finding in caught.value.findings] == [Code.EULA_NOT_ACCEPTED]
    assert uploaded() == []
    code, output = finetune("submit", str(data), "--accept-eula", "--epochs", "2")
    assert code == 0
    assert uploaded() == ["runs/chat/chat.jsonl", "runs/chat/run.json"]
    said = " ".join(output.split())
    assert 'run.json: { "accept_eula": true, "hyperparameters": { "epoch": 2 } }' in said
    assert "About 15 min and 1.77 USD on ml.g5.12xlarge" in said


def test_a_run_beyond_the_limits_of_the_stage_is_not_uploaded(
    deployment: Deployment, finetune: Command, tmp_path: Path
) -> None:
    (tmp_path / "chat.jsonl").write_text("\n".join(any_chat_line(number) for number in range(20)))
    (tmp_path / "run.json").write_text('{"accept_eula": true, "training": {"max_runtime_hours": 30}}')
    with pytest.raises(RunRefused, match="30 hours exceed the limit of the stage dev, 24 hours"):
        finetune("submit", str(tmp_path))
    assert uploaded() == []


def test_quiet_prints_the_id_of_the_run_alone(deployment: Deployment, finetune: Command, tmp_path: Path) -> None:
    (tmp_path / "chat.jsonl").write_text("\n".join(any_chat_line(number) for number in range(20)))
    code, output = finetune("submit", str(tmp_path / "chat.jsonl"), "--accept-eula", "-q")
    assert code == 0
    assert re.fullmatch(r"chat-[0-9a-f]{8}\n", output)


def test_nothing_is_uploaded_if_run_json_is_invalid(deployment: Deployment, finetune: Command, tmp_path: Path) -> None:
    (tmp_path / "chat.jsonl").write_text(any_chat_line())
    (tmp_path / "run.json").write_text('{"accept_eula": "yes", "epochs": 3}')
    with pytest.raises(RunRefused) as caught:
        finetune("submit", str(tmp_path))
    assert {finding.field for finding in caught.value.findings} == {"accept_eula", "epochs"}
    assert boto3.client("s3", region_name="us-east-1").list_objects_v2(Bucket=UPLOAD)["KeyCount"] == 0


def test_a_name_with_a_slash_is_a_usage_error(finetune: Command, deployment: Deployment, tmp_path: Path) -> None:
    assert finetune("submit", str(tmp_path), "--name", "a/b")[0] == 2


def test_options_are_not_lost_beside_a_run_json_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As PowerShell writes it."""
    (tmp_path / "chats.jsonl").write_text("{}\n")
    (tmp_path / "run.json").write_bytes(b'\xef\xbb\xbf{"model": "m", "training": {"max_runtime_hours": 2}}')
    data = LocalData.read_upload(tmp_path).with_options({"training": {"max_cost_usd": 20}})
    assert json.loads(data.run_json_body) == {"model": "m", "training": {"max_runtime_hours": 2, "max_cost_usd": 20}}


@pytest.mark.parametrize(("name", "is_one"), [("run.json", True), ("b.run.json", True), ("dryrun.json", False)])
def test_settings_are_known_by_their_name(tmp_path: Path, name: str, is_one: bool) -> None:
    (tmp_path / name).write_text('[{"prompt": "a", "completion": "b"}]')
    assert is_run_json(tmp_path / name) is is_one
