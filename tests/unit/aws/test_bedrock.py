"""Bedrock's control plane: what is asked of it, and what its refusals mean."""

import pytest

from finetuning.aws.bedrock import bedrock
from finetuning.errors import Code, FineTuningError, TransientAwsError
from tests.builders.aws import FakeAws
from tests.builders.memory import PREFIX
from tests.builders.runs import RUN_ID

NAME = f"{PREFIX}-{RUN_ID}"
GONE = "arn:aws:bedrock:us-east-1:123456789012:imported-model/000000000000"


def test_a_list_is_narrowed_to_names_that_begin_so(cloud: FakeAws) -> None:
    cloud.bedrock.add_model(f"my-{NAME}")
    cloud.bedrock.add_model(NAME)
    assert [model["modelName"] for model in bedrock().models(NAME)] == [NAME]
    assert cloud.bedrock.requests("list_imported_models") == [{"nameContains": NAME}]


def test_a_model_is_found_by_its_whole_name(cloud: FakeAws) -> None:
    cloud.bedrock.add_model(NAME + "-2")
    assert bedrock().find_model(NAME) is None
    arn = cloud.bedrock.add_model(NAME)
    found = bedrock().find_model(NAME)
    assert found
    assert found["modelArn"] == arn


def test_jobs_are_listed_from_the_newest_on(cloud: FakeAws) -> None:
    for hours in (3, 1, 2):
        cloud.bedrock.add_job(f"{NAME}-{hours}", hours_old=hours)
    assert [job["jobName"] for job in bedrock().import_jobs(NAME)] == [f"{NAME}-{hours}" for hours in (1, 2, 3)]
    (request,) = cloud.bedrock.requests("list_model_import_jobs")
    assert (request["sortBy"], request["sortOrder"]) == ("CreationTime", "Descending")


def test_what_does_not_exist_any_more_is_deleted_and_has_no_tags(cloud: FakeAws) -> None:
    assert bedrock().delete_model(GONE) is False
    assert bedrock().tags(GONE) == {}
    arn = cloud.bedrock.add_model()
    assert bedrock().delete_model(arn) is True


def test_a_model_that_does_not_show_yet_is_asked_for_again(cloud: FakeAws) -> None:
    with pytest.raises(TransientAwsError, match="does not find the imported model"):
        bedrock().describe_model(GONE)


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        ("ServiceQuotaExceededException", Code.QUOTA_EXCEEDED),
        ("AccessDeniedException", Code.ACCESS_DENIED),
        ("ValidationException", Code.REQUEST_INVALID),
        ("ThrottlingException", Code.AWS_UNAVAILABLE),
    ],
)
def test_a_refused_import_says_what_it_was_for(cloud: FakeAws, refused: str, code: Code) -> None:
    cloud.bedrock.refuse("create_model_import_job", refused, "because")
    with pytest.raises(FineTuningError, match=f"cannot import the model {NAME}: .*because") as error:
        bedrock().start_import({"importedModelName": NAME})
    assert error.value.code == code
    assert "instance type" not in error.value.fix
