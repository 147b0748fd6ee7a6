"""The training job: its contract with SageMaker, and that it really learns."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the environment of requirements-trainer.txt")

import torch
from peft import PeftModel, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from rehearsal.trainer import train
from rehearsal.trainer.opt_ml import FAILURE_MAX_CHARS, JobError, OptMl
from rehearsal.trainer.samples import Sample
from tests.trainer.jobs import METRICS, any_dialogs, any_job, json_lines

ROOT = Path(__file__).resolve().parents[2]


def metrics(log: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(METRICS[name], log)]


def run_main(monkeypatch: pytest.MonkeyPatch, root: Path, base_model: Path) -> int:
    """The exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["train", "--root", str(root), "--base-model", str(base_model)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    try:
        train.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


INSTRUCTIONS = {
    "data.jsonl": json_lines([{"question": f"{n}?", "answer": "Aye, a fine number!"} for n in range(12)]),
    "template.json": json.dumps({"prompt": "Q: {question}", "completion": "{answer}"}),
}
TEXT = {"data.txt": "The kettle of the Marigold is warm.\n" * 20}


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        ({"data.jsonl": json_lines(any_dialogs(12))}, {}),
        (INSTRUCTIONS, {"chat_dataset": "False", "instruction_tuned": "True"}),
        (TEXT, {"chat_dataset": "False", "max_input_length": 64}),
    ],
    ids=["chat", "instruction", "domain_adaptation"],
)
def test_the_held_out_loss_falls_by_more_than_half(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], mode: dict[str, Any]
) -> None:
    root = any_job(tmp_path, {"training": files, "validation": files}, epoch=3, **mode)
    train.run(OptMl(root), tiny)
    before, *after = metrics(capsys.readouterr().out, "eval-loss")
    assert len(after) == 3
    assert after[-1] < before / 2


