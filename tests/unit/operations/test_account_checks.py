"""What the account says of a plan: red where AWS says no, yellow where it does not say, green otherwise."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.aws.service_quotas import Use
from finetuning.errors import Code, Finding, FineTuningError
from finetuning.operations import account_checks
from finetuning.operations.account_checks import AccountChecks
from finetuning.planning.checklist import Checklist
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import Check
from tests.builders.aws import FakeAws, FakeService, client_error
from tests.builders.jumpstart import NOW, TARGET, any_spec
from tests.builders.memory import PREFIX
from tests.builders.runs import RUN_ID, any_plan

SPEC = any_spec()
FIRST, FALLBACK = "ml.p4d.24xlarge", "ml.g5.48xlarge"


class AnyBucket(JumpStartBucket):
    """JumpStart's buckets, where `has` answers by key; everything else is there."""

    def __init__(self, answers: Mapping[str, bool | Exception | None]) -> None:
        super().__init__(None, "us-east-1")
        self._answers = answers

    def has(self, bucket: str, key: str) -> bool | None:
        answer = self._answers.get(key, True)
        if isinstance(answer, Exception):
            raise answer
        return answer


class AnyQuotas:
    """Quotas that answer by instance type and use; the rest is enough. Keeps what was asked."""

    def __init__(self, answers: Mapping[tuple[str, Use], Finding | str]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, Use, int, str]] = []
        self.standing: list[tuple[int, int, str]] = []
        """For each endpoint type: instances at first, instances then, and the endpoint that is replaced."""

    def check(
        self, instance_type: str, use: Use, wanted: int, field: str, *, then: int = 0, replaced: str = ""
    ) -> Finding | str | None:
        self.asked.append((instance_type, use, wanted, field))
        if use == "endpoint":
            self.standing.append((wanted, then, replaced))
        return self._answers.get((instance_type, use))


def checked(plan: RunPlan, judge: Callable[[AccountChecks], Any]) -> tuple[list[Check], RunPlan]:
    """The lines that a check adds, and the plan that remains."""
    checklist = Checklist()
    account = AccountChecks(SPEC, plan, TARGET, checklist)
    judge(account)
    return checklist.checks, account.remaining_plan()


def training(chosen: bool) -> RunPlan:
    return any_plan(training=any_plan().training.model_dump() | {"fallbacks_chosen": chosen})


def test_artefacts_that_are_there_are_green() -> None:
    checks, plan = checked(any_plan(), lambda account: account.artefacts(AnyBucket({})))
    assert [check.ok for check in checks] == [True] * 3
    assert plan == any_plan()


@pytest.mark.parametrize("answer", [None, FineTuningError(Code.ACCESS_DENIED, "no", "")])
def test_artefacts_that_may_not_be_looked_at_are_yellow(answer: Any) -> None:
    checks, _ = checked(any_plan(), lambda account: account.artefacts(AnyBucket({SPEC.code_key: answer})))
    assert [check.ok for check in checks] == [None, True, True]


def test_a_missing_script_is_red() -> None:
    checks, _ = checked(any_plan(), lambda account: account.artefacts(AnyBucket({SPEC.code_key: False})))
    assert [(check.code, check.field) for check in checks if check.ok is False] == [("ARTIFACT_MISSING", "model")]


@pytest.mark.parametrize(("chosen", "red"), [(False, False), (True, True)])
def test_weights_that_only_a_fallback_needs_are_red_only_where_the_fallback_was_asked_for(
    chosen: bool, red: bool
) -> None:
    assert SPEC.gated_key(FIRST) != SPEC.gated_key(FALLBACK)
    bucket = AnyBucket({SPEC.gated_key(FALLBACK): False})
    checks, plan = checked(training(chosen), lambda account: account.artefacts(bucket))
    assert any(check.ok is False for check in checks) is red
    assert plan.training.instance_types == ([FIRST, FALLBACK] if red else [FIRST])


def test_weights_of_the_first_instance_type_are_always_needed() -> None:
    bucket = AnyBucket({SPEC.gated_key(FIRST): False})
    checks, plan = checked(training(chosen=False), lambda account: account.artefacts(bucket))
    assert [check.code for check in checks if check.ok is False] == ["ARTIFACT_MISSING"]
    assert plan.training.instance_types == [FIRST, FALLBACK]


