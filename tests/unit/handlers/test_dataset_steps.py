"""PlanShards, PrepareShard and FinishDataset over an emulated account: the same bytes as on this machine."""

import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.offline import prepare_files
from finetuning.errors import DatasetRefused
from finetuning.handlers import plan_run, plan_shards
from finetuning.handlers.step import logger
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.runs.uploads import Upload
from finetuning.settings import settings
from tests.builders.datasets import any_chat_rows, as_lines
from tests.builders.handlers import AnyContext, log_lines, metrics_in
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
    assert len(prompts) == plan.evaluation.held_out
    assert set(prompts[0]) == {"prompt", "messages", "reference"}


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


def test_parquet_goes_the_same_way(stage: Stage) -> None:
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(any_chat_rows(50)), table)
    layout, result = run_steps(stage, **{"data.parquet": table.getvalue()})
    assert result["task"] == "chat"
    assert result["train_rows"] + result["validation_rows"] == 50
    assert list(objects(stage, layout.train)) == ["data.jsonl"]


def test_a_pointer_in_place_of_the_data_is_refused_before_anything_is_read(stage: Stage) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:2d\nsize 3\n"
    upload = stage.upload_run({"accept_eula": True}, **{"data.jsonl": CHAT})
    layout = RunLayout(Upload(upload["bucket"], upload["key"], upload["version_id"]).run_id)
    plan_run.handler(upload, AnyContext())
    plan = RunPlan.model_validate_json(objects(stage, layout.plan)[""])
    version = stage.upload("runs/demo/data.jsonl", pointer)
    etag = stage.s3.head_object(Bucket=upload["bucket"], Key="runs/demo/data.jsonl")["ETag"].strip('"')
    file = plan.data_files[0].model_copy(update={"version_id": version, "size": len(pointer), "etag": etag})
    changed = plan.model_copy(update={"data_files": [file]})
    stage.s3.put_object(Bucket=ARTIFACTS, Key=layout.plan, Body=changed.model_dump_json().encode())
    with pytest.raises(DatasetRefused, match="git-LFS pointer"):
        plan_shards.handler({"run_id": layout.run_id}, AnyContext())
    report = DatasetReport.model_validate_json(objects(stage, layout.dataset_report)[""])
    assert report.error_counts == {"GIT_LFS_POINTER": 1}
