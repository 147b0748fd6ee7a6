"""The upload that promotes a model of another account."""

from collections.abc import Mapping
from typing import Any

import orjson

from finetuning.errors import RunRefused
from finetuning.planning.promotion import group_of, require_own_source
from finetuning.runs.run_json import read_request
from finetuning.runs.uploads import Upload
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.uploads import submit_folder


def submit_promotion(deployment: Deployment, model: str, name: str, endpoint: Mapping[str, Any]) -> Upload:
    """Uploads a run.json that promotes the model, to the folder `name`, or one named after the registry's group.

    Raises `FineTuningError`, with all findings where there are any, if the stage would refuse it.
    """
    run_json = orjson.dumps({"promote": model, **({"endpoint": endpoint} if endpoint else {})})
    _, findings = read_request(run_json)
    if findings:
        raise RunRefused(findings)
    group = group_of(model)
    if deployment.settings:
        require_own_source(model, deployment.settings)
        group = group.removeprefix(f"{deployment.settings.promote_from_prefix}-")
    return submit_folder(deployment, {}, run_json, name or group, lambda _: lambda _: None)
