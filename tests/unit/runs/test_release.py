"""What another account gets of a tuned model, and by what it is proved the same."""

import hashlib

import pytest

from finetuning.runs.release import ModelFile, artefact_digest
from finetuning.runs.status import Check
from tests.builders.promotion import any_release
from tests.builders.runs import any_plan

FILES = [
    ModelFile(name="model.safetensors", size=7, version_id="v1", checksum="CRC64NVME:abc="),
    ModelFile(name="config.json", size=2, version_id="v2", checksum="CRC64NVME:def="),
]


def test_a_release_has_the_plan_without_the_data_the_prompts_and_the_checks() -> None:
    plan = any_plan()
    assert plan.data_files
    assert plan.evaluation.prompts
    released = any_release(checks=[Check(check="names", ok=True, message="free")]).plan
    assert (released.data_files, released.evaluation.prompts, released.checks) == ([], [], [])
    assert (released.model_id, released.training) == (plan.model_id, plan.training)


def test_the_digest_is_of_names_sizes_and_checksums_in_the_order_of_names() -> None:
    lines = "config.json\t2\tCRC64NVME:def=\nmodel.safetensors\t7\tCRC64NVME:abc=\n"
    assert artefact_digest(FILES) == artefact_digest(FILES[::-1]) == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize("files", [[], [FILES[0], FILES[1].model_copy(update={"checksum": ""})]])
def test_without_files_or_a_checksum_there_is_no_digest(files: list[ModelFile]) -> None:
    assert artefact_digest(files) == ""
