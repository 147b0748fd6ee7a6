"""The SageMaker SDK reads the same documents and must come to the same facts.

It runs in a process of its own, offline, on the project's documents and, if they are available, on the real
specification.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from facts.generate import condensed, files, kept_base
from finetuning.jumpstart.catalogue import CATALOGUE
from finetuning.jumpstart.hyperparameters import merge
from finetuning.jumpstart.requests import TrainingJob, training_job
from finetuning.jumpstart.spec import ModelSpec, read_spec, spec_key
from tests.builders.jumpstart import BASE_70B, FACTS, TARGET, any_spec
from tests.shared import SHARED

ORACLE = Path(__file__).with_name("sdk_oracle.py")
REAL_SPEC = SHARED / "data" / "jumpstart" / f"{BASE_70B}.spec.json"

VALUES: list[tuple[str, Any]] = [
    *(("epoch", value) for value in (1, "3", 1000, 0, 1001, 2.5, "2.5", "x", "", -1)),
    *(("learning_rate", value) for value in (1e-8, 1, "0.001", 1e-9, 1.1, "fast")),
    *(("lora_dropout", value) for value in (0, 1, 0.5, -0.1, 1.01)),
    *(("max_input_length", value) for value in (-1, 1, 4096, -2)),
    *(("target_modules", value) for value in ("q_proj", "q_proj,k_proj", 3)),
    *(("int8_quantization", value) for value in ("True", "False", "true", "yes", 1)),
    *(("seed", value) for value in (1, 1000, 0, 1001)),
    ("no_such_thing", 1),
]


def ask_sdk(folder: Path, models: list[tuple[str, str]], values: list[tuple[str, str, str, Any]]) -> dict[str, Any]:
    answered = subprocess.run(
        [sys.executable, str(ORACLE), str(folder)],
        input=json.dumps({"models": models, "values": values}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answered.returncode == 0, answered.stderr[-2000:]
    answers: dict[str, Any] = json.loads(answered.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def sdk() -> dict[str, Any]:
    models = [(model_id, any_spec(model_id).version) for model_id in CATALOGUE]
    version = any_spec(BASE_70B).version
    return ask_sdk(FACTS, models, [(BASE_70B, version, name, value) for name, value in VALUES])


@pytest.fixture(scope="module")
def sdk_on_real_spec(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, dict[str, Any]]:
    if not REAL_SPEC.is_file():
        pytest.skip("the real specification is not beside this checkout")
    folder, spec = tmp_path_factory.mktemp("jumpstart"), read_spec(REAL_SPEC.read_bytes(), BASE_70B)
    key = spec_key(BASE_70B, spec.version)
    (folder / key).parent.mkdir(parents=True)
    (folder / key).write_bytes(REAL_SPEC.read_bytes())
    entry = {"model_id": BASE_70B, "version": spec.version, "min_version": "2.0.0", "spec_key": key}
    (folder / "models_manifest.json").write_text(json.dumps([entry]))
    return spec, ask_sdk(folder, [(BASE_70B, spec.version)], [])[BASE_70B]


def check_agreement(spec: ModelSpec, answer: dict[str, Any]) -> None:
    """Every fact of every instance type, in the request we would send against the SDK's answer."""
    assert sorted(answer["training"]) == sorted(spec.supported_training_instance_types)
    assert sorted(answer["hosting"]) == sorted(spec.supported_inference_instance_types)
    assert answer["default_training"] == spec.default_training_instance_type
    for instance_type, theirs in answer["training"].items():
        ours = request_without_choices(spec, instance_type)
        assert ours["AlgorithmSpecification"]["TrainingImage"] == theirs["image"]
        assert ours["InputDataConfig"][-1]["DataSource"]["S3DataSource"]["S3Uri"] == theirs["script"]
        assert ours["Environment"] == theirs["environment"] | {"accept_eula": "true"}
        assert ours["AlgorithmSpecification"]["MetricDefinitions"] == theirs["metrics"]
        sent = {name: unquoted(value) for name, value in ours["HyperParameters"].items()}
        assert sent == theirs["hyperparameters"] | {
            "sagemaker_job_name": "any-job",
            "sagemaker_region": TARGET.region,
        }
    for instance_type, theirs in answer["hosting"].items():
        assert spec.hosting_image(instance_type, TARGET.region) == theirs["image"]
        assert spec.hosting_environment(instance_type) == theirs["environment"]


def request_without_choices(spec: ModelSpec, instance_type: str) -> dict[str, Any]:
    hyperparameters, findings = merge(spec, instance_type, None, {})
    assert not findings
    job = TrainingJob(
        name="any-job",
        instance_type=instance_type,
        hyperparameters=hyperparameters,
        accept_eula=True,
        max_runtime_seconds=3600,
        train="s3://my-bucket/train/",
        validation=None,
        output="s3://my-bucket/out",
    )
    return training_job(spec, job, TARGET)


def unquoted(value: str) -> str:
    return str(json.loads(value))


@pytest.mark.parametrize("model_id", CATALOGUE)
def test_the_sdk_reads_the_same_facts_from_our_documents(model_id: str, sdk: dict[str, Any]) -> None:
    check_agreement(any_spec(model_id), sdk[model_id])


def test_the_sdk_reads_the_same_facts_from_the_real_specification(
    sdk_on_real_spec: tuple[ModelSpec, dict[str, Any]],
) -> None:
    check_agreement(*sdk_on_real_spec)


def test_a_hyperparameter_the_sdk_refuses_is_refused_and_one_it_takes_is_taken(sdk: dict[str, Any]) -> None:
    spec = any_spec(BASE_70B)
    ours = [
        not [f for f in merge(spec, "ml.p4d.24xlarge", None, {name: value})[1] if f.code == "HYPERPARAMETER_INVALID"]
        for name, value in VALUES
    ]
    disagreements = [
        (value, mine) for value, mine, theirs in zip(VALUES, ours, sdk["values"], strict=True) if mine != theirs
    ]
    assert disagreements == []


def test_the_documents_are_those_the_generator_writes() -> None:
    on_disk = {str(path.relative_to(FACTS)): path.read_text() for path in FACTS.rglob("*.json")}
    assert on_disk == files(kept_base())


def test_the_kept_70b_document_says_what_the_real_one_says() -> None:
    if not REAL_SPEC.is_file():
        pytest.skip("the real specification is not beside this checkout")
    kept = json.loads((FACTS / spec_key(BASE_70B, "2.16.2")).read_text())
    assert kept == condensed(json.loads(REAL_SPEC.read_text()))
