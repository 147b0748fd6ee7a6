"""/opt/ml: hyperparameters as SageMaker writes them, and channels."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the environment of requirements-trainer.txt")

from rehearsal.trainer.opt_ml import JobError, OptMl
from tests.trainer.jobs import any_job


def test_values_are_strings_and_json_quotes_around_them_do_not_count(tmp_path: Path) -> None:
    job = OptMl(
        any_job(tmp_path, epoch='"3"', learning_rate="0.001", target_modules='"q_proj,v_proj"', chat_dataset="False")
    )
    settings = job.hyperparameters()
    assert (settings.epoch, settings.learning_rate, settings.modules) == (3, 0.001, ["q_proj", "v_proj"])
    assert settings.task == "domain_adaptation"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epoch": "0"}, "epoch='0'"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"instruction_tuned": "True"}, "at most one of instruction_tuned and chat_dataset"),
        ({"enable_fsdp": "True"}, "exactly one of int8_quantization and enable_fsdp"),
    ],
)
def test_a_value_the_script_refuses_is_named(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        OptMl(any_job(tmp_path, **wrong)).hyperparameters()


def test_a_value_that_is_no_string_is_refused(tmp_path: Path) -> None:
    root = any_job(tmp_path)
    (root / "input" / "config" / "hyperparameters.json").write_text(json.dumps({"epoch": 3, "seed": "1"}))
    with pytest.raises(JobError, match="not so: epoch"):
        OptMl(root).hyperparameters()


def test_the_sdks_own_entries_are_no_hyperparameters(tmp_path: Path) -> None:
    plain = OptMl(any_job(tmp_path / "plain")).hyperparameters()
    job = any_job(tmp_path / "sdk", sagemaker_program='"transfer_learning.py"', sagemaker_job_name="finetune-1")
    assert OptMl(job).hyperparameters() == plain


def test_an_undeclared_channel_is_none_and_an_empty_one_is_an_error(tmp_path: Path) -> None:
    job = OptMl(any_job(tmp_path, {"training": {}}))
    assert job.channel("validation") is None
    with pytest.raises(JobError, match="'training' is declared"):
        job.channel("training")


def test_a_job_without_configuration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"hyperparameters\.json cannot be read"):
        OptMl(tmp_path).hyperparameters()
