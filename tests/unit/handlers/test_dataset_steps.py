"""PlanShards, PrepareShard and FinishDataset over an emulated account: the same bytes as on this machine."""

import io
import json
from pathlib import Path

import pytest

from finetuning.datasets import row_groups
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.formats import Format
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.preparation import Preparation
from finetuning.datasets.shape import Kind
from finetuning.errors import DatasetRefused
from finetuning.handlers import plan_run, plan_shards, reframe_parquet
from finetuning.handlers.step import logger
from finetuning.jumpstart.family import Task
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings
from tests.builders.datasets import any_chat_rows, any_file, as_lines, as_parquet
from tests.builders.handlers import invoke, log_lines, metrics_in
from tests.builders.stage import ARTIFACTS, Stage, objects, run_steps

CHAT = as_lines(any_chat_rows(300))


@pytest.mark.parametrize("shard_bytes", [1 << 30, 1 << 20])
def test_the_channels_hold_what_prepare_writes_here_and_nothing_else(
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shard_bytes: int,
) -> None:
    monkeypatch.setenv("SHARD_BYTES", str(shard_bytes))
    settings.cache_clear()
    chats = as_lines(any_chat_rows(20_000))
    assert len(chats) > 2 << 20
    layout, result = run_steps(stage, **{"data.jsonl": chats})
    (tmp_path / "data.jsonl").write_bytes(chats)
    report = prepare_files([tmp_path / "data.jsonl"], tmp_path / "out")
    assert objects(stage, layout.train) == {"data.jsonl": (tmp_path / "out/train/data.jsonl").read_bytes()}
    assert objects(stage, layout.validation) == {"data.jsonl": (tmp_path / "out/validation/data.jsonl").read_bytes()}
    counted = (report.rows.train, report.rows.validation)
    assert (result["task"], result["train_rows"], result["validation_rows"]) == ("chat", *counted)


def test_the_plan_is_completed_and_prompts_are_kept_for_the_evaluation(stage: Stage) -> None:
    layout, result = run_steps(stage, **{"data.jsonl": CHAT})
    plan = RunPlan.model_validate_json(objects(stage, layout.plan)[""])
    assert plan.dataset is not None
    assert plan.dataset.train_rows == result["train_rows"]
    prompts = [json.loads(line) for line in objects(stage, layout.prompts)[""].splitlines()]
    assert len(prompts) == plan.dataset.validation_rows < plan.evaluation.held_out
    assert set(prompts[0]) == {"prompt", "messages", "reference"}


def test_the_uploads_own_test_rows_are_asked_first_and_never_trained_on(stage: Stage) -> None:
    rows = any_chat_rows(60)
    files = {
        "train.jsonl": as_lines(rows[:50]),
        "val.jsonl": as_lines(rows[50:57]),
        "test/part-0.jsonl": as_lines(rows[57:]),
        "_SUCCESS.json": b"",
    }
    layout, result = run_steps(stage, **files)
    assert (result["train_rows"], result["validation_rows"]) == (50, 7)
    trained = objects(stage, layout.train)["data.jsonl"]
    assert b"A lot of 57." not in trained
    prompts = [json.loads(line) for line in objects(stage, layout.prompts)[""].splitlines()]
    asked = [int(prompt["reference"].split()[-1].rstrip(".")) for prompt in prompts]
    assert ({*asked[:3]}, {*asked[3:]}) == ({57, 58, 59}, {*range(50, 57)})
    report = DatasetReport.model_validate_json(objects(stage, layout.dataset_report)[""])
    assert [(file.path, file.side) for file in report.files] == [
        ("test/part-0.jsonl", "test"),
        ("train.jsonl", "train"),
        ("val.jsonl", "validation"),
    ]