NO_QUOTA = Finding(Code.QUOTA_EXCEEDED, "training.instance_type", "quota 0", "Ask for more.")


@pytest.mark.parametrize(("chosen", "red"), [(False, False), (True, True)])
def test_a_fallback_without_quota_is_left_out_unless_it_was_asked_for(chosen: bool, red: bool) -> None:
    quotas: Any = AnyQuotas({(FALLBACK, "training"): NO_QUOTA})
    checks, plan = checked(training(chosen), lambda account: account.quotas(quotas))
    assert any(check.ok is False for check in checks) is red
    assert plan.training.instance_types == ([FIRST, FALLBACK] if red else [FIRST])


def test_the_first_instance_type_without_quota_is_red() -> None:
    quotas: Any = AnyQuotas({(FIRST, "training"): NO_QUOTA})
    checks, _ = checked(training(chosen=False), lambda account: account.quotas(quotas))
    assert [check.code for check in checks if check.ok is False] == ["QUOTA_EXCEEDED"]


def test_a_quota_that_is_not_known_is_yellow() -> None:
    quotas: Any = AnyQuotas({(FIRST, "training"): "not listed"})
    checks, _ = checked(any_plan(), lambda account: account.quotas(quotas))
    assert [check.message for check in checks if check.ok is None] == [f"{FIRST} for training: not listed"]


@pytest.mark.parametrize(
    ("endpoint", "evaluation", "standing"),
    [
        ({}, {"compare_with_base": True}, (2, 2)),
        ({}, {"compare_with_base": False}, (1, 1)),
        ({}, {"compare_with_base": True, "must_beat_base": True}, (2, 2)),
        ({"instance_count": 2}, {"compare_with_base": True, "must_beat_base": "helped"}, (4, 4)),
        (
            {"autoscaling": {"min_instances": 1, "max_instances": 5, "invocations_per_instance": 9}},
            {"compare_with_base": True},
            (2, 5),
        ),
        ({"deploy": False}, {"compare_with_base": True}, None),
    ],
)
def test_the_quota_must_hold_the_endpoints_that_stand_at_the_same_time(
    endpoint: dict[str, Any], evaluation: dict[str, Any], standing: tuple[int, int] | None
) -> None:
    plan = any_plan(
        endpoint=any_plan().endpoint.model_dump() | endpoint,
        evaluation=any_plan().evaluation.model_dump() | evaluation,
    )
    quotas: Any = AnyQuotas({})
    checked(plan, lambda account: account.quotas(quotas))
    assert quotas.standing == ([] if standing is None else [(*standing, f"{PREFIX}-{RUN_ID}")])


class RoomFor(AnyQuotas):
    """Quotas for so many instances of endpoints."""

    def __init__(self, endpoints: int) -> None:
        super().__init__({})
        self._endpoints = endpoints

    def check(
        self, instance_type: str, use: Use, wanted: int, field: str, *, then: int = 0, replaced: str = ""
    ) -> Finding | str | None:
        super().check(instance_type, use, wanted, field, then=then, replaced=replaced)
        return NO_QUOTA if use == "endpoint" and wanted > self._endpoints else None


@pytest.mark.parametrize("by_cost", [True, False])
def test_a_comparison_without_quota_is_left_out_unless_it_was_asked_for(by_cost: bool) -> None:
    plan = any_plan(
        evaluation=any_plan().evaluation.model_dump() | {"compared_by_cost": by_cost},
        endpoint=any_plan().endpoint.model_dump() | {"usd_per_hour": 1.0},
    )
    quotas: Any = RoomFor(1)
    checks, remaining = checked(plan, lambda account: account.quotas(quotas))
    assert any(check.ok is False for check in checks) is not by_cost
    assert remaining.evaluation.compare_with_base is not by_cost
    if by_cost:
        reason = "the quota has no room for a second endpoint. quota 0 Ask for more."
        assert remaining.evaluation.not_compared == reason
        assert remaining.evaluation.estimate is not None
        assert remaining.evaluation.estimate.temporary_endpoints == 0


