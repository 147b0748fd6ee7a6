"""Errors on their way through the state machine."""

import json

import pytest

from finetuning.errors import MAX_CAUSE, Code, Finding, FineTuningError

TRACEBACK = ['  File "/var/task/finetuning/handlers/step.py", line 62, in call\\n    return work(event)\\n'] * 25


@pytest.mark.parametrize("character", ["a", '"', "\\", "\n", "é", "😀", "\0"])
@pytest.mark.parametrize("findings", [0, 1, 1000])
def test_no_error_is_longer_than_a_cause_may_be(character: str, findings: int) -> None:
    text = character * 1_000_000
    found = [Finding(Code.RUN_JSON_INVALID, text, text, text)] * findings
    error = FineTuningError(Code.RUN_REFUSED, text, text, field=text, findings=found, log=[text] * 20)
    # Lambda reports the error's text in a JSON document, which is the cause.
    report = {"errorMessage": str(error), "errorType": "FineTuningError", "stackTrace": TRACEBACK}
    assert len(json.dumps(report)) <= MAX_CAUSE
    assert json.loads(str(error))["code"] == Code.RUN_REFUSED


def test_an_error_leaves_out_its_log_before_its_findings() -> None:
    found = [Finding("C", "f", "m" * 1700, "x")] * 10
    error = FineTuningError(
        Code.RUN_REFUSED, "m", "f", findings=found, log=[f"line {n} " + "l" * 990 for n in range(12)]
    )
    assert len(error.findings) == 10
    assert 0 < len(error.log) < 12
    assert error.log[-1].startswith("line 11")


def test_an_error_of_ordinary_length_is_kept_whole() -> None:
    error = FineTuningError(Code.RUN_REFUSED, "m" * 2000, "f", findings=[Finding("C", "a.b", "m", "f")])
    assert error.as_dict()["message"] == "m" * 2000
    assert json.loads(str(error))["findings"] == [{"code": "C", "field": "a.b", "message": "m", "fix": "f"}]
