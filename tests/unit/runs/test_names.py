"""Names that derive from the run."""

import pytest

from finetuning.runs.names import Names

NAMES = Names("finetune-dev", "pirate-0a1b2c3d", "support")


def test_each_attempt_has_a_training_job_of_its_own() -> None:
    assert NAMES.training_job(0) == "finetune-dev-pirate-0a1b2c3d"
    assert NAMES.training_job(2) == "finetune-dev-pirate-0a1b2c3d-2"


def test_the_endpoint_has_the_users_name_and_what_serves_it_the_runs() -> None:
    assert (NAMES.endpoint, NAMES.endpoint_config) == ("finetune-dev-support", "finetune-dev-pirate-0a1b2c3d")
    assert Names("finetune-dev", "pirate-0a1b2c3d").endpoint == "finetune-dev-pirate-0a1b2c3d"


def test_only_what_the_evaluation_puts_up_is_temporary() -> None:
    assert NAMES.is_temporary(NAMES.base)
    assert NAMES.is_temporary(NAMES.candidate)
    assert not NAMES.is_temporary(NAMES.endpoint)
    assert not NAMES.is_temporary("finetune-dev-other-0a1b2c3d-base")


@pytest.mark.parametrize("name", [NAMES.model, NAMES.base, NAMES.candidate])
def test_the_run_is_found_in_each_of_its_names(name: str) -> None:
    assert Names.run_id_in(name, "finetune-dev-") == "pirate-0a1b2c3d"
