"""The table of the preflight, and the findings in it."""

import pytest

from finetuning.errors import Code, Finding, FineTuningError, TransientAwsError
from finetuning.planning.checklist import Checklist


def any_finding(field: str = "model", code: Code = Code.MODEL_UNKNOWN) -> Finding:
    return Finding(code, field, f"{field} is wrong.", "Correct it.")


def test_findings_are_the_lines_that_failed() -> None:
    checklist = Checklist()
    checklist.passed("names", "finetune-dev-demo")
    checklist.unknown("quotas", "not checked offline")
    checklist.found("model", any_finding())
    assert [(check.check, check.ok) for check in checklist.checks] == [
        ("names", True),
        ("quotas", None),
        ("model", False),
    ]
    assert checklist.findings == [any_finding()]


def test_a_field_that_run_json_got_wrong_is_reported_once() -> None:
    checklist = Checklist()
    checklist.found("run.json", any_finding("accept_eula", Code.RUN_JSON_INVALID))
    checklist.found("licence", any_finding("accept_eula", Code.EULA_NOT_ACCEPTED), any_finding("task"))
    assert [(finding.code, finding.field) for finding in checklist.findings] == [
        (Code.RUN_JSON_INVALID, "accept_eula"),
        (Code.MODEL_UNKNOWN, "task"),
    ]


def test_several_findings_about_the_whole_upload_or_about_one_valid_field_are_all_kept() -> None:
    checklist = Checklist()
    checklist.found("run.json", any_finding("", Code.RUN_JSON_INVALID))
    checklist.found("data", any_finding("", Code.DATASET_REFUSED))
    checklist.found(
        "time and cost", any_finding("training", Code.OVER_BUDGET), any_finding("training", Code.OUT_OF_TIME)
    )
    checklist.found("training instance", any_finding("training", Code.INSTANCE_TYPE_UNSUPPORTED))
    assert len(checklist.findings) == 5


def test_an_attempt_gives_its_result_or_a_finding() -> None:
    def fail() -> str:
        raise FineTuningError(Code.INSTANCE_TYPE_UNSUPPORTED, "No.", "Choose another.", field="training.instance_type")

    checklist = Checklist()
    assert checklist.attempt("instance", lambda: "image") == "image"
    assert checklist.attempt("instance", fail) is None
    assert checklist.findings == [
        Finding(Code.INSTANCE_TYPE_UNSUPPORTED, "training.instance_type", "No.", "Choose another.")
    ]


def test_a_transient_error_is_not_a_finding_but_raised_for_the_retry() -> None:
    def throttle() -> None:
        raise TransientAwsError(Code.AWS_UNAVAILABLE, "Throttled.", "It is retried.")

    checklist = Checklist()
    with pytest.raises(TransientAwsError):
        checklist.attempt("instance", throttle)
    assert checklist.checks == []
