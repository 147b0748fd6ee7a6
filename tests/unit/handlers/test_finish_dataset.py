"""FinishDataset: the channels, the report and the completed plan."""

import hashlib
import json
from typing import Any

import pytest

from finetuning.datasets import join
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.join import join_shards
from finetuning.errors import DatasetRefused
from finetuning.evaluation.asking import JUDGE_QUESTIONS_PER_BATCH, batches
from finetuning.handlers import finish_dataset, plan_shards, prepare_shard
from finetuning.operations.run import Run
from finetuning.runs.plan import JudgePlan
from finetuning.settings import settings
from tests.builders.aws import FakeAws
from tests.builders.datasets import any_chat_rows, as_lines
from tests.builders.handlers import invoke, metric
from tests.builders.memory import DATA_KEY, PREFIX, MemoryStore, any_run_of
from tests.builders.runs import RUN_ID


def prepared(cloud: FakeAws, memory: MemoryStore, rows: list[Any]) -> Run:
    """A run whose shards are written."""
    body = as_lines(rows)
    run = any_run_of(memory, body)
    cloud.files[DATA_KEY] = body
    for shard in invoke(plan_shards, run_id=RUN_ID)["shards"]:
        invoke(prepare_shard, run_id=RUN_ID, shard=shard)
    return run


def test_the_channels_are_written_and_the_plan_has_their_rows(cloud: FakeAws, memory: MemoryStore) -> None:
    run = prepared(cloud, memory, any_chat_rows(300))
    result = invoke(finish_dataset, run_id=RUN_ID)
    train = memory.read(run.layout.train + "data.jsonl") or b""
    held_out = memory.read(run.layout.validation + "data.jsonl") or b""
    assert (train.count(b"\n"), held_out.count(b"\n")) == (result["train_rows"], result["validation_rows"])
    assert result["train_rows"] + result["validation_rows"] == 300
    dataset = Run(RUN_ID, store=memory, prefix=PREFIX).plan.dataset
    assert dataset is not None
    assert (dataset.train_rows, dataset.validation_rows) == (result["train_rows"], result["validation_rows"])


def test_the_plan_has_the_digest_of_each_file_that_is_trained_on(cloud: FakeAws, memory: MemoryStore) -> None:
    run = prepared(cloud, memory, [{"instruction": f"Say {n}", "response": f"{n} it is"} for n in range(30)])
    invoke(finish_dataset, run_id=RUN_ID)
    dataset = Run(RUN_ID, store=memory, prefix=PREFIX).plan.dataset
    assert dataset is not None
    files = {name: memory.read(run.layout.train + name) or b"" for name in ("data.jsonl", "template.json")}
    assert all(files.values())
    assert dataset.sha256 == {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}


def test_a_file_that_takes_too_long_to_read_again_has_no_digest(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "MAX_DIGESTED", 1000)
    run = prepared(cloud, memory, [{"instruction": f"Say {n}", "response": f"{n} it is"} for n in range(30)])
    invoke(finish_dataset, run_id=RUN_ID)
    dataset = Run(RUN_ID, store=memory, prefix=PREFIX).plan.dataset
    assert dataset is not None
    assert len(memory.read(run.layout.train + "data.jsonl") or b"") > 1000
    assert [*dataset.sha256] == ["template.json"]


def test_half_of_the_functions_memory_is_for_digests(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048")
    settings.cache_clear()
    given: list[int] = []

    def joined(*arguments: Any, at_once: int) -> DatasetReport:
        given.append(at_once)
        return join_shards(*arguments, at_once=at_once)

    monkeypatch.setattr(finish_dataset, "join_shards", joined)
    prepared(cloud, memory, any_chat_rows(30))
    invoke(finish_dataset, run_id=RUN_ID)
    assert given == [1024 * (1 << 20) // 100]


def test_held_out_prompts_are_kept_for_the_evaluation(cloud: FakeAws, memory: MemoryStore) -> None:
    run = prepared(cloud, memory, any_chat_rows(300))
    result = invoke(finish_dataset, run_id=RUN_ID)
    prompts = [json.loads(line) for line in (memory.read(run.layout.prompts) or b"").splitlines()]
    assert len(prompts) == min(run.plan.evaluation.held_out, result["validation_rows"])
    assert result["batches"] == batches(len(prompts) + len(run.plan.evaluation.prompts))
    assert set(prompts[0]) == {"prompt", "messages", "reference"}
    known = Run(RUN_ID, store=memory, prefix=PREFIX).plan.evaluation.estimate
    assert known is not None
    assert known.prompts == len(prompts) + len(run.plan.evaluation.prompts)


def test_a_judge_has_batches_for_both_orders_of_every_prompt(cloud: FakeAws, memory: MemoryStore) -> None:
    run = prepared(cloud, memory, any_chat_rows(300))
    assert invoke(finish_dataset, run_id=RUN_ID)["judge_batches"] == []
    judged = run.plan.evaluation.model_copy(update={"judge": JudgePlan(model="amazon.nova-pro-v1:0")})
    run.save_plan(run.plan.model_copy(update={"evaluation": judged}))
    result = invoke(finish_dataset, run_id=RUN_ID)
    plan = Run(RUN_ID, store=memory, prefix=PREFIX).plan
    assert plan.evaluation.estimate
    questions = 2 * plan.evaluation.estimate.prompts
    assert result["judge_batches"] == [*range(-(-questions // JUDGE_QUESTIONS_PER_BATCH))]
    assert f"{questions} questions to the judge" in plan.evaluation.estimate.assumptions[-1]


@pytest.mark.parametrize(("rows", "compared"), [(300, True), (1, False)])
def test_the_base_model_is_asked_only_if_there_is_something_to_compare_by(
    cloud: FakeAws, memory: MemoryStore, rows: int, compared: bool
) -> None:
    run = prepared(cloud, memory, any_chat_rows(rows))
    cheap = run.plan.evaluation.model_copy(update={"compared_by_cost": True})
    endpoint = run.plan.endpoint.model_copy(update={"usd_per_hour": 1.0})
    run.save_plan(run.plan.model_copy(update={"evaluation": cheap, "endpoint": endpoint}))
    assert invoke(finish_dataset, run_id=RUN_ID)["compare_with_base"] is compared


def test_too_many_bad_rows_are_refused_with_the_report_and_no_channels(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run = prepared(cloud, memory, [*any_chat_rows(40), any_chat_rows(1)[0], b'{"messages": ['])
    capsys.readouterr()
    with pytest.raises(DatasetRefused):
        invoke(finish_dataset, run_id=RUN_ID)
    assert memory.load(run.layout.dataset_report, DatasetReport).errors[0].line == 42
    assert memory.is_empty(run.layout.train)
    assert run.plan.dataset is None
    output = capsys.readouterr().out
    names = ("DatasetRowsKept", "DatasetRowsDuplicate", "DatasetRowsRefused")
    assert [metric(output, name) for name in names] == [40, 1, 1]
