"""`finetune compare` and `evaluate`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from finetuning.aws.bedrock_runtime import OnWait
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.asking import AnswerBatch, batches, numbers_in
from finetuning.evaluation.comparison import Ask, Reply
from finetuning.evaluation.run_comparison import EvaluatedRun
from finetuning.jumpstart.family import Family
from finetuning.runs.layout import RunLayout
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.evaluation import live_model
from tests.builders.answers import HELD_OUT, REFERENCES, any_evaluated_run, any_judgement, right, wrong
from tests.builders.aws import FakeAws
from tests.builders.cli import ARTIFACTS, Command, any_endpoint_of, write, write_status
from tests.builders.imports import imported_run, serve
from tests.builders.jumpstart import any_stage
from tests.builders.memory import PREFIX, MemoryStore
from tests.builders.runs import RUN_ID

OTHER = "pirate-4e5f6a7b"


def keep(run: EvaluatedRun) -> None:
    layout = RunLayout(run.run_id)
    write_status(run.status)
    write(layout.plan, run.plan.model_dump_json())
    write(layout.evaluation, run.report.model_dump_json())


def test_two_runs_are_compared_by_their_kept_answers(deployment: Deployment, finetune: Command, tmp_path: Path) -> None:
    keep(any_evaluated_run(RUN_ID, wrong))
    keep(any_evaluated_run(OTHER, right, plan={"model_version": "3.0.0"}))
    code, shown = finetune("compare", RUN_ID, OTHER)
    assert code == 0
    assert shown.startswith(f"{OTHER} is better than {RUN_ID}: ROUGE-L 0.12 → 1.00")
    for expected in ("1.00, 95 % interval 1.00 to 1.00", "38.75 USD", "validation loss 3.71 → 0.81", "model_version"):
        assert expected in shown
    page = tmp_path / "pirates.html"
    printed = json.loads(finetune("compare", RUN_ID, OTHER, "--json", "--html", str(page))[1])
    assert (printed["comparison"]["better"], printed["comparison"]["outcome"]) == (24, "helped")
    assert printed["summary"].startswith(f"{OTHER} is better")
    assert printed["differences"] == [{"setting": "model_version", "first": "2.16.2", "second": "3.0.0"}]
    assert printed["saved"] == str(page)
    assert f"{OTHER} is better than {RUN_ID}" in page.read_text(encoding="utf-8")


def test_the_win_rates_of_judges_stand_beside_the_verdicts(deployment: Deployment, finetune: Command) -> None:
    ours, theirs = any_evaluated_run(RUN_ID, wrong), any_evaluated_run(OTHER, right)
    judgement = any_judgement(judge="us.amazon.nova-lite-v1:0", low=None, high=None)
    keep(replace(ours, report=ours.report.model_copy(update={"judgement": judgement})))
    keep(theirs)
    shown = finetune("compare", RUN_ID, OTHER)[1]
    (line,) = [line for line in shown.splitlines() if "judge's win rate" in line]
    assert "0.73, by us.amazon.nova" in line
    assert line.rstrip().endswith("—")
    printed = json.loads(finetune("compare", RUN_ID, OTHER, "--json")[1])
    assert printed["first"]["judgement"]["win_rate"] == 0.729
    assert printed["second"]["judgement"] is None


def test_a_page_that_cannot_be_written_is_a_usage_error(
    deployment: Deployment, finetune: Command, tmp_path: Path
) -> None:
    keep(any_evaluated_run(RUN_ID, wrong))
    keep(any_evaluated_run(OTHER, right))
    assert finetune("compare", RUN_ID, OTHER, "--html", str(tmp_path / "no-folder" / "a.html"))[0] == 2
    assert "--html" in finetune.stderr


def test_a_run_that_was_not_evaluated_cannot_be_compared(deployment: Deployment, finetune: Command) -> None:
    keep(any_evaluated_run(RUN_ID, wrong))
    write_status(any_evaluated_run(OTHER, right).status)
    with pytest.raises(FineTuningError, match=f"The run {OTHER} was not evaluated") as refused:
        finetune("compare", RUN_ID, OTHER)
    assert refused.value.code == Code.RUNS_NOT_COMPARABLE


@pytest.fixture
def asked(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What an endpoint that answers right is sent."""
    sent: list[str] = []

    def asker(model: str, task: str, family: Family, on_wait: OnWait) -> Ask:
        def ask(inputs: str) -> Reply:
            sent.append(inputs)
            return right(inputs) if "question" in inputs else Reply("Arr.", 90)

        return ask

    monkeypatch.setattr("finetuning_cli.stage.evaluation.asker_of", asker)
    return sent


