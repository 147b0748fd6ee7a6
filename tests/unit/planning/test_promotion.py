"""Which version of another account's registry may be promoted, and the plan of the run that deploys it."""

from typing import Any

import pytest

from finetuning.errors import FineTuningError
from finetuning.jumpstart.assumptions import fallback_price
from finetuning.planning.checklist import Checklist
from finetuning.planning.promotion import (
    group_of,
    promotion_findings,
    promotion_plan,
    read_package,
    read_release,
    require_own_source,
    require_same,
)
from finetuning.planning.submission import Submission, look_up_prices
from finetuning.runs.plan import RunPlan
from finetuning.runs.run_json import RunRequest, read_request
from finetuning.runs.uploads import Upload
from tests.builders.jumpstart import NOW, any_spec, any_stage
from tests.builders.promotion import LOCATION, PACKAGE, PROMOTE_FROM, SCORES, any_package, any_release
from tests.builders.runs import RUN_ID, any_plan

PROD = any_stage(stage="prod", **PROMOTE_FROM)
RELEASE = any_release()
DOCUMENT = RELEASE.model_dump_json().encode()


def test_the_group_of_a_version_is_in_its_arn() -> None:
    assert [group_of(PACKAGE), group_of("faq")] == [PACKAGE.split("/")[1], ""]


def refusal(judge: Any, *given: Any) -> tuple[str, str]:
    with pytest.raises(FineTuningError) as refused:
        judge(*given)
    return refused.value.code, refused.value.message


def registered(**changes: Any) -> Any:
    return read_package(PACKAGE, any_package(RELEASE, DOCUMENT, **changes), PROD)


@pytest.mark.parametrize(
    "package",
    [
        PACKAGE.replace("111122223333", "999999999999"),
        PACKAGE.replace("us-east-1", "eu-west-1"),
        PACKAGE.replace("finetune-dev-", "finetune-test-"),
        PACKAGE.replace("finetune-dev-", "finetune-development-"),
        PACKAGE.removesuffix("/3"),
        PACKAGE.replace("model-package/", "endpoint/"),
    ],
    ids=["another account", "another region", "another stage", "a longer stage", "a group", "an endpoint"],
)
def test_a_version_elsewhere_is_refused_by_its_name_alone(package: str) -> None:
    code, message = refusal(require_own_source, package, PROD)
    assert code == "PROMOTION_UNUSABLE"
    assert message.startswith(
        f"{package} is not a version of a group finetune-dev-… in the account 111122223333, us-east-1"
    )
    require_own_source(PACKAGE, PROD)


def test_a_stage_without_a_source_promotes_nothing() -> None:
    with pytest.raises(FineTuningError) as refused:
        require_own_source(PACKAGE, any_stage())
    error = refused.value
    assert (error.code, error.field) == ("PROMOTION_DISABLED", "promote")
    assert error.message == "The stage dev copies no models of other accounts."


@pytest.mark.parametrize("status", ["PendingManualApproval", "Rejected", None])
def test_a_version_that_is_not_approved_is_refused(status: str | None) -> None:
    package = any_package(RELEASE, DOCUMENT) | {"ModelApprovalStatus": status}
    code, message = refusal(read_package, PACKAGE, package, PROD)
    assert code == "PROMOTION_NOT_APPROVED"
    assert message == f"{PACKAGE} is not approved in the account 111122223333: it is {status}."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run-id": ""}, "before its stage promoted models, or by other software"),
        ({"run-id": "../other-0a1b2c3d"}, "before its stage promoted models, or by other software"),
        ({"release-sha256": ""}, "before its stage promoted models, or by other software"),
        ({"artefact-digest": ""}, "S3 keeps no checksum of a whole file"),
        ({"run-id": "other-0a1b2c3d"}, "are not those of its run"),
    ],
)
def test_a_version_that_no_stage_released_is_refused(changes: dict[str, str], said: str) -> None:
    code, message = refusal(lambda: registered(**changes))
    assert code == "PROMOTION_UNUSABLE"
    assert said in message


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"InferenceSpecification": {}},
        {"InferenceSpecification": {"Containers": []}},
        {"InferenceSpecification": {"Containers": [{}]}},
        {"InferenceSpecification": {"Containers": [{"ModelDataSource": {}}]}},
        {"InferenceSpecification": {"Containers": [{"ModelDataSource": {"S3DataSource": {}}}]}},
    ],
)
def test_a_version_without_a_model_is_refused(model: dict[str, Any]) -> None:
    package = any_package(any_release(), DOCUMENT)
    del package["InferenceSpecification"]
    code, message = refusal(read_package, PACKAGE, package | model, PROD)
    assert (code, "are not those of its run" in message) == ("PROMOTION_UNUSABLE", True)


