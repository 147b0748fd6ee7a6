"""`finetune clean-up`."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.step_functions import execution_status
from finetuning.runs.layout import RunLayout
from finetuning.runs.names import TEMPORARY
from finetuning.runs.status import RunState
from finetuning_cli.stage.clean_up import remaining_resources, remove_resources
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.endpoints import (
    list_endpoints,
)
from tests.builders.cli import Command, any_endpoint_of, write, write_status
from tests.builders.runs import RUN_ID, any_failed_status, any_plan, any_status


def test_nothing_is_deleted_without_confirmation(deployment: Deployment, finetune: Command) -> None:
    any_endpoint_of(RUN_ID)
    write_status(any_status())
    code, output = finetune("clean-up", RUN_ID, stdin="n\n")
    assert code == 1
    assert f"endpoint finetune-dev-{RUN_ID}" in output
    assert list(list_endpoints(deployment))


@pytest.mark.parametrize("suffix", TEMPORARY)
def test_an_evaluation_endpoint_is_listed_and_deleted_after_confirmation(
    suffix: str, deployment: Deployment, finetune: Command
) -> None:
    write_status(any_status())
    name = f"finetune-dev-{RUN_ID}{suffix}"
    any_endpoint_of(RUN_ID, name=name, config=name)
    code, output = finetune("clean-up", RUN_ID, stdin="n\n")
    assert code == 1
    assert f"endpoint {name}" in output
    assert finetune("clean-up", RUN_ID, stdin="y\n")[0] == 0
    assert not list(list_endpoints(deployment))


def test_clean_up_all_deletes_the_endpoints_of_every_run(deployment: Deployment, finetune: Command) -> None:
    for run_id in ("pirate-00000001", "pirate-00000002"):
        any_endpoint_of(run_id)
    write_status(any_status(run_id="pirate-00000001"))  # the other's files are gone from the bucket
    code, output = finetune("clean-up", "--all", "--yes", "--json")
    assert code == 0
    assert len(json.loads(output)["done"]) == 2
    assert not list(list_endpoints(deployment))


@pytest.mark.parametrize("words", [["clean-up"], ["clean-up", RUN_ID, "--all"]])
def test_clean_up_needs_one_run_or_all(words: list[str], finetune: Command) -> None:
    assert finetune(*words)[0] == 2


def test_clean_up_deletes_endpoint_configuration_and_model_and_keeps_the_files(deployment: Deployment) -> None:
    any_endpoint_of(RUN_ID)
    write_status(any_status())
    assert remaining_resources(deployment.run(RUN_ID)) == [f"endpoint finetune-dev-{RUN_ID}"]
    assert remove_resources(deployment.run(RUN_ID)) == [f"Deleted the endpoint finetune-dev-{RUN_ID}"]
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    assert not sagemaker.list_endpoints()["Endpoints"]
    assert not sagemaker.list_endpoint_configs()["EndpointConfigs"]
    assert not sagemaker.list_models()["Models"]
    assert deployment.run(RUN_ID).find_status() == any_status()
    assert remaining_resources(deployment.run(RUN_ID)) == remove_resources(deployment.run(RUN_ID)) == []


def test_an_endpoint_that_serves_a_later_run_is_kept(deployment: Deployment) -> None:
    earlier, later = "pirate-00000001", "pirate-00000002"
    any_endpoint_of(later, name="finetune-dev-parrot")
    plan = any_plan(run_id=earlier, endpoint=any_plan().endpoint.model_dump() | {"name": "parrot"})
    write(RunLayout(earlier).plan, plan.model_dump_json())
    write_status(any_status(run_id=earlier))
    assert remove_resources(deployment.run(earlier)) == []
    assert boto3.client("sagemaker", region_name="us-east-1").list_endpoints()["Endpoints"]


def test_clean_up_of_a_running_run_stops_its_execution(deployment: Deployment) -> None:
    states = boto3.client("stepfunctions", region_name="us-east-1")
    definition = '{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 999, "End": true}}}'
    machine = states.create_state_machine(
        name="m", definition=definition, roleArn="arn:aws:iam::123456789012:role/machine"
    )["stateMachineArn"]
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    write_status(any_status(state=RunState.RUNNING, execution_arn=execution))
    assert remaining_resources(deployment.run(RUN_ID)) == [f"execution of {RUN_ID}"]
    assert f"Stopped the execution of {RUN_ID}" in remove_resources(deployment.run(RUN_ID))
    assert execution_status(execution) == "ABORTED"


def test_a_finished_run_has_no_execution_to_stop(deployment: Deployment) -> None:
    write_status(any_failed_status())
    assert remaining_resources(deployment.run(RUN_ID)) == []


def test_an_endpoint_that_is_being_created_keeps_its_configuration_until_the_sweeper_deletes_it(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_endpoint_of(RUN_ID)
    write_status(any_status())
    refusal = ClientError({"Error": {"Code": "ValidationException", "Message": "Cannot update in-progress"}}, "Delete")

    def refuse(**_: object) -> None:
        raise refusal

    monkeypatch.setattr(client("sagemaker"), "delete_endpoint", refuse)
    (line,) = remove_resources(deployment.run(RUN_ID))
    assert line == f"The endpoint finetune-dev-{RUN_ID} cannot be deleted yet; the sweeper will delete it"
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"]
    (endpoint,) = list_endpoints(deployment)
    assert endpoint.ttl_hours == 0