def test_the_comparison_of_an_imported_model_lacks_room_for_the_base_model_alone() -> None:
    plan = any_plan(
        evaluation=any_plan().evaluation.model_dump() | {"compared_by_cost": True},
        endpoint=any_plan().endpoint.model_dump() | {"target": "bedrock", "usd_per_hour": 1.0},
    )
    quotas: Any = RoomFor(0)
    checks, remaining = checked(plan, lambda account: account.endpoint_quota(quotas))
    assert checks == []
    reason = "the quota has no room for the base model's endpoint. quota 0 Ask for more."
    assert remaining.evaluation.not_compared == reason


def test_a_deployment_alone_needs_no_instances_for_an_evaluation() -> None:
    quotas: Any = AnyQuotas({})
    checked(any_plan(), lambda account: account.endpoint_quota(quotas, evaluated=False))
    assert quotas.standing == [(1, 1, f"{PREFIX}-{RUN_ID}")]


@pytest.mark.parametrize("member", ["fallbacks", "pools"])
def test_each_fallback_type_of_the_endpoint_needs_a_quota(member: str) -> None:
    plan = any_plan(
        endpoint=any_plan().endpoint.model_dump()
        | {
            member: [
                {"instance_type": each, "usd_per_hour": 1}
                for each in (any_plan().endpoint.instance_type, FALLBACK)[member == "fallbacks" :]
            ]
        }
    )
    quotas: Any = AnyQuotas({(FALLBACK, "endpoint"): NO_QUOTA})
    checks, _ = checked(plan, lambda account: account.quotas(quotas))
    assert quotas.asked[-1] == (FALLBACK, "endpoint", 2, "endpoint.fallback_instance_types")
    assert [check.code for check in checks if check.ok is False] == ["QUOTA_EXCEEDED"]


PLAN_ARN = "arn:aws:sagemaker:us-east-1:111122223333:training-plan/finetune-dev-p4d"
HOUR = timedelta(hours=1)


def on_plan(arn: str = PLAN_ARN, seconds: float | None = 3926) -> RunPlan:
    """A run on a bought training plan, whose training is estimated to take `seconds`."""
    option = any_plan().training.options[0].model_dump()
    option["estimate"] |= {"seconds": seconds}
    return any_plan(training=any_plan().training.model_dump() | {"options": [option], "training_plan_arn": arn})


def plan_checked(bought: Any, arn: str = PLAN_ARN, seconds: float | None = 3926) -> Check:
    """What is said of a training plan that SageMaker describes so."""
    service = FakeService()
    service.answers["describe_training_plan"] = bought
    checks, _ = checked(on_plan(arn, seconds), lambda account: account.training_plan(service, NOW))
    (check,) = checks
    return check


def bought(instance_type: str = FIRST, hours: float = 10, **described: Any) -> dict[str, Any]:
    """A training plan that has begun, and ends in `hours`."""
    end = NOW + hours * HOUR
    reserved = [{"InstanceType": instance_type, "EndTime": end}]
    plan = {"Status": "Active", "StartTime": NOW - HOUR, "EndTime": end, "ReservedCapacitySummaries": reserved}
    return plan | described


def test_a_training_plan_of_the_first_type_with_enough_time_is_green() -> None:
    check = plan_checked(bought())
    assert (check.check, check.ok) == ("training plan", True)
    assert check.message == f"finetune-dev-p4d: {FIRST}, 10.0 hours left"


def test_the_time_of_a_training_plan_that_begins_later_counts_from_its_start() -> None:
    begins = {"Status": "Scheduled", "StartTime": NOW + 9 * HOUR}
    assert "1.0 hours left; the training is estimated to take 1.1 hours" in plan_checked(bought(**begins)).message


@pytest.mark.parametrize(
    ("left", "estimate", "ok", "message"),
    [
        (HOUR, 3600, True, f"finetune-dev-p4d: {FIRST}, 1.0 hours left"),
        (timedelta(seconds=1), None, True, f"finetune-dev-p4d: {FIRST}, 0.0 hours left"),
        (timedelta(0), None, False, "The training plan finetune-dev-p4d has no time left."),
        (99.06 * HOUR, 3600, True, f"finetune-dev-p4d: {FIRST}, 99.1 hours left"),
        (
            99.06 * HOUR,
            199.06 * 3600,
            False,
            "The training plan finetune-dev-p4d has 99.1 hours left; the training is estimated to take 199.1 hours.",
        ),
    ],
)
def test_a_training_plan_must_last_for_the_estimated_training_if_there_is_an_estimate(
    left: timedelta, estimate: float | None, ok: bool, message: str
) -> None:
    check = plan_checked(bought(hours=left / HOUR), seconds=estimate)
    assert (check.check, check.ok, check.message) == ("training plan", ok, message)


