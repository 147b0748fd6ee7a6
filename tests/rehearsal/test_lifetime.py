"""An endpoint is asked, and comes to its end: by its time, idle, with its run; and nothing of it costs money after."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetuning.evaluation.questions import as_inputs
from finetuning.jumpstart.target import VARIANT
from finetuning.runs.tags import ANNOUNCED_TAG, DEPLOYED_TAG, IDLE_TAG, KEPT_TAG, OWNER_TAG, RUN_TAG, TTL_TAG
from finetuning.settings import NEVER
from rehearsal.jumpstart_cache import PRIVATE_BUCKET
from rehearsal.running import PROJECT
from tests.rehearsal.support.product import Product
from tests.rehearsal.support.sagemaker_account import BASE_PREFIX, Account, any_account, any_model, configure, until
from tests.rehearsal.support.stacks import any_name, invoke

PREFIX = "finetune-dev-"


@pytest.fixture(scope="module")
def account(product: Product) -> Account:
    return any_account(product.emulator)


@pytest.fixture
def endpoint(product: Product, account: Account) -> Iterator["Endpoint"]:
    """In service, of the base model, as a run leaves it; gone after the test."""
    made = Endpoint(product, account)
    yield made
    if made.is_there():
        account.api.delete_endpoint(EndpointName=made.name)


class Endpoint:
    """One endpoint of the stage, with its tags."""

    def __init__(self, product: Product, account: Account, suffix: str = "") -> None:
        self.run_id = f"{any_name('life')}-00000000"
        self.name = PREFIX + self.run_id + suffix
        self._product, self._api = product, account.api
        product.emulator.client("s3").put_object(
            Bucket=product.artifacts, Key=f"runs/{self.run_id}/claim.json", Body=b"{}"
        )
        model = any_model(account, f"s3://{PRIVATE_BUCKET}/{BASE_PREFIX}", ModelAccessConfig={"AcceptEula": True})
        self._api.create_model(**model | {"ModelName": self.name})
        configure(account, self.name)
        tags = {RUN_TAG: self.run_id, OWNER_TAG: "finetune-dev", TTL_TAG: "8", IDLE_TAG: "60"}
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        self._api.create_endpoint(EndpointName=self.name, EndpointConfigName=self.name, Tags=listed)
        until(self.describe, "EndpointStatus", "InService")

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = self._api.describe_endpoint(EndpointName=self.name)
        return described

    def is_there(self) -> bool:
        return self.name in {thing["name"] for thing in self._product.emulator.costing()}

    def tag(self, **tags: str) -> None:
        listed = [{"Key": f"finetune:{key.replace('_', '-')}", "Value": value} for key, value in tags.items()]
        self._api.add_tags(ResourceArn=self.describe()["EndpointArn"], Tags=listed)

    def tags(self) -> dict[str, str]:
        listed = self._api.list_tags(ResourceArn=self.describe()["EndpointArn"])["Tags"]
        return {tag["Key"]: tag["Value"] for tag in listed}

    def grow_older(self, hours: float) -> None:
        self._product.emulator.inject("endpoint-ages", match=self.name, message=str(hours))
        self.describe()
        config, _, deployed = self.tags().get(DEPLOYED_TAG, "").partition(" ")
        if deployed:  # by an earlier sweep
            self.tag(deployed_at=f"{config} {datetime.fromisoformat(deployed) - timedelta(hours=hours)}")

    def ask(self, minutes_ago: float = 0) -> None:
        """Counts as a call at that time: CloudWatch is all that the sweeper knows of calls."""
        dimensions = [{"Name": "EndpointName", "Value": self.name}, {"Name": "VariantName", "Value": VARIANT}]
        at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
        call = {"MetricName": "Invocations", "Dimensions": dimensions, "Value": 1.0, "Timestamp": at}
        self._product.emulator.client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=[call])


def sweep(product: Product) -> dict[str, Any]:
    """One sweep by the deployed function: what it says it did, or its error."""
    functions = product.emulator.client("lambda").get_paginator("list_functions").paginate()
    (name,) = [
        f["FunctionName"] for page in functions for f in page["Functions"] if "SweepEndpoints" in f["FunctionName"]
    ]
    said: dict[str, Any] = invoke(product.emulator, name)
    return said


def test_an_endpoint_past_its_time_goes_and_nothing_of_it_costs_money(product: Product, endpoint: Endpoint) -> None:
    endpoint.ask()
    assert sweep(product) == {"deleted": [], "announced": [], "removed": []}
    endpoint.tag(ttl_hours="0.5")
    endpoint.grow_older(hours=1)
    assert sweep(product)["deleted"] == [endpoint.name]
    assert not endpoint.is_there()


def test_an_idle_endpoint_is_announced_once_and_then_goes(product: Product, endpoint: Endpoint) -> None:
    endpoint.grow_older(hours=50 / 60)
    assert sweep(product)["announced"] == [endpoint.name]
    assert ANNOUNCED_TAG in endpoint.tags()
    assert sweep(product)["announced"] == []
    endpoint.grow_older(hours=20 / 60)
    assert sweep(product)["deleted"] == [endpoint.name]
    assert not endpoint.is_there()


def test_an_endpoint_that_was_asked_lately_stays(product: Product, endpoint: Endpoint) -> None:
    endpoint.grow_older(hours=3)
    endpoint.ask(minutes_ago=20)
    assert sweep(product)["deleted"] == []
    assert endpoint.is_there()


def test_an_endpoint_that_just_came_up_has_its_whole_idle_time(product: Product, endpoint: Endpoint) -> None:
    assert sweep(product) == {"deleted": [], "announced": [], "removed": []}


def test_an_endpoint_that_never_goes_stays(product: Product, endpoint: Endpoint) -> None:
    endpoint.tag(ttl_hours=NEVER, idle_minutes=NEVER)
    endpoint.grow_older(hours=10_000)
    assert sweep(product)["deleted"] == []
    assert endpoint.is_there()


def test_an_endpoint_that_somebody_keeps_stays_until_then(product: Product, endpoint: Endpoint) -> None:
    endpoint.grow_older(hours=10)
    endpoint.tag(kept_until=(datetime.now(UTC) + timedelta(hours=4)).isoformat(timespec="seconds"))
    assert sweep(product) == {"deleted": [], "announced": [], "removed": []}
    endpoint.tag(**{KEPT_TAG.removeprefix("finetune:"): datetime.now(UTC).isoformat(timespec="seconds")})
    assert sweep(product)["deleted"] == [endpoint.name]


def test_tags_that_mean_nothing_leave_the_stages_limits(product: Product, endpoint: Endpoint) -> None:
    endpoint.tag(ttl_hours="for ever", idle_minutes="")
    endpoint.grow_older(hours=9)
    assert sweep(product)["deleted"] == [endpoint.name]


def test_one_endpoint_that_cannot_be_swept_keeps_no_other(
    product: Product, account: Account, endpoint: Endpoint
) -> None:
    other = Endpoint(product, account)
    for each in (endpoint, other):
        each.grow_older(hours=9)
    product.emulator.inject("throttling", match=f"DeleteEndpoint {endpoint.name}", times=10)
    report = sweep(product)
    assert report["errorType"] == "FineTuningError"
    assert json.loads(report["errorMessage"])["code"] == "SWEEP_INCOMPLETE"
    assert endpoint.name in report["errorMessage"]
    assert not other.is_there()
    product.emulator.clear_faults()
    assert sweep(product)["deleted"] == [endpoint.name]


def test_a_temporary_endpoint_goes_with_its_run_at_once(product: Product, account: Account) -> None:
    base = Endpoint(product, account, suffix="-base")
    assert sweep(product)["deleted"] == [base.name]
    assert not base.is_there()


def test_entries_of_a_run_without_files_go(product: Product, account: Account) -> None:
    name = f"{PREFIX}forgotten-00000000"
    model = any_model(account, f"s3://{PRIVATE_BUCKET}/{BASE_PREFIX}", ModelAccessConfig={"AcceptEula": True})
    made = [account.api.create_model(**model | {"ModelName": name})["ModelArn"]]
    configure(account, name)
    made.append(account.api.describe_endpoint_config(EndpointConfigName=name)["EndpointConfigArn"])
    for arn in made:
        account.api.add_tags(ResourceArn=arn, Tags=[{"Key": OWNER_TAG, "Value": PREFIX.rstrip("-")}])
    assert f"Deleted the model {name}" in sweep(product)["removed"]
    assert account.api.list_models(NameContains=name)["Models"] == []
    assert account.api.list_endpoint_configs(NameContains=name)["EndpointConfigs"] == []


def test_an_answer_comes_as_a_stream_of_the_aws_form(account: Account, endpoint: Endpoint) -> None:
    body = {"inputs": "The kettle", "parameters": {"max_new_tokens": 12, "details": True}, "stream": True}
    response = account.runtime.invoke_endpoint_with_response_stream(
        EndpointName=endpoint.name, ContentType="application/json", Body=json.dumps(body)
    )
    parts = [event["PayloadPart"]["Bytes"] for event in response["Body"]]
    assert len(parts) > 1
    lines = [json.loads(line) for line in b"".join(parts).splitlines()]
    assert lines[-1]["generated_text"] == "".join(line["token"]["text"] for line in lines)


def test_the_documented_programs_get_an_answer(product: Product, endpoint: Endpoint) -> None:
    boto3_program, sdk_program = re.findall(
        r"```python\n(.*?)```", (PROJECT / "docs" / "calling.md").read_text(), re.DOTALL
    )
    assert repr(as_inputs("How long should I boil an egg?", "chat")) == repr(inputs_of(boto3_program))
    for program in (boto3_program, boto3_program + sdk_program):
        asked = program.replace("finetune-dev-faq", endpoint.name).replace(
            '"max_new_tokens": 256', '"max_new_tokens": 8'
        )
        ran = subprocess.run(
            [sys.executable, "-c", asked],
            env=product.emulator.environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip()


def inputs_of(program: str) -> str:
    """What the program assigns to `inputs`."""
    (assigned,) = (
        node.value
        for node in ast.parse(program).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "inputs"
    )
    return str(ast.literal_eval(assigned))