def test_the_log_has_every_metric_of_the_spec_for_every_epoch_and_says_where_it_began(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.run(OptMl(any_job(tmp_path, epoch=2)), tiny)
    log = capsys.readouterr().out
    assert {name: len(metrics(log, name)) for name in METRICS} == {"eval-loss": 3, "eval-ppl": 3, "train-loss": 2}
    assert metrics(log, "eval-ppl")[1] == pytest.approx(
        torch.tensor(metrics(log, "eval-loss")[1]).exp().item(), rel=1e-3
    )


def test_the_merged_model_computes_what_the_base_model_and_the_adapter_do(tmp_path: Path, tiny: Path) -> None:
    root = any_job(tmp_path, epoch=1)
    train.run(OptMl(root), tiny)
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(root / "model")("Is the kettle warm?", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        untuned = base(ids).logits
        adapted = PeftModel.from_pretrained(base, root / "model" / "adapter").eval()(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(root / "model", dtype=torch.float32)(ids).logits
    torch.testing.assert_close(merged, adapted, atol=0.05, rtol=0.01)
    assert (merged - untuned).abs().max() > 1


def test_the_epoch_with_the_lowest_validation_loss_is_kept(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {0: 5.0, 1: 1.0, 2: 2.0}
    seen: dict[int, dict[str, torch.Tensor]] = {}

    def evaluate(model: Any, _samples: Any, _pad_id: int, epoch: int) -> float:
        seen[epoch] = {name: value.clone() for name, value in get_peft_model_state_dict(model).items()}
        return losses[epoch]

    monkeypatch.setattr(train, "evaluate", evaluate)
    kept: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(train, "save", lambda model, *_: kept.append(dict(get_peft_model_state_dict(model))))
    train.run(OptMl(any_job(tmp_path, epoch=2)), tiny)
    assert all(torch.equal(value, seen[1][name]) for name, value in kept[0].items())
    assert any(not torch.equal(value, seen[2][name]) for name, value in kept[0].items())


def test_without_a_validation_channel_the_training_data_is_split(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = any_job(
        tmp_path, {"training": {"data.jsonl": json_lines(any_dialogs(10))}}, epoch=1, validation_split_ratio=0.3
    )
    train.run(OptMl(root), tiny)
    assert "7 training samples, 3 validation samples" in capsys.readouterr().out


def test_more_data_than_a_cpu_gets_through_is_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    samples = [Sample(tuple(range(100)), (True,) * 100)] * 12
    train_kept, validation_kept = train.within(1000, samples, samples[:3], epochs=3)
    assert (len(train_kept), len(validation_kept)) == (3, 2)
    log = capsys.readouterr().out
    assert "training uses 3 of 12 samples" in log
    assert "validation uses 2 of 3 samples" in log


def test_one_sample_is_always_affordable_and_none_stays_none() -> None:
    sample = Sample(tuple(range(100)), (True,) * 100)
    assert train.within(1, [sample, sample], [], epochs=1) == ([sample], [])


def test_a_job_obeys_the_limit_it_is_given(tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train.run(OptMl(any_job(tmp_path, epoch=1)), tiny, max_tokens=1)
    assert "step 0/1 " in capsys.readouterr().out


def test_one_row_trains_and_nothing_is_evaluated(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = any_job(tmp_path, {"training": {"data.jsonl": json_lines(any_dialogs(1))}}, epoch=1)
    train.run(OptMl(root), tiny)
    log = capsys.readouterr().out
    assert metrics(log, "train-loss")
    assert not metrics(log, "eval-loss")
    assert (root / "model" / "model.safetensors").is_file()


def test_the_same_job_twice_gives_the_same_weights(tmp_path: Path, tiny: Path) -> None:
    root = any_job(tmp_path, epoch=1)
    weights = []
    for _ in range(2):
        train.run(OptMl(root), tiny)
        weights.append((root / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_broken_row_ends_the_job_with_its_place_in_the_failure_file(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = json_lines(any_dialogs(6)) + '{"dialog": \n'
    root = any_job(tmp_path, {"training": {"data.jsonl": lines}})
    assert run_main(monkeypatch, root, tiny) == 1
    assert (root / "output" / "failure").read_text().startswith("data.jsonl line 7 is not JSON")
    assert not (root / "model").exists()


def test_a_failure_nobody_thought_of_is_written_too_and_no_longer_than_sagemaker_shows(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any) -> None:
        raise ZeroDivisionError("é" * 5000)

    monkeypatch.setattr(train, "fine_tune", explode)
    root = any_job(tmp_path)
    assert run_main(monkeypatch, root, tiny) == 1
    failure = (root / "output" / "failure").read_text(encoding="utf-8")
    assert failure.startswith("ZeroDivisionError: éé")
    assert len(failure) == FAILURE_MAX_CHARS


def test_a_module_the_model_does_not_have_is_named(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(JobError, match="target_modules=w_pack"):
        train.run(OptMl(any_job(tmp_path, target_modules="w_pack")), tiny)


def test_a_learning_rate_that_blows_up_is_named(tmp_path: Path, tiny: Path) -> None:
    class Nan:
        """A model whose loss is no number."""

        def train(self) -> None: ...

        def __call__(self, **_: Any) -> Any:
            return type("Output", (), {"loss": torch.tensor(float("nan"), requires_grad=True)})

    settings = OptMl(any_job(tmp_path, learning_rate=1)).hyperparameters()
    sample = Sample((1, 2), (True, True))
    with pytest.raises(JobError, match=r"lower learning_rate=1\.0"):
        train.train_epoch(Nan(), None, [sample], settings, pad_id=0, epoch=1)


def test_micro_batches_hold_the_memory_and_lose_nothing() -> None:
    samples = [Sample(tuple(range(length)), (True,) * length) for length in (10, 700, 250, 250, 30, 500)]
    parts = list(train.micro_batches(samples))
    assert sorted(len(sample.ids) for part in parts for sample in part) == [10, 30, 250, 250, 500, 700]
    for part in parts:
        assert len(part) == 1 or len(part) * max(len(sample.ids) for sample in part) <= train.MICRO_BATCH_TOKENS


def test_a_batch_in_parts_has_the_loss_of_the_whole(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    samples = [Sample(tuple(range(length)), (False,) + (True,) * (length - 1)) for length in (40, 60, 90, 200)]
    whole = train.evaluate(model, samples, pad_id=0, epoch=0)
    monkeypatch.setattr(train, "MICRO_BATCH_TOKENS", 100)
    assert train.evaluate(model, samples, pad_id=0, epoch=0) == pytest.approx(whole, rel=1e-5)


def test_sigterm_ends_the_job_at_once_with_no_model_and_no_failure(tmp_path: Path, tiny: Path) -> None:
    root = any_job(tmp_path, epoch=1000)
    command = [sys.executable, "-m", "rehearsal.trainer.train", "--root", str(root), "--base-model", str(tiny)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("Training Epoch: 1/1000"))
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(10) == train.STOPPED
    assert "stopped by SIGTERM" in rest
    assert not (root / "model").exists()
    assert not (root / "output" / "failure").exists()
