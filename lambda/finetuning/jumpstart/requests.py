"""The SageMaker requests of a training and an endpoint, from a model's specification.

| function | API call | needs in addition to specification and `Target` |
|---|---|---|
| `training_job(spec, job, target)`       | CreateTrainingJob    | a `TrainingJob` |
| `tuned_model(spec, hosting, target, …)` | CreateModel          | a `Hosting`, the artefact's S3 prefix |
| `base_model(spec, hosting, target, …)`  | CreateModel          | a `Hosting`, the licence accepted |
| `endpoint_config(spec, hosting, target)`| CreateEndpointConfig | a `Hosting` |
| `endpoint(spec, hosting)`               | CreateEndpoint       | a `Hosting` |

The steps of a run call `finetuning.planning.orders`, which calls these functions with values of plan.json.

The training request equals the one that the SageMaker SDK v2 sends for the same specification; tests compare it with a
captured one. Deliberate differences: no Debugger and Profiler configuration (they cost money and need a network), no
volume key on instance types that reject one, retries after SageMaker's own errors, an uncompressed artefact whatever
the specification says (the endpoint loads the files as they are), names and tags of this project.

Every function raises `FineTuningError` if the specification does not support the instance type or the region, or has no
weights for it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.assumptions import has_only_local_storage
from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.spec import ModelSpec, cache_bucket, private_bucket
from finetuning.jumpstart.target import VARIANT, Target

Request = dict[str, Any]

RETRY_ATTEMPTS = 2
"""How often SageMaker starts a job again after an InternalServerError. MaxRuntimeInSeconds bounds all attempts in total
(the service model's text), so a budget holds.
"""

ENDPOINT_PROVISIONING_SECONDS = 1800
"""Time allowed for SageMaker to find an endpoint's instances, in addition to download and start-up of the model."""

IGNORED_VOLUME_GB = 30
"""Sent for instance types that store only on their own disks and ignore it: the SDK's default."""


@dataclass(frozen=True)
class TrainingJob:
    """A training job. URIs of prefixes end in `/`; `validation` is None without held-out rows.

    `or_types`: further instance types in order of preference, whose `request_key` is the same. `max_pending_seconds`:
    how long SageMaker looks for instances of any of them. `training_plan_arn`: a bought plan of `instance_type`.
    """

    name: str
    instance_type: str
    hyperparameters: Mapping[str, str]
    accept_eula: bool
    max_runtime_seconds: int
    train: str
    validation: str | None
    output: str
    tags: Mapping[str, str] = field(default_factory=dict)
    or_types: Sequence[str] = ()
    max_pending_seconds: int | None = None
    training_plan_arn: str | None = None


@dataclass(frozen=True)
class Hosting:
    """An endpoint, with its configuration and its model."""

    model: str
    config: str
    endpoint: str
    instance_type: str
    instance_count: int = 1
    tags: Mapping[str, str] = field(default_factory=dict)
    capture: str | None = None
    """URI of the prefix for captured requests and responses; None without data capture."""
    capture_percentage: int = 100
    pools: Mapping[str, str] = field(default_factory=dict)
    """Instance type → its model, in order of preference and `instance_type` first; empty without a choice."""


def training_job(spec: ModelSpec, job: TrainingJob, target: Target) -> Request:
    """CreateTrainingJob. Raises `FineTuningError` if the licence is not accepted: the job would fail later, without
    weights.
    """
    licensed = _require_eula(spec, job.accept_eula)
    weights = f"s3://{private_bucket(target.region)}/{spec.gated_key(job.instance_type)}"
    by_channel = target.gated_weights == "channel"
    channels = [_channel("training", job.train)]
    channels += [_channel("validation", job.validation)] if job.validation else []
    channels += [_channel("code", f"s3://{cache_bucket(target.region)}/{spec.code_key}")]
    channels += [_channel("model", weights, **_access(licensed))] if by_channel else []
    environment = {"SageMakerGatedModelS3Uri": weights} | ({"accept_eula": "true"} if licensed else {})
    return {
        "TrainingJobName": job.name,
        "RoleArn": target.role_arn,
        "AlgorithmSpecification": {
            "TrainingImage": spec.training_image(job.instance_type, target.region),
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": m.name, "Regex": m.regex} for m in spec.metrics_on(job.instance_type)],
        },
        "HyperParameters": _hyperparameters(spec, job, target),
        "Environment": {} if by_channel else environment,
        "InputDataConfig": channels,
        "OutputDataConfig": {
            "S3OutputPath": job.output,
            "KmsKeyId": target.kms_key_arn,
            "CompressionType": "NONE",
        },
        "ResourceConfig": {
            **_instances(job),
            "InstanceCount": 1,
            **_training_volume(spec, job.instance_type, target),
        },
        "StoppingCondition": {
            "MaxRuntimeInSeconds": min(job.max_runtime_seconds, spec.estimator_kwargs.max_run),
            **({"MaxPendingTimeInSeconds": job.max_pending_seconds} if job.max_pending_seconds else {}),
        },
        "RetryStrategy": {"MaximumRetryAttempts": RETRY_ATTEMPTS},
        "VpcConfig": target.vpc,
        "EnableNetworkIsolation": spec.training_enable_network_isolation,
        "EnableInterContainerTrafficEncryption": spec.estimator_kwargs.encrypt_inter_container_traffic,
        "Tags": _tags({**jumpstart_tags(spec), **job.tags}),
    }


def request_key(spec: ModelSpec, instance_type: str, hyperparameters: Mapping[str, str]) -> str:
    """A digest of everything in the training request that depends on the instance type, but for the type itself.

    Types with the same key can be preferences of one job.
    """
    variants = spec.training_instance_type_variants
    parts = [
        variants.image_alias(instance_type),
        variants.gated_key(instance_type),
        [metric.model_dump() for metric in spec.metrics_on(instance_type)],
        dict(sorted(hyperparameters.items())),
        has_only_local_storage(instance_type),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def container_key(spec: ModelSpec, instance_type: str, region: str) -> str:
    """A digest of everything in a model's request that depends on the instance type."""
    parts = [spec.hosting_image(instance_type, region), sorted(spec.hosting_environment(instance_type).items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def tuned_model(spec: ModelSpec, hosting: Hosting, target: Target, artifact: str) -> Request:
    """CreateModel for the tuned weights. `artifact` is the prefix `s3://…/output/model/`."""
    return _model(spec, hosting, target, {"S3Uri": artifact})


def base_model(spec: ModelSpec, hosting: Hosting, target: Target, *, accept_eula: bool) -> Request:
    """CreateModel for JumpStart's weights, for the comparison with the base model."""
    licensed = _require_eula(spec, accept_eula)
    weights = f"s3://{private_bucket(target.region)}/{spec.hosting_prepacked_artifact_key}"
    return _model(spec, hosting, target, {"S3Uri": weights, **_access(licensed)})


def endpoint_config(spec: ModelSpec, hosting: Hosting, target: Target) -> Request:
    """CreateEndpointConfig with one variant for all traffic."""
    variant: Request = {
        "VariantName": VARIANT,
        "ModelName": hosting.model,
        "InitialVariantWeight": 1,
        "InitialInstanceCount": hosting.instance_count,
        **_hosts(hosting),
        "VariantInstanceProvisionTimeoutInSeconds": ENDPOINT_PROVISIONING_SECONDS,
    }
    if spec.deploy_kwargs.model_data_download_timeout:
        variant["ModelDataDownloadTimeoutInSeconds"] = spec.deploy_kwargs.model_data_download_timeout
    if spec.deploy_kwargs.container_startup_health_check_timeout:
        variant["ContainerStartupHealthCheckTimeoutInSeconds"] = (
            spec.deploy_kwargs.container_startup_health_check_timeout
        )
    request: Request = {
        "EndpointConfigName": hosting.config,
        "ProductionVariants": [variant],
        "Tags": _hosting_tags(spec, hosting),
    }
    if hosting.capture:
        request["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": hosting.capture_percentage,
            "DestinationS3Uri": hosting.capture,
            "KmsKeyId": target.kms_key_arn,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            # Otherwise SageMaker stores them in Base64.
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        }
    if has_only_local_storage(hosting.instance_type):
        return request
    if spec.inference_volume_size:
        variant["VolumeSizeInGB"] = spec.inference_volume_size
    return request | {"KmsKeyId": target.kms_key_arn}


def endpoint(spec: ModelSpec, hosting: Hosting) -> Request:
    """CreateEndpoint."""
    return {
        "EndpointName": hosting.endpoint,
        "EndpointConfigName": hosting.config,
        "Tags": _hosting_tags(spec, hosting),
    }


def jumpstart_tags(spec: ModelSpec) -> dict[str, str]:
    """The tags by which the SageMaker console and the SDK recognise a JumpStart model."""
    return {
        "sagemaker-sdk:jumpstart-model-id": spec.model_id,
        "sagemaker-sdk:jumpstart-model-version": spec.version,
    }


def _hyperparameters(spec: ModelSpec, job: TrainingJob, target: Target) -> dict[str, str]:
    """Values in JSON quotes, as the SDK sends them and the training toolkit reads them; the log level is a number."""
    container = {p.name: p.default_text for p in spec.hyperparameters if p.scope == "container"}
    log_level = container.pop("sagemaker_container_log_level", "20")
    texts = {
        **job.hyperparameters,
        **container,
        "sagemaker_job_name": job.name,
        "sagemaker_region": target.region,
    }
    return {name: json.dumps(value) for name, value in texts.items()} | {"sagemaker_container_log_level": log_level}


def _model(spec: ModelSpec, hosting: Hosting, target: Target, source: Request) -> Request:
    """`CompressionType` is `None` for a model, but `NONE` for the output of a training job."""
    if not source["S3Uri"].endswith("/"):
        raise ValueError(f"a model's S3 prefix must end in a slash: {source['S3Uri']}")
    return {
        "ModelName": hosting.model,
        "ExecutionRoleArn": target.role_arn,
        "PrimaryContainer": {
            "Image": spec.hosting_image(hosting.instance_type, target.region),
            "Environment": spec.hosting_environment(hosting.instance_type),
            "ModelDataSource": {"S3DataSource": {**source, "S3DataType": "S3Prefix", "CompressionType": "None"}},
        },
        "VpcConfig": target.vpc,
        "EnableNetworkIsolation": spec.inference_enable_network_isolation,
        "Tags": _hosting_tags(spec, hosting),
    }


def _channel(name: str, uri: str, **access: Request) -> Request:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated", **access}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def _instances(job: TrainingJob) -> Request:
    if job.or_types:
        return {"InstancePreferences": [{"InstanceType": each} for each in (job.instance_type, *job.or_types)]}
    plan = {"TrainingPlanArn": job.training_plan_arn} if job.training_plan_arn else {}
    return {"InstanceType": job.instance_type, **plan}


def _hosts(hosting: Hosting) -> Request:
    """An endpoint's instance type, or its pools: each names its model unless it is the variant's own."""
    if not hosting.pools:
        return {"InstanceType": hosting.instance_type}
    pools = [
        {
            "InstanceType": instance_type,
            "Priority": priority,
            **({} if model == hosting.model else {"ModelNameOverride": model}),
        }
        for priority, (instance_type, model) in enumerate(hosting.pools.items(), start=1)
    ]
    return {"InstancePools": pools}


def _training_volume(spec: ModelSpec, instance_type: str, target: Target) -> Request:
    if has_only_local_storage(instance_type):
        return {"VolumeSizeInGB": IGNORED_VOLUME_GB}
    return {"VolumeSizeInGB": spec.training_volume_size or IGNORED_VOLUME_GB, "VolumeKmsKeyId": target.kms_key_arn}


def _hosting_tags(spec: ModelSpec, hosting: Hosting) -> list[Request]:
    config = spec.inference_config_name
    named = {"sagemaker-sdk:jumpstart-inference-config-name": config} if config else {}
    return _tags({**jumpstart_tags(spec), **named, **hosting.tags})


def _tags(tags: Mapping[str, str]) -> list[Request]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _access(licensed: bool) -> Request:
    return {"ModelAccessConfig": {"AcceptEula": True}} if licensed else {}


def _require_eula(spec: ModelSpec, accepted: bool) -> bool:
    """True if the model has a licence. Raises `FineTuningError` if it is not accepted."""
    licensed = support(spec.model_id).family.licence_url is not None
    if licensed and not accepted:
        raise FineTuningError(
            Code.EULA_NOT_ACCEPTED,
            f"The licence of {spec.model_id} is not accepted.",
            'Read the licence, then set "accept_eula": true in run.json.',
            field="accept_eula",
        )
    return licensed
