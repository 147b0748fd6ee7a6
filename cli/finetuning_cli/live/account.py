"""`finetune verify-aws`: everything about an account and a stage that can be checked without starting anything."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.clients import client
from finetuning.errors import FineTuningError
from finetuning.runs.status import Check
from finetuning_cli.errors import require_sign_in, to_cli_error
from finetuning_cli.live.resources import StageResources
from finetuning_cli.live.stage_checks import (
    check_instance_zones,
    check_layer_sizes,
    check_permissions,
    check_policies,
    check_zones,
)
from finetuning_cli.preflight.verification import ModelChecks

Checks = Callable[[], Iterator[Check]]


class AccountCheck(Check):
    """`assumption`: the id of the open assumption that it is about."""

    assumption: str


def account_checks(region: str, stage: str) -> Mapping[str, Checks]:
    """The checks by the assumption they settle. Raises `FineTuningError` if the caller is not signed in."""
    require_sign_in(region)
    models = ModelChecks.read(region)
    found = StageResources.find(stage, client("sts").get_caller_identity()["Account"], region)
    of_stage = {"layer-size": check_layer_sizes, "permissions": check_permissions, "policies": check_policies}
    return {
        "model-documents": models.documents,
        "model-artefacts": models.artefacts,
        "prices": models.prices,
        "quota-names": models.quotas,
        "zones": partial(_zones, found, models),
        **{
            id: partial(check, found) if found.resources else partial(_not_deployed, stage)
            for id, check in of_stage.items()
        },
    }


def verify_account(region: str, stage: str) -> Iterator[AccountCheck]:
    """All checks. One that AWS refuses to answer is yellow, and the others go on."""
    for id, checks in account_checks(region, stage).items():
        try:
            for check in checks():
                yield AccountCheck(assumption=id, **check.model_dump())
        except (BotoCoreError, ClientError, FineTuningError) as error:
            refusal = to_cli_error(error)
            yield AccountCheck(assumption=id, check=id, ok=None, message=refusal.message, fix=refusal.fix)


def _zones(stage: StageResources, models: ModelChecks) -> Iterator[Check]:
    yield from check_zones(stage)
    yield from check_instance_zones(stage, models.instance_types())


def _not_deployed(stage: str) -> Iterator[Check]:
    yield Check(
        check=stage,
        ok=None,
        message="the stage is not deployed in this region",
        fix=f"Deploy it, which costs next to nothing: npx cdk deploy --all -c stage={stage}",
    )
