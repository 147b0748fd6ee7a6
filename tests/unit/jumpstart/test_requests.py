"""The requests follow the documents, field by field, and refuse what cannot work."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.requests import (
    Hosting,
    Request,
    TrainingJob,
    base_model,
    endpoint,
    endpoint_config,
    training_job,
    tuned_model,
)
from finetuning.jumpstart.spec import Hyperparameter, ModelSpec
from tests.builders.jumpstart import BASE_70B, TARGET, any_spec

P4D = "ml.p4d.24xlarge"
HOSTING = Hosting("a-model", "a-config", "an-endpoint", P4D)


def any_job(**changes: Any) -> TrainingJob:
    job: dict[str, Any] = {
        "name": "a-job",
        "instance_type": P4D,
        "hyperparameters": {"epoch": "1"},
        "accept_eula": True,
        "max_runtime_seconds": 3600,
        "train": "s3://b/train/",
        "validation": "s3://b/validation/",
        "output": "s3://b/out",
    }
    return TrainingJob(**job | changes)


def channels(request: Request) -> dict[str, Request]:
    return {c["ChannelName"]: c["DataSource"]["S3DataSource"] for c in request["InputDataConfig"]}


def set_in(spec: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for parent in parents:
        spec = spec[parent]
    spec[last] = value


TRAINING = "training_instance_type_variants"
COMPONENT = "inference_config_components/lmi"


def all_requests(spec: ModelSpec) -> list[Request]:
    return [
        training_job(spec, any_job(), TARGET),
        base_model(spec, HOSTING, TARGET, accept_eula=True),
        endpoint_config(spec, HOSTING, TARGET),
    ]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (
            f"{TRAINING}/regional_aliases/us-east-1/gpu_ecr_uri_1",
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/training-image:1",
        ),
        (f"{TRAINING}/variants/p4d/properties/gated_model_key_env_var_value", "another/weights.tar.gz"),
        ("training_prepacked_script_key", "another/script.tar.gz"),
        ("metrics", [{"Name": "another", "Regex": "loss=(.*)"}]),
        ("estimator_kwargs/max_run", 1234),
        ("estimator_kwargs/encrypt_inter_container_traffic", False),
        ("training_enable_network_isolation", False),
        (
            f"{COMPONENT}/hosting_instance_type_variants/regional_aliases/us-east-1/alias_ecr_uri_1",
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/djl-inference:2",
        ),
        (f"{COMPONENT}/hosting_prepacked_artifact_key", "another/base/"),
        (f"{COMPONENT}/inference_environment_variables", []),
        (f"{COMPONENT}/deploy_kwargs/model_data_download_timeout", 77),
        (f"{COMPONENT}/deploy_kwargs/container_startup_health_check_timeout", 77),
        ("version", "9.9.9"),
    ],
)
def test_a_changed_fact_changes_the_request(path: str, value: Any) -> None:
    assert all_requests(any_spec(change=lambda spec: set_in(spec, path, value))) != all_requests(any_spec())


def test_without_the_licence_there_is_no_request() -> None:
    with pytest.raises(FineTuningError, match="licence"):
        training_job(any_spec(), any_job(accept_eula=False), TARGET)
    with pytest.raises(FineTuningError, match="licence"):
        base_model(any_spec(), HOSTING, TARGET, accept_eula=False)


def test_gated_weights_come_by_environment_or_by_channel_never_by_both() -> None:
    weights = "s3://jumpstart-private-cache-prod-us-east-1/meta-training/p4d/"
    by_env = training_job(any_spec(), any_job(), TARGET)
    assert by_env["Environment"]["SageMakerGatedModelS3Uri"].startswith(weights)
    assert "model" not in channels(by_env)
    by_channel = training_job(any_spec(), any_job(), replace(TARGET, gated_weights="channel"))
    assert by_channel["Environment"] == {}
    assert channels(by_channel)["model"]["S3Uri"].startswith(weights)
    assert channels(by_channel)["model"]["ModelAccessConfig"] == {"AcceptEula": True}


def test_no_validation_channel_where_nothing_is_held_out() -> None:
    assert set(channels(training_job(any_spec(), any_job(validation=None), TARGET))) == {"training", "code"}


def test_the_job_never_runs_longer_than_the_model_allows() -> None:
    request = training_job(any_spec(), any_job(max_runtime_seconds=10**6), TARGET)
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 360_000}


def test_debugger_and_profiler_are_left_out() -> None:
    assert not {"DebugHookConfig", "ProfilerConfig"} & training_job(any_spec(), any_job(), TARGET).keys()


def test_a_volume_key_goes_only_where_volumes_take_one() -> None:
    def on_p3(spec: dict[str, Any]) -> None:
        spec["supported_training_instance_types"].append("ml.p3.16xlarge")
        spec["inference_config_components"]["lmi"]["supported_inference_instance_types"].append("ml.p3.16xlarge")
        spec[TRAINING]["variants"]["p3"]["properties"] = {"gated_model_key_env_var_value": "weights.tar.gz"}

    spec, hosting = any_spec(change=on_p3), replace(HOSTING, instance_type="ml.p3.16xlarge")
    attached = training_job(spec, any_job(instance_type="ml.p3.16xlarge"), TARGET)["ResourceConfig"]
    assert (attached["VolumeSizeInGB"], attached["VolumeKmsKeyId"]) == (256, TARGET.kms_key_arn)
    assert endpoint_config(spec, hosting, TARGET)["KmsKeyId"] == TARGET.kms_key_arn
    assert endpoint_config(spec, hosting, TARGET)["ProductionVariants"][0]["VolumeSizeInGB"] == 256
    local = training_job(spec, any_job(), TARGET)["ResourceConfig"]
    assert "VolumeKmsKeyId" not in local
    assert "KmsKeyId" not in endpoint_config(spec, HOSTING, TARGET)


def test_own_weights_need_no_licence_and_jumpstarts_do() -> None:
    tuned = tuned_model(any_spec(), HOSTING, TARGET, "s3://b/run/output/model/")
    assert tuned["PrimaryContainer"]["ModelDataSource"]["S3DataSource"] == {
        "S3Uri": "s3://b/run/output/model/",
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
    }
    base = base_model(any_spec(), HOSTING, TARGET, accept_eula=True)
    source = base["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]
    assert source["ModelAccessConfig"] == {"AcceptEula": True}
    assert source["S3Uri"].startswith("s3://jumpstart-private-cache-prod-us-east-1/")


def test_a_models_prefix_without_its_slash_is_a_defect() -> None:
    with pytest.raises(ValueError, match="slash"):
        tuned_model(any_spec(), HOSTING, TARGET, "s3://b/run/output/model")


def test_the_requests_are_those_kept_in_the_repository() -> None:
    """`UPDATE_GOLDENS=1` writes requests.json again: read the difference. test_goldens compares with the SDK's own."""
    spec, hosting = any_spec(), replace(HOSTING, tags={"team": "a"}, capture="s3://b/capture", capture_percentage=5)
    by_channel = replace(TARGET, gated_weights="channel")
    requests = {
        "CreateTrainingJob": training_job(spec, any_job(tags={"team": "a"}), TARGET),
        "CreateTrainingJob, weights by channel": training_job(spec, any_job(), by_channel),
        "CreateModel, tuned": tuned_model(spec, hosting, TARGET, "s3://b/run/output/model/"),
        "CreateModel, base": base_model(spec, hosting, TARGET, accept_eula=True),
        "CreateEndpointConfig": endpoint_config(spec, hosting, TARGET),
        "CreateEndpoint": endpoint(spec, hosting),
    }
    kept = Path(__file__).with_name("requests.json")
    if os.environ.get("UPDATE_GOLDENS"):
        kept.write_text(json.dumps(requests, indent=2) + "\n")
    assert requests == json.loads(kept.read_text())