def test_a_training_plan_without_a_start_has_begun_and_one_without_an_end_is_yellow() -> None:
    described = bought()
    del described["StartTime"]
    assert plan_checked(described).message == f"finetune-dev-p4d: {FIRST}, 10.0 hours left"
    endless = plan_checked({"Status": "Active", "ReservedCapacitySummaries": [{"InstanceType": FIRST}]})
    assert (endless.check, endless.ok) == ("training plan", None)
    assert endless.message == "finetune-dev-p4d: SageMaker does not say when it ends"


TWO_TYPES = [{"InstanceType": FALLBACK}, {"InstanceType": "ml.g5.2xlarge"}]


@pytest.mark.parametrize(
    ("answer", "arn", "why"),
    [
        (bought(FALLBACK), PLAN_ARN, f"has {FALLBACK}, not {FIRST}."),
        (bought(ReservedCapacitySummaries=TWO_TYPES), PLAN_ARN, f"has ml.g5.2xlarge and {FALLBACK}, not {FIRST}."),
        (bought(ReservedCapacitySummaries=[]), PLAN_ARN, f"has no instances, not {FIRST}."),
        ({"Status": "Active"}, PLAN_ARN, f"has no instances, not {FIRST}."),
        (bought(hours=1), PLAN_ARN, "has 1.0 hours left; the training is estimated to take 1.1 hours."),
        (bought(hours=-1), PLAN_ARN, "has no time left."),
        (bought(Status="Expired"), PLAN_ARN, "is Expired."),
        (bought(TargetResources=["hyperpod-cluster", "endpoint"]), PLAN_ARN, "is for hyperpod-cluster, endpoint."),
        (bought(), PLAN_ARN.replace("us-east-1", "us-west-2"), "is in us-west-2; the stage is in us-east-1."),
        (client_error("ResourceNotFound"), PLAN_ARN, "does not exist."),
    ],
)
def test_a_training_plan_that_cannot_be_used_is_red(answer: Any, arn: str, why: str) -> None:
    check = plan_checked(answer, arn)
    assert (check.ok, check.code, check.field) == (False, "TRAINING_PLAN_UNUSABLE", "training.training_plan_arn")
    assert check.message == f"The training plan finetune-dev-p4d {why}"


def test_a_training_plan_that_the_stages_roles_may_not_use_is_red() -> None:
    check = plan_checked(bought(), PLAN_ARN.replace("finetune-dev", "finetune-prod"))
    assert check.ok is False
    assert "its name does not begin with finetune-dev-." in check.message


def test_a_training_plan_that_may_not_be_described_is_yellow_with_the_reason() -> None:
    service = FakeService()
    service.refuse("describe_training_plan", "AccessDeniedException", "not authorized")
    ((check,), _) = checked(on_plan(), lambda account: account.training_plan(service, NOW))
    assert (check.check, check.ok) == ("training plan", None)
    assert "not authorized" in check.message
    assert service.requests("describe_training_plan") == [{"TrainingPlanName": PLAN_ARN}]


def test_a_quota_on_demand_does_not_refuse_a_run_on_a_training_plan() -> None:
    quotas: Any = AnyQuotas({(FIRST, "training"): NO_QUOTA})
    checks, _ = checked(on_plan(), lambda account: account.quotas(quotas))
    assert checks[0].ok is None
    assert "whether a job on a training plan needs this quota is not documented. quota 0" in checks[0].message


def names_checked(sagemaker: FakeService, **plan: Any) -> list[Check]:
    checks, _ = checked(any_plan(**plan), lambda account: account.names(sagemaker, "anyone"))
    return checks


def test_names_that_are_free_or_ours_are_green(cloud: FakeAws) -> None:
    assert [check.ok for check in names_checked(cloud.sagemaker)] == [True, True]
    cloud.sagemaker.add_endpoint()
    cloud.sagemaker.add_job()
    assert [check.ok for check in names_checked(cloud.sagemaker)] == [True, True]