def test_the_prompts_are_the_same_rows_in_any_order_and_however_many_are_held_out(stage: Stage) -> None:
    rows, asked = any_chat_rows(300), []
    for fraction, data in ((0.1, rows), (0.3, rows[::-1])):
        wanted = {"validation_fraction": fraction, "evaluation": {"prompts": 10}}
        layout, _ = run_steps(stage, wanted, **{"data.jsonl": as_lines(data)})
        asked.append([json.loads(line)["reference"] for line in objects(stage, layout.prompts)[""].splitlines()])
    assert len(asked[0]) == 10
    assert asked[0] == asked[1]


def test_a_broken_line_7_stops_the_run_with_its_number_and_the_report_is_there(stage: Stage) -> None:
    lines = as_lines(any_chat_rows(40)).splitlines(keepends=True)
    lines[6] = b'{"messages": [\n'
    with pytest.raises(DatasetRefused, match="line 7"):
        run_steps(stage, **{"data.jsonl": b"".join(lines)})
    (key,) = [name for name in objects(stage, "runs/") if name.endswith("dataset.json")]
    report = DatasetReport.model_validate_json(objects(stage, f"runs/{key}")[""])
    assert report.errors[0].line == 7
    assert not [name for name in objects(stage, "runs/") if "/dataset/" in name]


def test_a_question_nobody_answers_is_refused_where_run_json_allows_no_repair(stage: Stage) -> None:
    open_ended = {"messages": [*any_chat_rows(1)[0]["messages"], {"role": "user", "content": "And then?"}]}
    files = {"data.jsonl": as_lines([*any_chat_rows(40), open_ended])}
    assert run_steps(stage, **files)[1]["train_rows"]
    with pytest.raises(DatasetRefused, match="line 41"):
        run_steps(stage, {"repair": False}, **files)


