"""A sweep does all its parts, and says at its end which of them failed."""

import logging
from collections.abc import Iterator

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.operations.sweep import Sweep


def fail(error: Exception) -> None:
    raise error


def test_what_each_part_did_is_listed_by_kind_also_what_came_before_a_failure() -> None:
    def removed() -> Iterator[str]:
        yield "finetune-dev-a"
        raise ConnectionError("cut off")

    sweep = Sweep("deleted", "removed", "announced")
    sweep.add("deleted", ["finetune-dev-b", "finetune-dev-c"])
    assert not sweep.attempt("models", lambda: sweep.add("removed", removed()))
    assert sweep.done == {
        "deleted": ["finetune-dev-b", "finetune-dev-c"],
        "removed": ["finetune-dev-a"],
        "announced": [],
    }


def test_a_part_that_fails_keeps_no_other_from_running_and_the_sweep_fails_in_the_end() -> None:
    sweep, did = Sweep(), []
    refused = FineTuningError(Code.ACCESS_DENIED, "No permission to list endpoints.", "Add it.")
    assert not sweep.attempt("endpoints", lambda: fail(refused))
    assert sweep.attempt("models", lambda: did.append("models"))
    assert not sweep.attempt("configurations", lambda: fail(ValueError("no such page")))
    assert did == ["models"]
    with pytest.raises(FineTuningError) as failure:
        sweep.require_complete()
    assert failure.value.code == Code.SWEEP_INCOMPLETE
    assert failure.value.message.endswith(
        "incomplete: endpoints: No permission to list endpoints.; configurations: no such page"
    )
    assert "`finetune clean-up RUN`" in failure.value.fix


def test_a_failed_part_is_logged_with_its_name_and_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        Sweep().attempt("finetune-dev-a", lambda: fail(ValueError("no such page")))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    assert record.__dict__["at"] == "finetune-dev-a"
    assert "failed" in record.getMessage()


def test_a_sweep_without_a_failure_is_complete() -> None:
    sweep = Sweep("deleted")
    assert sweep.attempt("endpoints", lambda: sweep.add("deleted", ["finetune-dev-a"]))
    sweep.require_complete()