@pytest.mark.parametrize("owner", [None, "finetune-prod"])
def test_a_name_that_somebody_else_has_is_red(cloud: FakeAws, owner: str | None) -> None:
    tags = {"finetune:created-by": owner} if owner else {}
    cloud.sagemaker.add_endpoint(run_id=None, tags=tags)
    cloud.sagemaker.add("training_job", f"{PREFIX}-{RUN_ID}", None, tags)
    found = [(check.code, check.field) for check in names_checked(cloud.sagemaker) if check.ok is False]
    assert found == [("NAME_TAKEN", "endpoint.name"), ("NAME_TAKEN", "")]


@pytest.mark.parametrize(("replacement", "red"), [("owner", True), ("anyone", False)])
def test_an_endpoint_of_another_upload_is_red_where_only_its_owner_may_replace_it(
    cloud: FakeAws, replacement: Any, red: bool
) -> None:
    cloud.sagemaker.add_endpoint(run_id="faq-00000000", tags={"finetune:owners": "faq other"})
    checks, _ = checked(any_plan(), lambda account: account.names(cloud.sagemaker, replacement))
    code, whose = (
        ("ENDPOINT_NOT_OWNED", f"The endpoint {PREFIX}-{RUN_ID} belongs to faq") if red else ("", "this stage")
    )
    assert [(check.check, check.ok, check.code) for check in checks] == [("names", not red, code), ("names", True, "")]
    assert whose in checks[0].message
    cloud.sagemaker.tags_of("endpoint", f"{PREFIX}-{RUN_ID}")["finetune:owners"] = "faq pirate"
    checks, _ = checked(any_plan(), lambda account: account.names(cloud.sagemaker, replacement))
    assert [check.ok for check in checks] == [True, True]


def test_names_that_cannot_be_looked_up_are_yellow(cloud: FakeAws) -> None:
    cloud.sagemaker.answers["describe_endpoint"] = client_error("AccessDeniedException")
    assert [check.ok for check in names_checked(cloud.sagemaker)] == [None, True]


@pytest.mark.parametrize(
    ("answer", "ok", "code"),
    [
        ({"KeyMetadata": {"KeyState": "Enabled"}}, True, ""),
        ({"KeyMetadata": {"KeyState": "Disabled"}}, False, "KMS_KEY_UNUSABLE"),
        (client_error("NotFoundException"), False, "KMS_KEY_UNUSABLE"),
        (client_error("AccessDeniedException"), None, ""),
    ],
)
def test_the_key_must_be_there_and_enabled(answer: Any, ok: bool | None, code: str) -> None:
    kms = FakeService()
    kms.answers["describe_key"] = answer
    ((check,), _) = checked(any_plan(), lambda account: account.key(kms))
    assert (check.ok, check.code) == (ok, code)
    assert kms.requests("describe_key") == [{"KeyId": TARGET.kms_key_arn}]


def trust(service: str) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]}


@pytest.mark.parametrize(
    ("answer", "ok", "code"),
    [
        (trust("sagemaker.amazonaws.com"), True, ""),
        (json.dumps(trust("sagemaker.amazonaws.com")), True, ""),
        (trust("lambda.amazonaws.com"), False, "ROLE_UNUSABLE"),
        (client_error("NoSuchEntity"), False, "ROLE_UNUSABLE"),
        (client_error("AccessDenied"), None, ""),
    ],
)
def test_the_role_must_be_there_and_sagemaker_may_assume_it(answer: Any, ok: bool | None, code: str) -> None:
    iam = FakeService()
    iam.answers["get_role"] = (
        answer if isinstance(answer, Exception) else {"Role": {"AssumeRolePolicyDocument": answer}}
    )
    ((check,), _) = checked(any_plan(), lambda account: account.role(iam))
    assert (check.ok, check.code) == (ok, code)
    assert iam.requests("get_role") == [{"RoleName": "SageMakerExec"}]