def evaluated_once() -> None:
    """A run whose base model answered wrong, with prompts and answers kept."""
    run = any_evaluated_run(
        RUN_ID, wrong, plan={"evaluation": {"held_out": 24, "prompts": [], "compare_with_base": True}}
    )
    keep(run)
    layout = RunLayout(RUN_ID)
    rows = [
        {"prompt": each.inputs, "messages": [{"role": "user", "content": each.shown}], "reference": each.reference}
        for each in HELD_OUT
    ]
    write(layout.prompts, "".join(json.dumps(row) + "\n" for row in rows))
    for batch in batches(len(REFERENCES)):
        replies = {number: wrong(HELD_OUT[number].inputs) for number in numbers_in(batch, len(REFERENCES))}
        write(layout.answers("base", batch), AnswerBatch(replies=replies).model_dump_json())


def kept_below(prefix: str) -> dict[str, Any]:
    s3 = boto3.client("s3", region_name="us-east-1")
    listed = s3.list_objects_v2(Bucket=ARTIFACTS, Prefix=prefix).get("Contents", [])
    return {each["Key"]: json.loads(s3.get_object(Bucket=ARTIFACTS, Key=each["Key"])["Body"].read()) for each in listed}


def test_a_live_endpoint_is_asked_again_and_each_result_is_kept(asked: list[str], finetune: Command) -> None:
    evaluated_once()
    any_endpoint_of(RUN_ID)
    before = kept_below(RunLayout(RUN_ID).evaluation)
    code, shown = finetune("evaluate", "pirate")
    assert code == 0
    assert sorted(asked) == sorted(each.inputs for each in HELD_OUT)
    assert "Tuning helped: ROUGE-L 0.12 → 1.00" in shown
    assert f"Kept at s3://{ARTIFACTS}/runs/{RUN_ID}/evaluations/" in shown
    printed = json.loads(finetune("evaluate", "pirate", "--json")[1])
    assert (printed["verdict"], printed["prompts"], printed["endpoint"]) == (
        "helped",
        "held-out",
        f"finetune-dev-{RUN_ID}",
    )
    kept = kept_below(f"runs/{RUN_ID}/evaluations/")
    assert len(kept) == 2
    assert printed["kept"].rpartition("/")[2] in [key.rpartition("/")[2] for key in kept]
    assert all(each["evaluation"]["summary"]["comparison"]["outcome"] == "helped" for each in kept.values())
    assert kept_below(RunLayout(RUN_ID).evaluation) == before, "the run's own evaluation stays"