def test_a_version_without_properties_is_refused() -> None:
    code, message = refusal(read_package, PACKAGE, {"ModelApprovalStatus": "Approved"}, PROD)
    assert (code, "or by other software" in message) == ("PROMOTION_UNUSABLE", True)


def test_files_outside_the_bucket_of_the_stage_are_refused() -> None:
    elsewhere = RELEASE.model_copy(update={"location": LOCATION.replace("models-of-dev", "another-bucket")})
    code, message = refusal(read_package, PACKAGE, any_package(elsewhere, DOCUMENT), PROD)
    assert (code, "in models-of-dev" in message) == ("PROMOTION_UNUSABLE", True)


def test_a_release_is_the_one_that_was_registered() -> None:
    assert read_release(registered(), DOCUMENT) == RELEASE
    code, message = refusal(read_release, registered(), None)
    assert (code, message) == ("PROMOTION_UNUSABLE", f"The release.json of {RUN_ID} is missing in the other account.")
    code, message = refusal(read_release, registered(), DOCUMENT + b" ")
    assert (code, message) == (
        "PROMOTION_DIGEST_DIFFERS",
        f"The release.json of {RUN_ID} is not the one that was registered.",
    )
    code, message = refusal(read_release, registered(**{"artefact-digest": "b" * 64}), DOCUMENT)
    assert (code, "was changed since it was registered" in message) == ("PROMOTION_DIGEST_DIFFERS", True)


def test_the_copy_has_the_registered_digest() -> None:
    require_same(registered(), RELEASE.digest, "s3://here/")
    code, message = refusal(require_same, registered(), "", "s3://here/")
    assert code == "PROMOTION_DIGEST_DIFFERS"
    assert message == f"The files in s3://here/ have the digest unknown, not the registered {RELEASE.digest}."


def test_a_promotion_takes_its_endpoint_and_its_tags_from_run_json_and_nothing_else() -> None:
    request, findings = read_request(
        b'{"promote": "%s", "endpoint": {"name": "faq"}, "tags": {"a": "b"}}' % PACKAGE.encode()
    )
    assert findings == promotion_findings(request) == []
    other, _ = read_request(
        b'{"promote": "%s", "task": "chat", "hyperparameters": {"epoch": 3}, "endpoint": {"deploy": false}}'
        % PACKAGE.encode()
    )
    assert [each.field for each in promotion_findings(other)] == ["endpoint.deploy", "hyperparameters", "task"]
    assert read_request(b'{"promote": "faq"}')[1][0].field == "promote"


def test_the_plan_has_this_stages_endpoint_and_what_the_model_was_trained_with() -> None:
    plan, checklist = planned({"name": "faq", "ttl_hours": 3.0}, tags={"team": "birds"})
    assert checklist.findings == []
    assert plan.tags == {"team": "birds"}
    assert (plan.run_id[:4], plan.name, plan.upload.bucket) == ("faq-", "faq", "uploads")
    assert (plan.endpoint.name, plan.endpoint.ttl_hours, plan.endpoint.deploy) == ("faq", 3, True)
    trained = any_plan()
    assert (plan.training, plan.accepted, plan.model_id) == (trained.training, trained.accepted, trained.model_id)
    assert (plan.data_files, plan.evaluation.held_out, plan.evaluation.prompts) == ([], 0, [])
    assert not plan.evaluation.compare_with_base
    assert plan.approval, "a person approves it in every case"
    assert plan.promotion is not None
    assert plan.promotion.model_dump() == {
        "model_package": PACKAGE,
        "run_id": RUN_ID,
        "training_job": "the-job",
        "artefact_digest": RELEASE.digest,
        "scores": SCORES,
    }
    assert RunPlan.model_validate_json(plan.model_dump_json()) == plan


def test_an_endpoint_that_cannot_be_is_found() -> None:
    plan, checklist = planned({"instance_type": "ml.t3.large"}, tags={"finetune:mine": "x"})
    assert plan.checks == checklist.checks
    assert [each.field for each in checklist.findings] == ["endpoint.instance_type", "tags.finetune:mine"]


def planned(endpoint: dict[str, Any], **fields: Any) -> tuple[RunPlan, Checklist]:
    request = RunRequest.model_validate({"promote": PACKAGE, "endpoint": endpoint, **fields})
    spec, checklist = any_spec(RELEASE.plan.model_id), Checklist()
    submission = Submission(Upload("uploads", "runs/faq/run.json", "v1"), request, NOW)
    prices = look_up_prices(request, spec, fallback_price).hosting
    return promotion_plan(RELEASE, registered(), submission, spec, PROD, prices, checklist), checklist