def test_each_check_is_a_line_of_its_own_in_the_preflight(cloud: FakeAws) -> None:
    quotas: Any = AnyQuotas({(FIRST, "training"): "not listed"})
    kms, iam = FakeService(), FakeService()
    kms.answers["describe_key"] = {"KeyMetadata": {"KeyState": "Disabled"}}
    iam.answers["get_role"] = {"Role": {"AssumeRolePolicyDocument": trust("lambda.amazonaws.com")}}
    cloud.sagemaker.add_endpoint(run_id=None)
    cloud.sagemaker.add_job()
    answers = {SPEC.code_key: None, SPEC.gated_key(FIRST): FineTuningError(Code.ACCESS_DENIED, "no", "")}

    def judge(account: AccountChecks) -> None:
        account.artefacts(AnyBucket(answers))
        account.quotas(quotas)
        account.names(cloud.sagemaker, "anyone")
        account.key(kms)
        account.role(iam)

    checks, _ = checked(training(chosen=True), judge)
    assert [(check.check, check.ok) for check in checks] == [
        ("artefacts", None),
        ("artefacts", None),
        ("artefacts", True),
        ("quota", None),
        ("quota", True),
        ("quota", True),
        ("names", False),
        ("names", True),
        ("key", False),
        ("role", False),
    ]
    assert "Disabled" in checks[-2].message


@pytest.mark.parametrize(("check", "more"), [("key", ()), ("role", ()), ("names", ("anyone",))])
def test_what_aws_does_not_answer_is_shown_as_it_came(check: str, more: tuple[str, ...]) -> None:
    service = FakeService()
    for operation in ("describe_key", "get_role", "describe_endpoint", "describe_training_job"):
        service.answers[operation] = client_error("AccessDeniedException", "not authorized")
    checks, _ = checked(any_plan(), lambda account: getattr(account, check)(service, *more))
    assert {each.check for each in checks} == {check}
    assert all("not authorized" in each.message for each in checks)


@pytest.mark.parametrize(
    ("check", "operation", "code"), [("key", "describe_key", "NotFoundException"), ("role", "get_role", "NoSuchEntity")]
)
def test_what_does_not_exist_belongs_to_no_field_and_says_how_to_restore_it(
    check: str, operation: str, code: str
) -> None:
    service = FakeService()
    service.answers[operation] = client_error(code)
    ((line,), _) = checked(any_plan(), lambda account: getattr(account, check)(service))
    assert (line.check, line.field) == (check, "")
    assert "Deploy the stacks" in line.fix


@pytest.mark.parametrize("code", ["ValidationException", "ResourceNotFound"])
def test_a_name_that_nothing_has_is_free(code: str) -> None:
    service = FakeService()
    service.answers |= {"describe_endpoint": client_error(code), "describe_training_job": client_error(code)}
    checks, _ = checked(any_plan(), lambda account: account.names(service, "anyone"))
    assert [check.ok for check in checks] == [True, True]
    assert f"endpoint {PREFIX}-{RUN_ID}" in checks[0].message
    assert f"training job {PREFIX}-{RUN_ID} " in checks[1].message


def test_each_quota_is_asked_for_with_its_instances_and_the_field_that_sets_it() -> None:
    quotas: Any = AnyQuotas({(any_plan().endpoint.instance_type, "endpoint"): "not listed"})
    checks, _ = checked(any_plan(), lambda account: account.quotas(quotas))
    hosting = any_plan().endpoint.instance_type
    assert quotas.asked == [
        (FIRST, "training", 1, "training.instance_type"),
        (FALLBACK, "training", 1, "training.fallback_instance_types"),
        (hosting, "endpoint", 2, "endpoint.instance_type"),
    ]
    assert checks[-1].message == f"{hosting} for the endpoint: not listed"


def test_a_fallback_that_is_left_out_is_named_with_the_reason() -> None:
    quotas: Any = AnyQuotas({(FALLBACK, "training"): NO_QUOTA})
    checks, _ = checked(training(chosen=False), lambda account: account.quotas(quotas))
    (line,) = [check for check in checks if check.check == "fallbacks"]
    assert FALLBACK in line.message
    assert "quota 0" in line.message


def test_an_artefact_is_looked_for_in_its_own_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, asked = AnyBucket({}), []
    monkeypatch.setattr(bucket, "has", lambda name, key: asked.append((name, key)) or True)
    checked(any_plan(), lambda account: account.artefacts(bucket))
    assert asked == list(bucket.artefacts(SPEC, [FIRST, FALLBACK]))


