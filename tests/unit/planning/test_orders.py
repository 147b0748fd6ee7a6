"""A run's requests, put together from its plan, its names and the model's facts."""

import pytest

from finetuning.errors import Code
from finetuning.jumpstart.requests import container_key
from finetuning.planning.checklist import Checklist
from finetuning.planning.orders import (
    check_requests,
    hosting,
    import_job,
    run_requests,
    run_tags,
    tag_value,
    training_job,
    tuned_model,
    tuned_models,
)
from finetuning.runs.endpoint_plan import HostingOption
from finetuning.runs.names import hosting_suffix
from finetuning.runs.plan import Acceptance, DatasetSummary, RunPlan
from finetuning.runs.tags import EULA_ACCEPTED_AT_TAG, EULA_ACCEPTED_BY_TAG, EULA_TAG, IDLE_TAG, RUN_TAG, TTL_TAG
from tests.builders.jumpstart import TARGET, WITH_IMPORTS, any_spec, service_model
from tests.builders.runs import RUN_ID, START, any_plan

SPEC = any_spec(any_plan().model_id)
NAME = f"{TARGET.prefix}-{RUN_ID}"


def test_the_model_is_made_of_what_the_training_job_writes() -> None:
    built = run_requests(SPEC, any_plan(), TARGET)
    source = built["create_model"]["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]["S3Uri"]
    assert source.startswith(f"{built['create_training_job']['OutputDataConfig']['S3OutputPath']}/{NAME}/")
    assert built["create_model"]["ModelName"] == NAME
    reported = tuned_model(SPEC, any_plan(), TARGET, "s3://elsewhere/model/")["PrimaryContainer"]
    assert reported["ModelDataSource"]["S3DataSource"]["S3Uri"] == "s3://elsewhere/model/"


def test_the_first_import_has_the_name_of_the_run() -> None:
    order = import_job(any_plan(), WITH_IMPORTS, "s3://artifacts/model/")
    assert (order["jobName"], order["importedModelName"]) == (NAME, NAME)
    assert import_job(any_plan(), WITH_IMPORTS, "s3://artifacts/model/", 2)["jobName"] == f"{NAME}-2"


def test_a_run_without_an_endpoint_is_one_request() -> None:
    plan = any_plan()
    trained = plan.model_copy(update={"endpoint": plan.endpoint.model_copy(update={"deploy": False})})
    assert list(run_requests(SPEC, trained, TARGET)) == ["create_training_job"]


def test_a_request_that_sagemaker_would_refuse_is_a_finding_with_its_operation() -> None:
    built, checklist = run_requests(SPEC, any_plan(), TARGET), Checklist()
    built["create_endpoint"]["EndpointName"] = "no_underscores"
    check_requests(built, service_model, checklist)
    (check,) = checklist.checks
    assert (check.check, check.ok, check.code, check.field) == ("requests", False, Code.REQUEST_INVALID, "")
    assert "CreateEndpoint: EndpointName" in check.message
    assert "run.json" in check.fix


def test_valid_requests_are_one_line_of_the_preflight() -> None:
    checklist = Checklist()
    check_requests(run_requests(SPEC, any_plan(), TARGET), service_model, checklist)
    (check,) = checklist.checks
    assert (check.check, check.ok) == ("requests", True)
    assert check.message.startswith("4")


def pooled(*types: str) -> RunPlan:
    """A plan whose endpoint may take any of these types."""
    plan = any_plan()
    pools = [
        HostingOption(instance_type=each, usd_per_hour=1, container_key=container_key(SPEC, each, TARGET.region))
        for each in types
    ]
    endpoint = plan.endpoint.model_copy(update={"instance_type": types[0], "pools": pools})
    return plan.model_copy(update={"endpoint": endpoint})


def test_each_pool_has_the_model_for_its_type_and_shares_it_where_the_container_is_the_same() -> None:
    plan = pooled("ml.g5.48xlarge", "ml.g6.48xlarge", "ml.p4d.24xlarge")
    on_p4d = NAME + hosting_suffix("ml.p4d.24xlarge")
    built = run_requests(SPEC, plan, TARGET)
    (variant,) = built["create_endpoint_config"]["ProductionVariants"]
    assert "InstanceType" not in variant
    assert (variant["ModelName"], variant["InstancePools"]) == (
        NAME,
        [
            {"InstanceType": "ml.g5.48xlarge", "Priority": 1},
            {"InstanceType": "ml.g6.48xlarge", "Priority": 2},
            {"InstanceType": "ml.p4d.24xlarge", "Priority": 3, "ModelNameOverride": on_p4d},
        ],
    )
    models = {each["ModelName"]: each["PrimaryContainer"] for each in tuned_models(SPEC, plan, TARGET, "s3://b/model/")}
    assert models.keys() == {NAME, on_p4d}
    assert models[on_p4d]["Environment"] == SPEC.hosting_environment("ml.p4d.24xlarge")
    assert models[NAME]["Environment"] == SPEC.hosting_environment("ml.g5.48xlarge")
    assert models[NAME]["ModelDataSource"] == models[on_p4d]["ModelDataSource"]


def test_a_request_with_pools_is_valid_by_the_service_model() -> None:
    checklist = Checklist()
    built = run_requests(SPEC, pooled("ml.g5.48xlarge", "ml.p4d.24xlarge"), TARGET)
    check_requests(built, service_model, checklist)
    assert checklist.findings == []
    built["create_endpoint_config"]["ProductionVariants"][0]["InstancePools"][1]["Priority"] = 6
    check_requests(built, service_model, checklist)
    assert "InstancePools[1].Priority" in checklist.findings[0].message


def test_the_base_model_is_compared_on_the_type_that_the_tuned_one_serves_on() -> None:
    plan = pooled("ml.g5.48xlarge", "ml.p4d.24xlarge")
    served = plan.model_copy(update={"endpoint": plan.endpoint.serving(["ml.p4d.24xlarge"])})
    base, candidate = (hosting(variant, served, TARGET) for variant in ("base", "candidate"))
    assert (base.instance_type, base.pools) == ("ml.p4d.24xlarge", {})
    assert list(candidate.pools) == ["ml.g5.48xlarge", "ml.p4d.24xlarge"]


@pytest.mark.parametrize(
    ("variant", "model", "endpoint"),
    [("candidate", NAME, f"{NAME}-candidate"), ("base", f"{NAME}-base", f"{NAME}-base")],
)
def test_a_temporary_endpoint_has_the_live_ones_instances_and_a_ttl_of_three_hours(
    variant: str, model: str, endpoint: str
) -> None:
    live, found = hosting("live", any_plan(), TARGET), hosting(variant, any_plan(), TARGET)  # type: ignore[arg-type]
    assert (found.model, found.config, found.endpoint) == (model, endpoint, endpoint)
    assert (found.instance_type, found.instance_count) == (live.instance_type, live.instance_count)
    assert (found.tags[TTL_TAG], found.tags[IDLE_TAG], found.tags[RUN_TAG]) == ("3", "180", RUN_ID)
    assert found.capture is None


def test_each_attempt_trains_on_its_own_instance_type_under_its_own_name() -> None:
    first, second = (training_job(SPEC, any_plan(), TARGET, attempt) for attempt in (0, 1))
    assert (first["TrainingJobName"], second["TrainingJobName"]) == (NAME, f"{NAME}-1")
    assert [job["ResourceConfig"]["InstanceType"] for job in (first, second)] == ["ml.p4d.24xlarge", "ml.g5.48xlarge"]


def test_the_tags_say_who_accepted_which_licence_when_in_allowed_characters() -> None:
    accepted = Acceptance(by="arn:aws:iam::1:user/Zoë <z@example.com>" + "x" * 300, at=START, licence_key="eula.txt")
    tags = run_tags(any_plan(accepted=accepted), TARGET)
    assert tags[EULA_ACCEPTED_BY_TAG].startswith("arn:aws:iam::1:user/Zoë _z@example.com_x")
    assert len(tags[EULA_ACCEPTED_BY_TAG]) == 256
    assert tags[EULA_ACCEPTED_AT_TAG] == "2026-03-04T09:00:00+00:00"
    assert tags[EULA_TAG] == "eula.txt"
    assert EULA_TAG not in run_tags(any_plan(accepted=None), TARGET)


@pytest.mark.parametrize(
    ("rows", "supported", "channel"), [(None, True, True), (1, True, True), (0, True, False), (1, False, False)]
)
def test_held_out_rows_have_a_channel_where_the_script_reads_one(
    rows: int | None, supported: bool, channel: bool
) -> None:
    dataset = None if rows is None else DatasetSummary(train_rows=9, validation_rows=rows, train_tokens=99)
    spec = SPEC.model_copy(update={"validation_supported": supported})
    job = training_job(spec, any_plan().model_copy(update={"dataset": dataset}), TARGET)
    uris = {each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"] for each in job["InputDataConfig"]}
    assert ("validation" in uris) is channel
    if channel:
        assert uris["validation"] == f"s3://{TARGET.bucket}/runs/{RUN_ID}/dataset/validation/"


def test_prefixes_that_sagemaker_writes_to_end_without_a_slash() -> None:
    captured = any_plan(endpoint=any_plan().endpoint.model_dump() | {"data_capture_percentage": 5})
    assert training_job(SPEC, captured, TARGET)["OutputDataConfig"]["S3OutputPath"].endswith("/training")
    found = hosting("live", captured, TARGET)
    assert (found.capture or "").endswith("/capture")
    assert found.capture_percentage == 5
    assert hosting("live", any_plan(), TARGET).capture is None


def test_the_live_endpoint_expires_as_planned_and_its_job_is_tagged_with_the_run() -> None:
    found = hosting("live", any_plan(), TARGET)
    assert (found.tags[TTL_TAG], found.tags[IDLE_TAG]) == ("8", "60")
    assert {"Key": RUN_TAG, "Value": RUN_ID} in training_job(SPEC, any_plan(), TARGET)["Tags"]


@pytest.mark.parametrize(("number", "words"), [(1, "1 request valid"), (2, "2 requests valid")])
def test_requests_are_counted_in_the_singular_and_plural(number: int, words: str) -> None:
    checklist, built = Checklist(), run_requests(SPEC, any_plan(), TARGET)
    check_requests(dict(list(built.items())[:number]), service_model, checklist)
    assert [check.message for check in checklist.checks] == [words]


def test_the_tuned_model_is_tagged_as_what_the_live_endpoint_serves() -> None:
    tags = {tag["Key"]: tag["Value"] for tag in tuned_model(SPEC, any_plan(), TARGET, "s3://bucket/model/")["Tags"]}
    assert tags.items() >= hosting("live", any_plan(), TARGET).tags.items()


def test_a_tag_has_no_line_break_of_an_uploads_name() -> None:
    r"""A key in S3 may have one, and SageMaker's pattern for tags, `\p{Z}`, has none."""
    assert tag_value("s3://uploads/runs/a\nb\tc/run.json version 1") == "s3://uploads/runs/a_b_c/run.json version 1"
