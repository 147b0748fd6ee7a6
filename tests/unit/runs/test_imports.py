"""What Bedrock says of an import, in words for a user."""

from datetime import timedelta
from typing import Any

import pytest

from finetuning.errors import EndpointFailed
from finetuning.runs.imports import LONGEST_IMPORT, import_outcome
from finetuning.runs.outcomes import Outcome
from tests.builders.runs import START


def job(status: str, **described: Any) -> dict[str, Any]:
    return {"importedModelName": "faq-0a1b2c3d", "status": status, "creationTime": START, **described}


def test_a_failed_import_is_named_with_its_reason() -> None:
    with pytest.raises(EndpointFailed, match="The import of faq-0a1b2c3d failed: too few flowers"):
        import_outcome(job("Failed", failureMessage="too few flowers"), START)


def test_an_import_is_waited_for_until_the_longest_time_has_passed() -> None:
    assert import_outcome(job("InProgress"), START + LONGEST_IMPORT) is Outcome.IN_PROGRESS
    with pytest.raises(EndpointFailed, match=r"faq-0a1b2c3d is still InProgress after 360\.5 hours"):
        import_outcome(job("InProgress"), START + timedelta(hours=360.5))