def test_a_role_below_a_path_is_found_by_its_name() -> None:
    iam = FakeService()
    iam.answers["get_role"] = {"Role": {"AssumeRolePolicyDocument": trust("sagemaker.amazonaws.com")}}
    target = replace(TARGET, role_arn="arn:aws:iam::111122223333:role/teams/ml/SageMakerExec")
    AccountChecks(SPEC, any_plan(), target, Checklist()).role(iam)
    assert iam.requests("get_role") == [{"RoleName": "SageMakerExec"}]


def test_a_missing_script_is_a_line_of_the_artefacts() -> None:
    checks, _ = checked(any_plan(), lambda account: account.artefacts(AnyBucket({SPEC.code_key: False})))
    assert checks[0].check == "artefacts"


def test_the_name_of_the_first_attempts_job_is_looked_up(cloud: FakeAws) -> None:
    names_checked(cloud.sagemaker)
    assert cloud.sagemaker.requests("describe_training_job") == [{"TrainingJobName": f"{PREFIX}-{RUN_ID}"}]


def judged_by(judge: str | None) -> RunPlan:
    evaluation = any_plan().evaluation.model_dump() | {"judge": {"model": judge} if judge else None}
    return any_plan(evaluation=evaluation)


def test_a_plan_without_a_judge_asks_bedrock_nothing() -> None:
    def never() -> Any:
        raise AssertionError("no client is needed")

    assert checked(judged_by(None), lambda account: account.judge(never, NOW))[0] == []
    assert checked(judged_by(None), lambda account: account.way_to_judge(never))[0] == []


def test_a_judge_that_can_be_called_is_a_line_of_the_table() -> None:
    bedrock = FakeService()
    bedrock.answers["get_foundation_model"] = {"modelDetails": {"modelLifecycle": {"status": "ACTIVE"}}}
    (line,), _ = checked(judged_by("amazon.nova-pro-v1:0"), lambda account: account.judge(lambda: bedrock, NOW))
    assert (line.check, line.ok) == ("judge", True)
    assert line.message == "amazon.nova-pro-v1:0 is available to this account"


def test_each_reason_against_a_judge_is_a_finding_and_what_is_not_known_is_yellow() -> None:
    bedrock = FakeService()
    bedrock.answers["get_foundation_model"] = {
        "modelDetails": {"outputModalities": ["IMAGE"], "modelLifecycle": {"status": "LEGACY"}}
    }
    lines, _ = checked(judged_by("amazon.nova-pro-v1:0"), lambda account: account.judge(lambda: bedrock, NOW))
    found = [(line.check, line.ok, line.code) for line in lines]
    assert found == [("judge", False, Code.JUDGE_UNUSABLE), ("judge", None, "")]
    assert lines[1].message.startswith("amazon.nova-pro-v1:0: a legacy model")


@pytest.mark.parametrize("reachable", [True, False])
def test_a_network_without_a_way_to_bedrock_refuses_a_judge(monkeypatch: pytest.MonkeyPatch, reachable: bool) -> None:
    runtime, asked = FakeService(), list[Any]()
    monkeypatch.setattr(account_checks, "is_reachable", lambda of: asked.append(of) or reachable)
    lines, _ = checked(judged_by("amazon.nova-pro-v1:0"), lambda account: account.way_to_judge(lambda: runtime))
    message = "The judge amazon.nova-pro-v1:0 cannot be asked: the stage's network has no way to Bedrock's runtime."
    assert [(line.check, line.message) for line in lines] == ([] if reachable else [("judge", message)])
    assert asked == [runtime]


def test_bedrock_is_not_asked_about_a_judge_that_the_stage_does_not_allow() -> None:
    checklist, bedrock = Checklist(), FakeService()
    checklist.found("judge", Finding(Code.JUDGE_NOT_ALLOWED, "evaluation.judge", "no", "yes"))
    account = AccountChecks(SPEC, judged_by("amazon.nova-pro-v1:0"), TARGET, checklist)
    account.judge(lambda: bedrock, NOW)
    account.way_to_judge(lambda: bedrock)
    assert bedrock.calls == []
    assert len(checklist.checks) == 1