def test_a_model_that_became_worse_ends_the_command_with_its_exit_code(
    asked: list[str], finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated_once()
    any_endpoint_of(RUN_ID)
    monkeypatch.setattr("finetuning_cli.stage.evaluation.asker_of", lambda *_: lambda inputs: Reply("", 1))
    code, shown = finetune("evaluate", "pirate")
    assert code == 1
    assert "The tuned model is broken: 24 of 24 tuned answers are unusable." in shown
    monkeypatch.setattr("finetuning_cli.stage.evaluation.asker_of", lambda *_: wrong)
    assert finetune("evaluate", "pirate")[0] == 3


@pytest.mark.parametrize(
    ("name", "body", "prompts", "references"),
    [
        ("own.txt", "Ahoy?\n\nWhere to?\n", ["Ahoy?", "Where to?"], [None, None]),
        (
            "own.jsonl",
            '{"prompt": "Ahoy?", "reference": "Arr."}\n{"prompt": "Aye?"}\n',
            ["Ahoy?", "Aye?"],
            ["Arr.", None],
        ),
    ],
)
def test_own_prompts_are_asked_in_the_format_of_the_run(
    asked: list[str], finetune: Command, tmp_path: Path, name: str, body: str, prompts: list[str], references: list[Any]
) -> None:
    evaluated_once()
    any_endpoint_of(RUN_ID)
    file = tmp_path / name
    file.write_text(body, encoding="utf-8")
    printed = json.loads(finetune("evaluate", RUN_ID, "--prompts", str(file), "--json")[1])
    rows = printed["evaluation"]["rows"]
    assert [(row["prompt"], row["source"], row["reference"]) for row in rows] == [
        (prompt, "file", reference) for prompt, reference in zip(prompts, references, strict=True)
    ]
    assert all("<|start_header_id|>user<|end_header_id|>" in inputs for inputs in asked)
    assert (printed["prompts"], printed["verdict"]) == (name, "not compared")
    assert printed["evaluation"]["not_compared"] == "the base model was not asked these prompts"


@pytest.mark.parametrize(
    ("body", "message"),
    [("", "has 0 prompts"), ('{"prompt": "A"}\n{"question": "B"}\n', "Line 2"), ("\xff", "cannot be read")],
)
def test_prompts_that_cannot_be_read_are_a_usage_error(
    asked: list[str], finetune: Command, tmp_path: Path, body: str, message: str
) -> None:
    evaluated_once()
    any_endpoint_of(RUN_ID)
    file = tmp_path / "own.jsonl"
    file.write_bytes(body.encode("latin-1"))
    assert finetune("evaluate", RUN_ID, "--prompts", str(file))[0] == 2
    assert message in finetune.stderr
    assert asked == []


def test_without_an_endpoint_nothing_is_asked(asked: list[str], finetune: Command) -> None:
    evaluated_once()
    with pytest.raises(FineTuningError, match="does not exist") as refused:
        finetune("evaluate", RUN_ID)
    assert (refused.value.code, asked) == (Code.ENDPOINT_NOT_FOUND, [])
    assert f"finetune deploy {RUN_ID}" in refused.value.fix


@pytest.mark.parametrize("served", [RUN_ID, OTHER])
def test_an_imported_model_is_asked_by_its_arn(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch, served: str
) -> None:
    monkeypatch.setattr(Deployment, "store", property(lambda _: memory))
    stage = Deployment(PREFIX, "uploads", "artifacts", "arn:machine", "arn:topic", any_stage(bedrock_import=True))
    run = imported_run(memory, name="faq")
    run.record("", endpoint="finetune-dev-faq")
    serve(memory, "finetune-dev-faq", "arn:imported", served)
    if served == RUN_ID:
        assert live_model(stage, run) == ("finetune-dev-faq", "arn:imported")
        return
    with pytest.raises(FineTuningError, match=f"serves the model of {OTHER} now") as refused:
        live_model(stage, run)
    assert refused.value.code == Code.RUNS_NOT_COMPARABLE


def test_an_endpoint_that_serves_another_runs_model_is_not_asked(asked: list[str], finetune: Command) -> None:
    evaluated_once()
    any_endpoint_of(OTHER, name=f"finetune-dev-{RUN_ID}")
    with pytest.raises(FineTuningError, match=f"serves the model of {OTHER} now, not that of {RUN_ID}") as refused:
        finetune("evaluate", RUN_ID)
    assert (refused.value.code, asked) == (Code.RUNS_NOT_COMPARABLE, [])