def test_a_refused_licence_leads_to_run_json() -> None:
    with pytest.raises(FineTuningError, match=BASE_70B) as refused:
        training_job(any_spec(), any_job(accept_eula=False), TARGET)
    assert (refused.value.code, refused.value.field) == (Code.EULA_NOT_ACCEPTED, "accept_eula")
    assert '"accept_eula": true' in refused.value.fix


@pytest.mark.parametrize("says", [{}, {"disable_output_compression": False}])
def test_the_output_is_not_compressed_whatever_the_specification_says(says: dict[str, bool]) -> None:
    spec = any_spec(change=lambda document: document.update(estimator_kwargs=says))
    assert training_job(spec, any_job(), TARGET)["OutputDataConfig"]["CompressionType"] == "NONE"


def test_the_log_level_is_a_bare_number_and_that_of_the_specification() -> None:
    spec = any_spec()

    def level(default: str | None) -> str:
        kept = [each for each in spec.hyperparameters if each.name != "sagemaker_container_log_level"]
        own = {"name": "sagemaker_container_log_level", "type": "text", "default": default, "scope": "container"}
        kept += [Hyperparameter.model_validate(own)] if default else []
        changed = spec.model_copy(update={"hyperparameters": tuple(kept)})
        return str(training_job(changed, any_job(), TARGET)["HyperParameters"]["sagemaker_container_log_level"])

    assert (level("10"), level(None)) == ("10", "20")


def test_a_model_without_a_named_configuration_has_no_tag_for_one() -> None:
    spec = any_spec().model_copy(update={"inference_config_name": None})
    keys = {tag["Key"] for tag in endpoint(spec, HOSTING)["Tags"]}
    assert keys == {"sagemaker-sdk:jumpstart-model-id", "sagemaker-sdk:jumpstart-model-version"}
