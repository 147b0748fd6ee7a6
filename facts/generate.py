"""Writes the JumpStart documents of the command (finetuning_cli/facts/jumpstart), laid out as the public bucket, for
the rehearsal and for offline planning. Needs the checkout.

    python -m facts.generate [SPEC.json]

`SPEC.json` is a published specification of Llama 3.1 70B, from the tests of the SageMaker SDK. What this project reads
of it is kept, for the regions in `REGIONS`; without the argument the kept document is used again. The documents of the
other models are made from it, `hosting_facts.json` (published) and `training_facts.json` (assumed), and say
`"provenance": "assumed"`: their own specifications have not been read from AWS yet.
"""

import copy
import json
import sys
from pathlib import Path
from typing import Any

from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.spec import MANIFEST_KEY, spec_key

FACTS = Path(__file__).parent
BUCKET = FACTS.parent / "cli" / "finetuning_cli" / "facts" / "jumpstart"
BASE_MODEL = "meta-textgeneration-llama-3-1-70b"
REGIONS = (
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-west-1",
    "eu-west-2",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-2",
)
LEFT_OUT = {
    "default_payloads",
    "benchmark_metrics",
    "training_dependencies",
    "hosting_neuron_model_id",
    "hosting_neuron_model_version",
}

Document = dict[str, Any]


def documents(base: Document) -> dict[str, Document]:
    """The specification of every model, by model id."""
    hosting = json.loads((FACTS / "hosting_facts.json").read_text())["models"]
    training = json.loads((FACTS / "training_facts.json").read_text())["models"]
    return {BASE_MODEL: base} | {
        model_id: _assumed(base, model_id, hosting[model_id], facts) for model_id, facts in training.items()
    }


def manifest(specs: dict[str, Document]) -> list[Document]:
    return [
        {
            "model_id": model_id,
            "version": spec["version"],
            "min_version": spec["min_sdk_version"],
            "spec_key": spec_key(model_id, spec["version"]),
        }
        for model_id, spec in sorted(specs.items())
    ]


def files(base: Document) -> dict[str, str]:
    """The bucket's objects by key."""
    specs = documents(base)
    return {MANIFEST_KEY: _text(manifest(specs))} | {
        spec_key(model_id, spec["version"]): _text(spec) for model_id, spec in specs.items()
    }


def condensed(published: Document) -> Document:
    """A published specification without the regions, payloads and benchmarks that this project does not read."""
    return {**_without(published), "provenance": "published, condensed"}


def kept_base() -> Document:
    (path,) = (BUCKET / "community_models" / BASE_MODEL).glob("specs_v*.json")
    document: Document = json.loads(path.read_text())
    return document


def _assumed(base: Document, model_id: str, hosting: Document, training: Document) -> Document:
    """The base model's document, with the published and assumed facts of another model."""
    spec = copy.deepcopy(base)
    families = sorted({name.split(".")[1] for name in training["supported_training_instance_types"]})
    # The base model's draft model is no fact about this one.
    for part in ("inference_config_components", "inference_configs"):
        spec[part] = {"lmi": spec[part]["lmi"]}
    spec["inference_config_rankings"]["overall"]["rankings"] = ["lmi"]
    component = spec["inference_config_components"]["lmi"]
    kept = {v["name"]: v for v in component["inference_environment_variables"]}
    environment = [
        {
            **kept.get(name, {"name": name, "scope": "container", "type": "text"}),
            "default": value,
            "required_for_model_class": name != "SAGEMAKER_CONTAINER_LOG_LEVEL",
        }
        for name, value in hosting["environment"].items()
    ]
    hosted = {
        "default_inference_instance_type": hosting["default_inference_instance_type"],
        "supported_inference_instance_types": hosting["supported_inference_instance_types"],
        "hosting_prepacked_artifact_key": hosting["hosting_prepacked_artifact_key"],
        "hosting_artifact_key": hosting["hosting_artifact_key"],
        "inference_environment_variables": environment,
        "deploy_kwargs": training["deploy_kwargs"],
    }
    component |= hosted
    component["hosting_instance_type_variants"]["variants"] |= {
        instance_type: {"properties": {"environment_variables": {"OPTION_TENSOR_PARALLEL_DEGREE": str(gpus)}}}
        for instance_type, gpus in training["tensor_parallel_degree"].items()
    }
    image = {"image_uri": "$gpu_ecr_uri_1"}
    spec["training_instance_type_variants"]["variants"] = {
        family: {
            "properties": {"gated_model_key_env_var_value": f"meta-training/{family}/v1.0.0/train-{model_id}.tar.gz"},
            "regional_properties": image,
        }
        for family in families
    }
    defaults = training["hyperparameter_defaults"]
    for parameter in spec["hyperparameters"]:
        parameter["default"] = defaults.get(parameter["name"], parameter["default"])
    named = {
        "provenance": "assumed",
        "model_id": model_id,
        "resource_name_base": model_id,
        "version": support(model_id).version,
        "hosting_eula_key": hosting["hosting_eula_key"],
        "license": f"{support(model_id).family.name} Community License",
        "huggingface_id": training["huggingface_id"],
        "model_size": training["model_size"],
        "training_artifact_key": f"meta-training/train-{model_id}.tar.gz",
        "default_training_instance_type": training["default_training_instance_type"],
        "supported_training_instance_types": training["supported_training_instance_types"],
    }
    return spec | hosted | named


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in LEFT_OUT}
        if "regional_aliases" in kept:
            kept["regional_aliases"] = {r: a for r, a in kept["regional_aliases"].items() if r in REGIONS}
        return {key: _without(item) for key, item in kept.items()}
    if isinstance(value, list):
        return [_without(item) for item in value if not (isinstance(item, str) and item in LEFT_OUT)]
    return value


def _text(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    base = condensed(json.loads(Path(sys.argv[1]).read_text())) if len(sys.argv) > 1 else kept_base()
    for key, text in files(base).items():
        path = BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
