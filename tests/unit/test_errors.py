"""Errors on their way through the state machine."""

import json

import pytest

from finetuning.errors import Code, Finding, FineTuningError, RunRefused

STATE_LIMIT = 256 << 10
"""Bytes of a state's output."""


@pytest.mark.parametrize("character", ["a", '"', "\\", "\n", "é", "😀", "\0"])
def test_no_error_is_larger_than_a_state_may_hold(character: str) -> None:
    text = character * 1_000_000
    error = RunRefused([Finding(Code.RUN_JSON_INVALID, text, text, text)] * 1000)
    # Lambda reports the error's text in a JSON document, and Step Functions puts that document's text into another.
    reported = json.dumps({"errorMessage": str(error), "errorType": "RunRefused"}, ensure_ascii=False)
    caught = json.dumps({"Error": "RunRefused", "Cause": reported}, ensure_ascii=False)
    assert len(caught.encode()) < STATE_LIMIT


def test_an_error_of_ordinary_length_is_kept_whole() -> None:
    error = FineTuningError(Code.RUN_REFUSED, "m" * 2000, "f", findings=[Finding("C", "a.b", "m", "f")])
    assert error.as_dict()["message"] == "m" * 2000
    assert json.loads(str(error))["findings"] == [{"code": "C", "field": "a.b", "message": "m", "fix": "f"}]
