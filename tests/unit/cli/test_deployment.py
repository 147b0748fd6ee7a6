from datetime import timedelta
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
    UnauthorizedSSOTokenError,
)

from cli.preflight.data import LocalData
from cli.stage.clean_up import remaining_resources, remove_resources
from cli.stage.deployment import Deployment
from cli.stage.endpoints import extend_endpoint, find_endpoint, list_endpoints
from cli.stage.runs import execution_status, find_run, list_runs
from cli.stage.uploads import submit_file, submit_folder
from finetuning.aws.clients import client
from finetuning.errors import Code, FineTuningError
from finetuning.runs.layout import RunLayout
from finetuning.runs.names import Names
from finetuning.runs.status import RunState
from finetuning.runs.tags import OWNER_TAG, RUN_TAG, TTL_TAG
from finetuning.runs.uploads import Upload
from tests.builders.runs import RUN_ID, any_failed_status, any_plan, any_status, at
from tests.unit.cli.conftest import ARTIFACTS, UPLOAD, write, write_status

ROLE = "arn:aws:iam::123456789012:role/SageMakerExecution"


def any_endpoint_of(run_id: str, name: str | None = None, config: str | None = None) -> None:
    """An endpoint with its configuration and model, as a run leaves them."""
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    names = Names("finetune-dev", run_id)
    told = {RUN_TAG: run_id, OWNER_TAG: "finetune-dev", TTL_TAG: "8"}
    tags = [{"Key": key, "Value": value} for key, value in told.items()]
    image = {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/djl:1"}
    sagemaker.create_model(ModelName=names.model, ExecutionRoleArn=ROLE, PrimaryContainer=image)
    config = config or names.endpoint_config
    sagemaker.create_endpoint_config(
        EndpointConfigName=config,
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": names.model,
                "InstanceType": "ml.g4dn.12xlarge",
                "InitialInstanceCount": 1,
            }
        ],
    )
    sagemaker.create_endpoint(EndpointName=name or names.endpoint, EndpointConfigName=config, Tags=tags)


def test_a_deployment_is_found_by_its_stacks_outputs(deployment: Deployment) -> None:
    assert (deployment.prefix, deployment.upload_bucket, deployment.artifacts_bucket) == (
        "finetune-dev",
        UPLOAD,
        ARTIFACTS,
    )


def test_a_stage_that_is_not_deployed_is_told_with_the_command_that_deploys_it(deployment: Deployment) -> None:
    with pytest.raises(FineTuningError) as caught:
        Deployment.find("prod")
    assert caught.value.code == Code.DEPLOYMENT_NOT_FOUND
    assert "npx cdk deploy --all -c stage=prod" in caught.value.fix


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "AWS's own words"}}, "DescribeStacks")


@pytest.mark.parametrize(
    ("failure", "code", "advice"),
    [
        (NoCredentialsError(), Code.AWS_NOT_CONFIGURED, "aws sso login"),
        (ProfileNotFound(profile="nobody"), Code.AWS_NOT_CONFIGURED, "AWS_PROFILE"),
        (UnauthorizedSSOTokenError(), Code.AWS_NOT_CONFIGURED, "aws sso login"),
        (refused("ExpiredToken"), Code.AWS_NOT_CONFIGURED, "aws sso login"),
        (refused("AccessDenied"), Code.ACCESS_DENIED, "DescribeStacks"),
        (EndpointConnectionError(endpoint_url="https://nowhere"), Code.AWS_UNAVAILABLE, "network"),
        (refused("ValidationError"), Code.REQUEST_INVALID, ""),
    ],
)
def test_each_reason_why_aws_does_not_answer_has_its_own_way_out(
    aws: None, monkeypatch: pytest.MonkeyPatch, failure: Exception, code: Code, advice: str
) -> None:
    def refuse(**_: object) -> None:
        raise failure

    monkeypatch.setattr(client("cloudformation"), "describe_stacks", refuse)
    with pytest.raises(FineTuningError) as caught:
        Deployment.find("dev")
    assert caught.value.code == code
    assert advice in caught.value.fix


def test_what_refuses_an_upload_is_told_in_awss_words(deployment: Deployment, tmp_path: Path) -> None:
    data = tmp_path / "faq.jsonl"
    data.write_text("{}\n")
    boto3.client("s3", region_name="us-east-1").delete_bucket(Bucket=UPLOAD)
    with pytest.raises(FineTuningError, match="NoSuchBucket"):
        submit_file(deployment, data, lambda sent: None)


