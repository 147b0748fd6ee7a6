"""`finetune promote`: what is uploaded, and what is refused before."""

import json
from dataclasses import replace

import boto3
import pytest

from finetuning.errors import FineTuningError
from finetuning.runs.run_json import read_request
from finetuning.settings import DeployedStage
from finetuning_cli.stage.deployment import Deployment
from tests.builders.cli import UPLOAD, Command
from tests.builders.promotion import PACKAGE, PROMOTE_FROM


@pytest.fixture
def promoting(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The stage dev, which promotes the models of another account."""
    settings = DeployedStage(
        stage="dev", aws_region="us-east-1", endpoint_ttl_hours=8, endpoint_idle_minutes=60, **PROMOTE_FROM
    )
    made = replace(deployment, settings=settings)
    monkeypatch.setattr(Deployment, "find", lambda stage: made)
    return made


def uploaded(key: str) -> bytes:
    return bytes(boto3.client("s3", region_name="us-east-1").get_object(Bucket=UPLOAD, Key=key)["Body"].read())


def test_a_promotion_is_one_run_json_in_a_folder_named_after_the_group(
    finetune: Command, promoting: Deployment
) -> None:
    code, printed = finetune("promote", PACKAGE, "--endpoint", "faq", "--ttl-hours", "2")
    body = uploaded("runs/faq/run.json")
    assert json.loads(body) == {"promote": PACKAGE, "endpoint": {"name": "faq", "ttl_hours": 2.0}}
    assert read_request(body)[1] == []
    assert code == 0
    run_id = printed.split("with the run ")[1].split()[0]
    assert f"finetune watch {run_id} --stage dev" in printed
    assert f"finetune approve {run_id} --stage dev" in printed


def test_a_name_of_ones_own_is_the_folders(finetune: Command, promoting: Deployment) -> None:
    code, printed = finetune("promote", PACKAGE, "--name", "answers", "--json")
    assert json.loads(uploaded("runs/answers/run.json")) == {"promote": PACKAGE}
    assert (code, json.loads(printed)["run_id"].startswith("answers-")) == (0, True)
    assert finetune("promote", PACKAGE, "--name", "a/b")[0] == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            (PACKAGE.replace("111122223333", "999999999999"),),
            "PROMOTION_UNUSABLE",
            "is not a version of a group finetune-dev-",
        ),
        (("the-best-one",), "RUN_REFUSED", "promote"),
        ((PACKAGE, "--endpoint", "a b"), "RUN_REFUSED", "endpoint.name"),
    ],
)
def test_what_the_stage_would_refuse_is_not_uploaded(
    finetune: Command, promoting: Deployment, words: tuple[str, ...], code: str, said: str
) -> None:
    with pytest.raises(FineTuningError) as refused:
        finetune("promote", *words)
    assert refused.value.code == code
    assert said in json.dumps(refused.value.as_dict(), ensure_ascii=False)
    assert "Contents" not in boto3.client("s3", region_name="us-east-1").list_objects_v2(Bucket=UPLOAD)


def test_a_stage_that_promotes_nothing_says_so(finetune: Command, deployment: Deployment) -> None:
    with pytest.raises(FineTuningError, match="PROMOTION_DISABLED"):
        finetune("promote", PACKAGE)


def test_a_folder_with_data_is_not_taken_for_a_promotion(finetune: Command, promoting: Deployment) -> None:
    boto3.client("s3", region_name="us-east-1").put_object(Bucket=UPLOAD, Key="runs/faq/faq.jsonl", Body=b"{}")
    with pytest.raises(FineTuningError, match="UPLOAD_FOLDER_TAKEN"):
        finetune("promote", PACKAGE)
