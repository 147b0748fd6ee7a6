"""`finetune from-openai`: what a job's settings and rows become, and what is refused by name."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from finetuning.datasets.data_errors import ErrorCode
from finetuning.datasets.offline import prepare_files
from finetuning.errors import Code, FineTuningError
from finetuning.runs.run_json import read_request
from finetuning_cli.preflight.openai_job import OpenAIJob, endpoint_name, place
from tests.builders.cli import Command
from tests.builders.jumpstart import LLAMA

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "openai"
USER, ASSISTANT = {"role": "user", "content": "Ahoy?"}, {"role": "assistant", "content": "Arr."}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}


def rows(path: Path, *given: Any, plain: int = 0) -> Path:
    """A file of these rows, and of so many that anything can be trained on."""
    more = [{"messages": [{**USER, "content": f"Ahoy {n}?"}, ASSISTANT]} for n in range(plain)]
    path.write_text("".join(json.dumps(row) + "\n" for row in (*given, *more)))
    return path


def job_file(folder: Path, **changes: Any) -> str:
    path = folder / "job.json"
    path.write_text(json.dumps(json.loads((EXAMPLE / "job.json").read_text()) | changes))
    return str(path)


def decisions(finetune: Command, folder: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """run.json, and what became of each field of the job."""
    job, out = job_file(folder, **changes), folder / "out"
    given = [str(EXAMPLE / name) for name in ("training.jsonl", "validation.jsonl")]
    code, said = finetune("from-openai", *given, "--job", job, "--out", str(out), "--json")
    assert code == 0
    printed = json.loads(said)
    assert json.loads((out / "run.json").read_text()) == printed["run_json"]
    assert read_request((out / "run.json").read_bytes())[1] == []
    return printed["run_json"], {each["field"]: each["becomes"] for each in printed["decisions"]}


@pytest.fixture
def finetune() -> Command:
    return Command()


def test_a_finished_job_becomes_a_folder_to_submit(finetune: Command, tmp_path: Path) -> None:
    document, said = decisions(finetune, tmp_path)
    assert (document["model"], document["task"], document["accept_eula"]) == (LLAMA + "8b-instruct", "chat", False)
    assert document["hyperparameters"] == {"epoch": 3, "seed": 42}
    assert document["endpoint"] == {"name": "workshop"}
    assert said == {
        "model": f"not used: it cannot be trained here; this run trains {LLAMA}8b-instruct",
        "method": "supervised training",
        "n_epochs": "hyperparameters.epoch 3",
        "batch_size": "not used: OpenAI counts the examples of a step, per_device_train_batch_size those of a GPU; "
        "the default 4 stays",
        "learning_rate_multiplier": "not used: it scales a rate that OpenAI does not publish; "
        "the default learning_rate 0.0001 stays",
        "seed": "hyperparameters.seed 42",
        "suffix": "endpoint.name workshop",
    }
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.jsonl")}
    assert files == {"train/training.jsonl", "validation/validation.jsonl"}
    copied = tmp_path / "out" / "train" / "training.jsonl"
    assert copied.read_bytes() == (EXAMPLE / "training.jsonl").read_bytes()
    code, checked = finetune("check", str(tmp_path / "out"), "--json")
    assert (code, json.loads(checked)["rows"]["train"], json.loads(checked)["rows"]["validation"]) == (0, 30, 10)


def test_what_has_no_equivalent_is_named_and_never_guessed(finetune: Command, tmp_path: Path) -> None:
    document, said = decisions(
        finetune,
        tmp_path,
        seed=683058546,
        suffix="!!!",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "beta": 0.1}}},
        integrations=[{"type": "wandb"}],
        metadata={"team": "ships"},
        tomorrow="a field",
    )
    assert "hyperparameters" not in document
    assert "endpoint" not in document
    assert said["n_epochs"] == "the model's default epoch 5"
    assert said["seed"] == "not used: seed is 1 to 1000; the default 10 stays"
    assert said["suffix"].startswith("not used: ")
    unused = {field for field, becomes in said.items() if becomes == "not used: a run has no such setting"}
    assert unused == {"beta", "integrations", "metadata", "tomorrow"}


def test_the_older_place_of_hyperparameters_is_read(finetune: Command, tmp_path: Path) -> None:
    document, _ = decisions(finetune, tmp_path, method={"type": "supervised"}, hyperparameters={"n_epochs": 2})
    assert document["hyperparameters"]["epoch"] == 2


@pytest.mark.parametrize(
    ("suffix", "name"),
    [("workshop", "workshop"), ("My Café!", "My-Caf"), ("a" * 64, "a" * 40), ("x-base", ""), ("é", "")],
)
def test_a_suffix_becomes_a_name_that_an_endpoint_may_have(suffix: str, name: str) -> None:
    assert endpoint_name(suffix) == name


@pytest.mark.parametrize(
    ("job", "name"),
    [
        ({"suffix": "workshop", "fine_tuned_model": "ft:gpt-4o:org:other:x"}, "workshop"),
        ({"fine_tuned_model": "ft:gpt-4o:org:workshop:x"}, "workshop"),
        ({"fine_tuned_model": "ft:gpt-4o:org::x"}, ""),
        ({"fine_tuned_model": "ft:gpt-4o:org:x"}, ""),
        ({}, ""),
    ],
)
def test_the_suffix_is_taken_from_the_model_s_name_where_the_job_has_none(job: dict[str, str], name: str) -> None:
    assert OpenAIJob.model_validate(job).name == name


def test_files_go_where_the_job_or_their_names_say(tmp_path: Path) -> None:
    job = OpenAIJob(training_file="file-Test1", validation_file="file-Val2")
    given = [tmp_path / name for name in ("file-Test1.jsonl", "file-Val2.jsonl", "more.jsonl", "evals/test.jsonl")]
    placed = [(each.target, each.why) for each in place(given, job)]
    assert placed == [
        ("train/train-1.jsonl", "named by the job"),  # by its own name it would be for tests
        ("validation/file-Val2.jsonl", "named by the job"),
        ("train/more.jsonl", "default"),
        ("test/test.jsonl", "by its name"),
    ]
    twice = place([tmp_path / "a" / "x.jsonl", tmp_path / "b" / "x.jsonl"], OpenAIJob())
    assert [each.target for each in twice] == ["train/x.jsonl", "train/train-2.jsonl"]


def test_a_job_with_a_file_for_validation_needs_it(finetune: Command, tmp_path: Path) -> None:
    given = rows(tmp_path / "data.jsonl", plain=20)
    with pytest.raises(FineTuningError) as refused:
        finetune("from-openai", str(given), "--job", job_file(tmp_path), "--out", str(tmp_path / "out"))
    assert refused.value.code == Code.OPENAI_JOB_UNUSABLE
    assert "file-validation" in refused.value.fix
    assert finetune("from-openai", str(given), "--job", job_file(tmp_path, validation_file=None), "--out",
                    str(tmp_path / "out"))[0] == 0  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "an object"),
        ('{"object": "list", "data": []}', "object: "),
        ('{"object": "list"', "EOF"),
        ('{"seed": "x"}', "seed"),
        ('{"method": {"type": "ppo"}}', "method.type"),
    ],
)
def test_a_file_that_is_not_a_job_is_refused_with_the_place(
    finetune: Command, tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(FineTuningError, match=says) as refused:
        finetune("from-openai", str(EXAMPLE / "training.jsonl"), "--job", str(tmp_path / "job.json"), "--out", "x")
    assert refused.value.code == Code.OPENAI_JOB_UNUSABLE


def test_reinforcement_is_refused_by_method_and_by_row(finetune: Command, tmp_path: Path) -> None:
    job = job_file(tmp_path, method={"type": "reinforcement"}, validation_file=None)
    given = rows(tmp_path / "data.jsonl", {"messages": [USER], "reference_answer": "Arr."}, plain=20)
    with pytest.raises(FineTuningError, match="graders"):
        finetune("from-openai", str(given), "--job", job, "--out", str(tmp_path / "out"))
    code, said = finetune("from-openai", str(given), "--out", str(tmp_path / "out"))
    assert (code, (tmp_path / "out").exists()) == (1, False)
    assert "example for reinforcement" in said
    assert "Nothing was written." in said


@pytest.mark.parametrize(
    ("row", "code", "says"),
    [
        ({"messages": [USER, ASSISTANT], "tools": [TOOL]}, ErrorCode.ROLE_TOOL, "offers 1 tool: get_weather"),
        ({"messages": [USER, {**ASSISTANT, "content": None, "tool_calls": [{}]}]}, ErrorCode.ROLE_TOOL, "calls a tool"),
        ({"messages": [IMAGE, ASSISTANT]}, ErrorCode.MEDIA, "image_url"),
        ({"messages": [USER, {**ASSISTANT, "weight": 0}]}, ErrorCode.UNTRAINED_ANSWER, "weight is 0"),
        ({"messages": [USER], "reference_answer": "Arr."}, ErrorCode.NO_ASSISTANT, "example for reinforcement"),
    ],
)
def test_each_kind_of_row_is_counted_and_left_out_only_on_request(
    finetune: Command, tmp_path: Path, row: Any, code: ErrorCode, says: str
) -> None:
    given, out = rows(tmp_path / "data.jsonl", row, plain=20), tmp_path / "out"
    report = prepare_files([given])
    assert [(error.code, says in error.message) for error in report.errors] == [(code, True)]
    assert finetune("from-openai", str(given), "--out", str(out))[0] == 1
    assert not out.exists()
    done = finetune("from-openai", str(given), "--out", str(out), "--max-errors", "0.1", "--json")
    printed = json.loads(done[1])
    assert (done[0], printed["report"]["error_counts"]) == (0, {code: 1})
    assert printed["run_json"]["max_error_fraction"] == 0.1


def test_answers_that_must_not_be_learned_are_dropped_on_request(finetune: Command, tmp_path: Path) -> None:
    given = rows(tmp_path / "data.jsonl", {"messages": [USER, {**ASSISTANT, "weight": 0}]}, plain=20)
    words = ("from-openai", str(given), "--out", str(tmp_path / "out"), "--untrained-answers", "drop", "--json")
    code, said = finetune(*words)
    printed = json.loads(said)
    assert (code, printed["report"]["rows"]["dropped"]) == (0, 1)
    assert printed["run_json"]["data"] == {"untrained_answers": "drop"}


def test_preference_pairs_are_trained_on_only_if_that_is_asked_for(finetune: Command, tmp_path: Path) -> None:
    pairs = [
        {
            "input": {"messages": [{**USER, "content": f"Ahoy {n}?"}], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [ASSISTANT],
            "non_preferred_output": [{**ASSISTANT, "content": "Hello."}],
        }
        for n in range(20)
    ]
    given, out = rows(tmp_path / "pairs.jsonl", *pairs), tmp_path / "out"
    job = job_file(tmp_path, method={"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2}}}, validation_file=None)
    for words in ("", f"--job {job}"):
        with pytest.raises(FineTuningError, match="20 rows are preference pairs") as refused:
            finetune("from-openai", str(given), "--out", str(out), *shlex.split(words))
        assert refused.value.code == Code.OPENAI_JOB_UNUSABLE
    code, said = finetune("from-openai", str(given), "--out", str(out), "--job", job, "--preferred-answers", "--json")
    printed = json.loads(said)
    assert (code, printed["report"]["shapes"]) == (0, {"OpenAI preference pair": 20})
    assert printed["report"]["ignored_columns"] == {"input.parallel_tool_calls": 20}
    assert printed["run_json"]["hyperparameters"]["epoch"] == 2
    assert "Hello." not in prepare_files([given], tmp_path / "made").model_dump_json()


def test_a_folder_with_a_run_json_is_left_as_it_is(finetune: Command, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert finetune("from-openai", str(EXAMPLE / "training.jsonl"), "--out", str(tmp_path))[0] == 2
    assert (tmp_path / "run.json").read_text() == "{}"


def test_the_report_in_a_terminal_names_settings_files_and_the_next_command(finetune: Command, tmp_path: Path) -> None:
    out = tmp_path / "workshop"
    given = [str(EXAMPLE / name) for name in ("training.jsonl", "validation.jsonl")]
    code, said = finetune("from-openai", *given, "--job", str(EXAMPLE / "job.json"), "--out", str(out))
    assert code == 0
    for words in ("endpoint.name workshop", "train/training.jsonl", "Ready to train: 30 rows, 10 held out",
                  f"finetune plan {out}", "does not accept the model's licence"):  # fmt: skip
        assert words in said


def test_a_file_that_is_in_its_place_already_stays_there(finetune: Command, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    file = rows(tmp_path / "train" / "faq.jsonl", plain=30)
    before = file.read_bytes()
    assert finetune("from-openai", str(file), "--out", str(tmp_path))[0] == 0
    assert (tmp_path / "run.json").is_file()
    assert file.read_bytes() == before


def test_another_file_in_the_place_of_one_is_not_replaced(finetune: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "train").mkdir(parents=True)
    (out / "train" / "faq.jsonl").write_text("mine")
    assert finetune("from-openai", str(rows(tmp_path / "faq.jsonl", plain=30)), "--out", str(out))[0] == 2
    assert "train/faq.jsonl exists" in " ".join(finetune.stderr.replace("│", "").split())
    assert (out / "train" / "faq.jsonl").read_text() == "mine"
    assert not (out / "run.json").exists()
