"""A zone without a service: EC2 refuses the endpoint of a stage there, and `verify-aws` says so before a deployment."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetuning.aws.clients import client
from finetuning_cli.live.resources import StageResources
from finetuning_cli.live.stage_checks import check_instance_zones, check_zones
from rehearsal.emulator.identity import ACCOUNT
from rehearsal.running import REGION, Emulator
from tests.infra.synthesis import synthesise
from tests.rehearsal.support import direct_deployment

ALWAYS = 1000
NOT_DEPLOYED = StageResources({}, {"account": ACCOUNT, "region": REGION, "prefix": "finetune-prod"})


@pytest.fixture(autouse=True)
def _emulated(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    client.cache_clear()
    yield
    client.cache_clear()


def deploy_network(emulator: Emulator, folder: Path, **options: str) -> None:
    """Creates the network of a new stage `prod`, under a name of its own."""
    stage, cloudformation = synthesise("prod", folder, **options), emulator.client("cloudformation")
    direct_deployment.bootstrap(emulator)
    existing = {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]}
    for name, template in (("storage", "storage"), (f"network-{folder.name}", "network")):
        if f"finetune-prod-{name}" not in existing:
            body = json.dumps(stage.templates[template].to_json())
            direct_deployment.create(emulator, f"finetune-prod-{name}", body)


def test_a_zone_without_a_service_is_named_before_the_deployment_with_zones_that_have_it(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.inject("zone-refused", "servicequotas", times=ALWAYS, message="us-east-1b")
    with pytest.raises(AssertionError, match="does not support the availability zone of the subnet"):
        deploy_network(emulator, tmp_path / "first")
    (found,) = [check for check in check_zones(NOT_DEPLOYED) if check.ok is not True]
    assert found.check == "com.amazonaws.us-east-1.servicequotas"
    assert found.message.startswith("not offered in us-east-1b")
    assert '"availability_zones": "us-east-1a,us-east-1c"' in found.fix
    deploy_network(emulator, tmp_path / "second", availability_zones="us-east-1a,us-east-1c")


def test_an_instance_type_that_no_zone_of_the_stage_has_is_named_with_its_zones(emulator: Emulator) -> None:
    for zone in ("us-east-1a", "us-east-1b"):
        emulator.inject("zone-refused", f"p5.48xlarge {zone}", times=ALWAYS, message=zone)
    checks = list(check_instance_zones(NOT_DEPLOYED, ["ml.g5.12xlarge", "ml.p5.48xlarge"]))
    (missing,) = [check for check in checks if check.ok is not True]
    assert missing.check == "ml.p5.48xlarge"
    assert "only in us-east-1c" in missing.message
    assert '"availability_zones"' in missing.fix
