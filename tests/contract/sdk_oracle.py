"""Asks the SageMaker SDK what it makes of JumpStart's documents: a program of its own, for the SDK reads the
environment at import.

    python sdk_oracle.py FOLDER < questions.json > answers.json

Questions: `{"models": [[model_id, version], …], "values": [[model_id, version, name, value], …]}`. Answers: per model
and training instance type what a training needs, per endpoint instance type what hosting needs, and per value whether
the SDK takes it.
"""

import json
import os
import sys

REGION = "us-east-1"


def main() -> None:
    folder = sys.argv[1]
    os.environ.update(
        AWS_JUMPSTART_MANIFEST_LOCAL_ROOT_DIR_OVERRIDE=folder,
        AWS_JUMPSTART_SPECS_LOCAL_ROOT_DIR_OVERRIDE=folder,
        AWS_DEFAULT_REGION=REGION,
        AWS_ACCESS_KEY_ID="nobody",
        AWS_SECRET_ACCESS_KEY="nothing",  # pragma: allowlist secret
        AWS_EC2_METADATA_DISABLED="true",
    )
    from sagemaker.core import (
        environment_variables,
        hyperparameters,
        image_uris,
        instance_types,
        metric_definitions,
        script_uris,
    )
    from sagemaker.core.jumpstart.exceptions import JumpStartHyperparametersError

    def training(of: dict[str, str], instance_type: str) -> dict[str, object]:
        here = {**of, "instance_type": instance_type}
        return {
            "image": image_uris.retrieve(framework=None, image_scope="training", **here),
            "script": script_uris.retrieve(script_scope="training", **of),
            "environment": environment_variables.retrieve_default(script="training", **here),
            "hyperparameters": hyperparameters.retrieve_default(include_container_hyperparameters=True, **here),
            "metrics": metric_definitions.retrieve_default(**here),
        }

    def hosting(of: dict[str, str], instance_type: str) -> dict[str, object]:
        here = {**of, "instance_type": instance_type, "config_name": "lmi"}
        return {
            "image": image_uris.retrieve(framework=None, image_scope="inference", **here),
            "environment": environment_variables.retrieve_default(
                script="inference", include_aws_sdk_env_vars=False, **here
            ),
        }

    def takes(model_id: str, version: str, name: str, value: object) -> bool:
        try:
            hyperparameters.validate(
                region=REGION, model_id=model_id, model_version=version, hyperparameters={name: value}
            )
        except JumpStartHyperparametersError:
            return False
        return True

    questions = json.load(sys.stdin)
    answers: dict[str, object] = {"values": [takes(*value) for value in questions["values"]]}
    for model_id, version in questions["models"]:
        of = {"region": REGION, "model_id": model_id, "model_version": version}
        answers[model_id] = {
            "training": {t: training(of, t) for t in instance_types.retrieve(scope="training", **of)},
            "hosting": {t: hosting(of, t) for t in instance_types.retrieve(scope="inference", **of)},
            "default_training": instance_types.retrieve_default(scope="training", **of),
        }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