def test_every_row_is_counted_in_the_metrics_and_each_reason_for_refusing_some_is_in_the_log(
    stage: Stage,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    rows = [*any_chat_rows(40), any_chat_rows(1)[0], b'{"messages": [', b'{"messages": []}']
    with pytest.raises(DatasetRefused):
        run_steps(stage, **{"data.jsonl": as_lines(rows)})
    counted = next(line for line in metrics_in(capsys.readouterr().out) if "DatasetRowsKept" in line)
    names = ("DatasetRowsKept", "DatasetRowsDuplicate", "DatasetRowsRefused")
    assert [counted[name] for name in names] == [[40], [1], [2]]
    reasons = [line for line in log_lines(log.getvalue()) if line["message"] == "Rows refused"]
    assert sum(line["rows"] for line in reasons) == 2
    assert {line["run_id"] for line in reasons} == {counted["run_id"]}


@pytest.mark.parametrize("name", ["data.parquet", "data.json", "data.txt", "data.json.gz"])
def test_a_parquet_file_ends_the_same_in_a_run_and_offline_whatever_its_name(
    stage: Stage, tmp_path: Path, name: str
) -> None:
    path = any_file(tmp_path, as_parquet(any_chat_rows(50)), name)
    layout, _ = run_steps(stage, **{name: path.read_bytes()})
    report = prepare_files([path], tmp_path / "out")
    assert (report.task, report.rows.kept) == (Task.CHAT, 50)
    assert objects(stage, layout.train) == {"data.jsonl": (tmp_path / "out/train/data.jsonl").read_bytes()}
    in_the_run = DatasetReport.model_validate_json(objects(stage, layout.dataset_report)[""])
    assert in_the_run.files == [report.files[0].model_copy(update={"path": name})]
    assert (in_the_run.rows, in_the_run.task_reason) == (report.rows, report.task_reason)


def test_a_damaged_parquet_file_is_refused_in_a_run_as_it_is_offline(stage: Stage, tmp_path: Path) -> None:
    damaged = as_parquet(any_chat_rows(50))[:-9]
    with pytest.raises(DatasetRefused, match="The Parquet file cannot be read") as refused:
        run_steps(stage, **{"data.json": damaged})
    report = prepare_files([any_file(tmp_path, damaged, "data.json")])
    assert report.refusal
    assert (report.refusal.code, report.refusal.fix) == ("PARQUET_DAMAGED", refused.value.fix)
    (key,) = [name for name in objects(stage, "runs/") if name.endswith("dataset.json")]
    in_the_run = DatasetReport.model_validate_json(objects(stage, f"runs/{key}")[""])
    assert in_the_run.error_counts == report.error_counts == {"PARQUET_DAMAGED": 1}


def test_a_row_group_that_is_too_large_is_refused_in_a_run_as_it_is_offline(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_groups, "MAX_ROW_GROUP", 2000)
    chats = as_parquet(any_chat_rows(50))
    with pytest.raises(DatasetRefused, match="Row group 1 of the Parquet file, of 50 rows") as refused:
        run_steps(stage, **{"data.parquet": chats})
    refusal = prepare_files([any_file(tmp_path, chats, "data.parquet")]).refusal
    assert refusal
    assert (refusal.code, refusal.fix) == ("ROW_GROUP_TOO_LARGE", refused.value.fix)
    assert "row_group_size=" in refusal.fix


def planned(stage: Stage, **files: bytes) -> RunPlan:
    event = stage.upload_run({"accept_eula": True}, **files)
    invoke(plan_run, event)
    return RunPlan.model_validate_json(stage.written(event, "plan.json"))


def test_plan_shards_reads_neither_the_upload_nor_run_json_again(stage: Stage) -> None:
    plan = planned(stage, **{"data.jsonl": CHAT})
    (file,) = plan.data_files
    stage.s3.delete_object(Bucket=plan.upload.bucket, Key=file.key, VersionId=file.version_id)
    layout = RunLayout(plan.run_id)
    stage.s3.delete_object(Bucket=ARTIFACTS, Key=layout.request)
    assert invoke(plan_shards, run_id=plan.run_id)["shards"] == [0]
    preparation = Preparation.model_validate_json(objects(stage, layout.preparation)[""])
    assert preparation.files[0].detection == file.detection
    assert preparation.resolution == plan.resolution


def test_files_with_parquet_are_resolved_when_its_rows_are_known(stage: Stage) -> None:
    plan = planned(stage, **{"a.parquet": as_parquet(any_chat_rows(9)), "b.jsonl": CHAT})
    assert (plan.task, plan.resolution) == (None, None)
    invoke(reframe_parquet, run_id=plan.run_id)
    invoke(plan_shards, run_id=plan.run_id)
    preparation = Preparation.model_validate_json(objects(stage, RunLayout(plan.run_id).preparation)[""])
    assert [(file.detection.format, file.detection.kinds) for file in preparation.files] == [
        (Format.PARQUET, {Kind.DIALOG: 9}),
        (Format.JSONL, {Kind.DIALOG: 200}),
    ]


def test_a_repeated_reframe_gives_the_same_plan(stage: Stage) -> None:
    plan = planned(stage, **{"a.parquet": as_parquet(any_chat_rows(9))})
    invoke(reframe_parquet, run_id=plan.run_id)
    once = objects(stage, RunLayout(plan.run_id).plan)
    invoke(reframe_parquet, run_id=plan.run_id)
    assert objects(stage, RunLayout(plan.run_id).plan) == once


def test_a_plan_of_an_earlier_version_is_refused_with_advice(stage: Stage) -> None:
    plan = planned(stage, **{"data.jsonl": CHAT})
    files = [file.model_copy(update={"detection": None}) for file in plan.data_files]
    earlier = plan.model_copy(update={"data_files": files, "resolution": None})
    key = RunLayout(plan.run_id).plan
    stage.s3.put_object(Bucket=ARTIFACTS, Key=key, Body=earlier.model_dump_json().encode())
    with pytest.raises(DatasetRefused) as refused:
        invoke(plan_shards, run_id=plan.run_id)
    assert "earlier version" in refused.value.message
    assert refused.value.fix == "Upload the data again."