def test_a_folder_gives_its_data_and_template_and_keeps_everything_else(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.csv.gz", "template.json", "run.json", "README.md", ".hidden.jsonl"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in LocalData.read([tmp_path]).uploads] == ["a.csv.gz", "b.jsonl", "template.json"]


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(FineTuningError) as caught:
        LocalData.read([tmp_path]).require_files(tmp_path)
    assert caught.value.code == Code.UPLOAD_WITHOUT_DATA


def test_run_json_arrives_last_and_its_version_names_the_run(deployment: Deployment, tmp_path: Path) -> None:
    data = tmp_path / "chat.jsonl"
    data.write_text("{}\n")
    sent: list[int] = []
    upload = submit_folder(deployment, [data], b'{"accept_eula": true}', "pirate", lambda path: sent.append)
    s3 = boto3.client("s3", region_name="us-east-1")
    stored = {each["Key"]: each for each in s3.list_objects_v2(Bucket=UPLOAD)["Contents"]}
    assert stored.keys() == {"runs/pirate/chat.jsonl", "runs/pirate/run.json"}
    assert stored["runs/pirate/chat.jsonl"]["LastModified"] <= stored["runs/pirate/run.json"]["LastModified"]
    version = s3.head_object(Bucket=UPLOAD, Key="runs/pirate/run.json")["VersionId"]
    assert upload == Upload(UPLOAD, "runs/pirate/run.json", version)
    assert sum(sent) == 3


def test_data_that_an_earlier_upload_left_under_the_name_is_not_trained_on_by_surprise(
    deployment: Deployment, tmp_path: Path
) -> None:
    data = tmp_path / "new.jsonl"
    data.write_text("{}\n")
    s3 = boto3.client("s3", region_name="us-east-1")
    for name in ("run.json", "new.jsonl", "old.jsonl"):
        s3.put_object(Bucket=UPLOAD, Key=f"runs/pirate/{name}", Body=b"earlier")
    with pytest.raises(FineTuningError, match=r"old\.jsonl") as caught:
        submit_folder(deployment, [data], b"{}", "pirate", lambda path: lambda sent: None)
    assert caught.value.code == Code.UPLOAD_FOLDER_TAKEN
    assert s3.get_object(Bucket=UPLOAD, Key="runs/pirate/new.jsonl")["Body"].read() == b"earlier"


def test_a_single_file_goes_into_the_inbox(deployment: Deployment, tmp_path: Path) -> None:
    data = tmp_path / "faq.jsonl"
    data.write_text("{}\n")
    upload = submit_file(deployment, data, lambda sent: None)
    version = boto3.client("s3", region_name="us-east-1").head_object(Bucket=UPLOAD, Key="inbox/faq.jsonl")["VersionId"]
    assert upload.run_id == Upload(UPLOAD, "inbox/faq.jsonl", version).run_id


def test_a_single_file_runs_under_the_name_it_is_given(deployment: Deployment, tmp_path: Path) -> None:
    data = tmp_path / "faq.jsonl.gz"
    data.write_text("{}\n")
    assert submit_file(deployment, data, lambda sent: None, "support").key == "inbox/support.jsonl.gz"


def test_a_run_is_found_by_its_id_or_its_latest_upload_of_that_name(deployment: Deployment) -> None:
    write_status(any_status(run_id="pirate-00000001", started_at=at(0)))
    write_status(any_status(run_id="pirate-00000002", started_at=at(60)))
    write_status(any_status(run_id="pirate-ship-00000003", started_at=at(90)))
    assert find_run(deployment, "pirate-00000001") == "pirate-00000001"
    assert find_run(deployment, "pirate") == "pirate-00000002"
    assert [status.run_id[-1] for status in list_runs(deployment)] == ["3", "2", "1"]


def test_an_unknown_run_is_an_error_that_says_where_to_look(deployment: Deployment) -> None:
    with pytest.raises(FineTuningError) as caught:
        find_run(deployment, "nobody")
    assert caught.value.code == Code.RUN_NOT_FOUND


def test_endpoints_are_ours_by_prefix_and_tag_and_know_their_price(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    for name in ("somebody-elses", "finetune-dev-by-hand"):
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=f"finetune-dev-{RUN_ID}")
    (endpoint,) = list_endpoints(deployment)
    assert (endpoint.name, endpoint.run_id) == (f"finetune-dev-{RUN_ID}", RUN_ID)
    assert (endpoint.ttl_hours, endpoint.idle_minutes, endpoint.usd_per_hour) == (8.0, None, 37.69)
    assert endpoint.goes_at == endpoint.created_at + timedelta(hours=8)
    assert (endpoint.calls_last_hour, endpoint.calls_last_day) == (0, 0)


def test_an_endpoint_is_kept_for_longer_and_never_for_shorter(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    name = f"finetune-dev-{RUN_ID}"
    (before,) = list_endpoints(deployment)
    assert before.goes_at
    goes = extend_endpoint(deployment, name, 1)
    assert goes
    assert goes.at == before.goes_at  # eight hours after it was made: an hour from now is sooner
    later = extend_endpoint(deployment, name, 20)
    assert later
    assert later.at > before.goes_at + timedelta(hours=11)
    again = extend_endpoint(deployment, name, 9)
    assert again == later


def test_an_endpoint_of_somebody_else_is_not_kept(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    boto3.client("sagemaker", region_name="us-east-1").create_endpoint(
        EndpointName="somebody-elses", EndpointConfigName=f"finetune-dev-{RUN_ID}"
    )
    with pytest.raises(FineTuningError) as caught:
        extend_endpoint(deployment, "somebody-elses", 1)
    assert caught.value.code == Code.ENDPOINT_NOT_FOUND


def test_an_endpoint_is_found_with_and_without_the_stages_prefix(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    for name in (RUN_ID, f"finetune-dev-{RUN_ID}"):
        found, plan = find_endpoint(deployment, name)
        assert found == f"finetune-dev-{RUN_ID}"
        assert plan == any_plan()
    with pytest.raises(FineTuningError) as caught:
        find_endpoint(deployment, "other")
    assert caught.value.code == Code.ENDPOINT_NOT_FOUND


def test_removing_a_run_deletes_endpoint_configuration_and_model_and_keeps_its_files(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    write_status(any_status())
    assert remaining_resources(deployment, RUN_ID) == [f"endpoint finetune-dev-{RUN_ID}"]
    assert remove_resources(deployment, RUN_ID) == [f"Deleted the endpoint finetune-dev-{RUN_ID} and its configuration"]
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    assert not sagemaker.list_endpoints()["Endpoints"]
    assert not sagemaker.list_endpoint_configs()["EndpointConfigs"]
    assert not sagemaker.list_models()["Models"]
    assert deployment.status(RUN_ID) == any_status()
    assert remaining_resources(deployment, RUN_ID) == remove_resources(deployment, RUN_ID) == []


def test_an_endpoint_that_serves_a_later_run_under_the_users_name_stays(deployment: Deployment) -> None:
    earlier, later = "pirate-00000001", "pirate-00000002"
    any_endpoint_of(later, name="finetune-dev-parrot")
    plan = any_plan(run_id=earlier, endpoint=any_plan().endpoint.model_dump() | {"name": "parrot"})
    write(RunLayout(earlier).plan, plan.model_dump_json())
    write_status(any_status(run_id=earlier))
    assert remove_resources(deployment, earlier) == []
    assert boto3.client("sagemaker", region_name="us-east-1").list_endpoints()["Endpoints"]


def test_removing_a_run_that_goes_on_stops_its_execution(deployment: Deployment) -> None:
    states = boto3.client("stepfunctions", region_name="us-east-1")
    definition = '{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 999, "End": true}}}'
    machine = states.create_state_machine(
        name="m", definition=definition, roleArn="arn:aws:iam::123456789012:role/machine"
    )["stateMachineArn"]
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    write_status(any_status(state=RunState.RUNNING, execution_arn=execution))
    assert remaining_resources(deployment, RUN_ID) == [f"execution of {RUN_ID}"]
    assert f"Stopped the execution of {RUN_ID}" in remove_resources(deployment, RUN_ID)
    assert execution_status(execution) == "ABORTED"


def test_a_finished_run_has_no_execution_to_stop(deployment: Deployment) -> None:
    write_status(any_failed_status())
    assert remaining_resources(deployment, RUN_ID) == []
