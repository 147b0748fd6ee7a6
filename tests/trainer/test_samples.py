"""Channel folders → token sequences."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the environment of requirements-trainer.txt")

from transformers import AutoTokenizer

from rehearsal.trainer.opt_ml import Hyperparameters, JobError
from rehearsal.trainer.samples import Sample, read_samples
from tests.trainer.jobs import json_lines

CHAT = Hyperparameters(chat_dataset=True)
INSTRUCTION = Hyperparameters(instruction_tuned=True)
TEXT = Hyperparameters()


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny)


def any_channel(folder: Path, **files: str) -> Path:
    """A folder of files; `data_jsonl` is `data.jsonl`."""
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")
    return folder


def read(folder: Path, settings: Hyperparameters, tokenizer: Any) -> list[Sample]:
    return read_samples(folder, settings, tokenizer, model_max_tokens=8192)


def counted_text(sample: Sample, tokenizer: Any) -> str:
    return str(tokenizer.decode([token for token, counts in zip(sample.ids, sample.counted, strict=True) if counts]))


def dialog(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"dialog": [{"role": role, "content": content} for role, content in turns]}


def test_of_a_chat_only_the_assistants_words_count(tmp_path: Path, tokenizer: Any) -> None:
    row = dialog(
        ("system", "Be kind."), ("user", "Hi"), ("assistant", "Ahoy"), ("user", "Bye"), ("assistant", "Fair winds")
    )
    [sample] = read(any_channel(tmp_path, data_jsonl=json_lines([row])), CHAT, tokenizer)
    assert counted_text(sample, tokenizer) == "Ahoy<|eot_id|>Fair winds<|eot_id|>"
    assert tokenizer.decode(sample.ids) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nBe kind.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nAhoy<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nFair winds<|eot_id|>"
    )


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"dialog": []},
        {"dialog": ["Hi"]},
        dialog(("user", "Hi")),
        dialog(("assistant", "Ahoy")),
        dialog(("user", "Hi"), ("assistant", "")),
        dialog(("user", "Hi"), ("user", "Hello?"), ("assistant", "Ahoy")),
        dialog(("user", "Hi"), ("tool", "{}"), ("assistant", "Ahoy")),
    ],
)
def test_a_row_that_is_no_dialog_is_refused_with_its_place(tmp_path: Path, tokenizer: Any, row: dict[str, Any]) -> None:
    good = dialog(("user", "Hi"), ("assistant", "Ahoy"))
    with pytest.raises(JobError, match=r"data\.jsonl line 2"):
        read(any_channel(tmp_path, data_jsonl=json_lines([good, row])), CHAT, tokenizer)


@pytest.mark.parametrize(("demarcation", "between"), [(True, "\n\n### Response:\n"), (False, "")])
def test_an_instruction_is_prompt_key_and_completion(
    tmp_path: Path, tokenizer: Any, demarcation: bool, between: str
) -> None:
    template = json.dumps({"prompt": "Q: {question}", "completion": "A: {answer}"})
    rows = json_lines([{"question": "Warm?", "answer": "Aye", "unused": 1}])
    settings = Hyperparameters(instruction_tuned=True, add_input_output_demarcation_key=demarcation)
    [sample] = read(any_channel(tmp_path, data_jsonl=rows, template_json=template), settings, tokenizer)
    assert tokenizer.decode(sample.ids) == f"Q: Warm?{between}A: Aye<|end_of_text|>"
    assert counted_text(sample, tokenizer) == "A: Aye<|end_of_text|>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"prompt": "{question}", "completion": "{reply}"}, r"data\.jsonl line 1: template\.json does not fit"),
        ({"prompt": "{question}"}, "exactly the keys prompt and completion"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(
    tmp_path: Path, tokenizer: Any, template: dict[str, str], message: str
) -> None:
    rows = json_lines([{"question": "Warm?", "answer": "Aye"}])
    with pytest.raises(JobError, match=message):
        read(any_channel(tmp_path, data_jsonl=rows, template_json=json.dumps(template)), INSTRUCTION, tokenizer)


def test_instruction_tuning_without_a_template_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(JobError, match=r"needs template\.json"):
        read(any_channel(tmp_path, data_jsonl=json_lines([{"a": "b"}])), INSTRUCTION, tokenizer)


@pytest.mark.parametrize(
    "files",
    [
        {"data_txt": "Warm.\n\nFair.\n"},
        {"data_csv": "id,text\n1,Warm.\n2,Fair.\n"},
        {"data_csv": "story\nWarm.\nFair.\n"},
        {"data_json": '[{"id": 1, "text": "Warm."}, {"id": 2, "text": "Fair."}]'},
        {"data_json": '{"text": "Warm."}\n{"text": "Fair."}\n'},
    ],
    ids=["txt", "csv", "csv without a text column", "json", "json lines"],
)
def test_text_is_packed_end_to_end(tmp_path: Path, tokenizer: Any, files: dict[str, str]) -> None:
    [sample] = read(any_channel(tmp_path, **files), TEXT, tokenizer)
    assert tokenizer.decode(sample.ids) == "Warm.<|end_of_text|>Fair.<|end_of_text|>"
    assert all(sample.counted)


def test_text_is_cut_at_the_input_length(tmp_path: Path, tokenizer: Any) -> None:
    settings = Hyperparameters(max_input_length=4)
    samples = read(any_channel(tmp_path, data_txt="0123456789"), settings, tokenizer)
    assert [tokenizer.decode(sample.ids) for sample in samples] == ["0123", "4567", "89<|end_of_text|>"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a_txt": "x", "b_txt": "y"}, "has 2"),
        ({"a_jsonl": "{}"}, "has 0"),
        ({"a_txt": " \n"}, "holds no text"),
        ({"a_json": "[{]"}, "is not JSON"),
    ],
)
def test_domain_adaptation_takes_one_file_with_text(
    tmp_path: Path, tokenizer: Any, files: dict[str, str], message: str
) -> None:
    with pytest.raises(JobError, match=message):
        read(any_channel(tmp_path, **files), TEXT, tokenizer)


def test_rows_whose_answer_lies_beyond_the_input_length_are_left_out(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"q": "Warm?", "a": "Aye"}, {"q": "Warm?" * 50, "a": "Aye"}]
    template = json.dumps({"prompt": "{q}", "completion": "{a}"})
    channel = any_channel(tmp_path, data_jsonl=json_lines(rows), template_json=template)
    assert len(read(channel, Hyperparameters(instruction_tuned=True, max_input_length=60), tokenizer)) == 1
    with pytest.raises(JobError, match="raise max_input_length"):
        read(channel, Hyperparameters(instruction_tuned=True, max_input_length=10), tokenizer)
