"""Names that derive from the run."""

import re

import pytest
from pydantic import ValidationError

from finetuning.runs.names import Names, hosting_suffix
from finetuning.runs.run_json import MAX_CAPACITY_WAIT_HOURS, MAX_FALLBACKS, EndpointRequest
from finetuning.runs.uploads import Upload
from tests.builders.jumpstart import any_stage
from tests.builders.runs import most_attempts

NAMES = Names("finetune-dev", "pirate-0a1b2c3d", "support")


def test_each_attempt_has_a_training_job_of_its_own() -> None:
    assert NAMES.training_job(0) == "finetune-dev-pirate-0a1b2c3d"
    assert NAMES.training_job(2) == "finetune-dev-pirate-0a1b2c3d-2"


@pytest.mark.parametrize("attempt", [0, 1, 400])
def test_a_run_knows_its_jobs(attempt: int) -> None:
    assert NAMES.is_job(NAMES.training_job(attempt))
    assert NAMES.is_job(NAMES.import_job(attempt))


@pytest.mark.parametrize("digest", ["ffffffff", "12345678"])
def test_the_jobs_of_a_run_whose_upload_is_named_like_this_run_are_not_its_own(digest: str) -> None:
    other = Names("finetune-dev", f"pirate-0a1b2c3d-{digest}")
    assert not NAMES.is_job(other.training_job(0))
    assert not NAMES.is_job(other.training_job(1))
    assert not NAMES.is_job(NAMES.base)


def test_the_endpoint_has_the_users_name_and_what_serves_it_the_runs() -> None:
    assert (NAMES.endpoint, NAMES.endpoint_config) == ("finetune-dev-support", "finetune-dev-pirate-0a1b2c3d")
    assert Names("finetune-dev", "pirate-0a1b2c3d").endpoint == "finetune-dev-pirate-0a1b2c3d"


def test_only_the_endpoints_of_the_evaluation_are_temporary() -> None:
    assert NAMES.is_temporary(NAMES.base)
    assert NAMES.is_temporary(NAMES.candidate)
    assert not NAMES.is_temporary(NAMES.endpoint)
    assert not NAMES.is_temporary("finetune-dev-other-0a1b2c3d-base")


def test_another_instance_type_has_a_model_and_configuration_of_its_own() -> None:
    elsewhere = Names("finetune-dev", "pirate-0a1b2c3d", "support", hosting_suffix("ml.g5.48xlarge"))
    assert elsewhere.model == elsewhere.endpoint_config == "finetune-dev-pirate-0a1b2c3d-t4583"
    assert NAMES.model_on("ml.g5.48xlarge") == elsewhere.model
    assert (elsewhere.endpoint, elsewhere.candidate) == (NAMES.endpoint, NAMES.candidate)


@pytest.mark.parametrize("name", [NAMES.model, NAMES.model_on("ml.g5.48xlarge"), NAMES.base, NAMES.candidate])
def test_the_run_is_found_in_each_of_its_names(name: str) -> None:
    assert Names.run_id_in(name, "finetune-dev-") == "pirate-0a1b2c3d"


def test_the_longest_names_fit_sagemakers_63_characters() -> None:
    stage, endpoint = any_stage(stage="s" * 8), EndpointRequest(name="e" * 40)
    names = Names(stage.prefix, Upload("uploads", f"inbox/{'u' * 99}.jsonl", "v1").run_id, endpoint.name)
    last = names.training_job(most_attempts(1 + MAX_FALLBACKS, MAX_CAPACITY_WAIT_HOURS))
    elsewhere = names.model_on("ml.g5.48xlarge")
    for name in (last, names.model, elsewhere, names.endpoint_config, names.endpoint, names.base, names.candidate):
        assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", name)
        assert len(name) <= 63
    with pytest.raises(ValidationError):
        any_stage(stage="s" * 9)
    with pytest.raises(ValidationError):
        EndpointRequest(name="e" * 41)
