"""JumpStart's documents, read tolerantly, and said clearly where they cannot be."""

import copy
import json
from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.spec import (
    InstanceVariants,
    instance_family,
    newest,
    public_address,
    read_manifest,
    read_spec,
)
from tests.builders.jumpstart import BASE_70B, TARGET, any_spec, document


def test_a_version_is_newer_by_its_numbers_not_by_its_letters() -> None:
    entries = [{"model_id": "m", "version": v, "spec_key": f"{v}.json"} for v in ("2.9.0", "2.16.2", "2.2.10")]
    manifest = read_manifest(json.dumps(entries).encode())
    assert newest(manifest, "m") == manifest[1]
    assert newest(manifest, "another") is None


def test_entries_of_another_form_are_ignored() -> None:
    entries: list[Any] = [{"model_id": "m"}, "text", {"model_id": "m", "version": "1.0", "spec_key": "k", "extra": 1}]
    assert [entry.spec_key for entry in read_manifest(json.dumps(entries).encode())] == ["k"]


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>"])
def test_an_invalid_manifest_is_a_typed_error(body: bytes) -> None:
    with pytest.raises(FineTuningError, match="models_manifest"):
        read_manifest(body)


def test_unknown_keys_are_ignored() -> None:
    assert any_spec(change=lambda spec: spec.update(new_thing={"of": "tomorrow"})) == any_spec()


@pytest.mark.parametrize(
    "key", ["hyperparameters", "training_script_key", "supported_training_instance_types", "version"]
)
def test_a_missing_key_is_named_with_the_model(key: str) -> None:
    with pytest.raises(FineTuningError) as refused:
        any_spec(change=lambda spec: spec.pop(key))
    assert key in refused.value.message
    assert BASE_70B in refused.value.message


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[]",
        b"null",
        b'{"inference_config_rankings": []}',
        b'{"inference_config_rankings": {"overall": {"rankings": ["lost"]}}}',
    ],
)
def test_a_document_of_any_other_form_is_a_typed_error(broken: bytes) -> None:
    with pytest.raises(FineTuningError, match=BASE_70B):
        read_spec(broken, BASE_70B)


def test_every_missing_key_is_named_with_its_place() -> None:
    def break_two(spec: dict[str, Any]) -> None:
        spec.pop("training_script_key")
        spec["estimator_kwargs"]["max_run"] = "a day"

    with pytest.raises(FineTuningError) as refused:
        any_spec(change=break_two)
    missing, wrong = refused.value.message.split("; ")
    assert missing.endswith("training_script_key: Field required")
    assert wrong.startswith("estimator_kwargs.max_run: Input should be a valid integer")


def test_a_configuration_that_is_ranked_and_missing_is_named() -> None:
    def lose(spec: dict[str, Any]) -> None:
        spec["inference_config_rankings"]["overall"]["rankings"] = ["lost"]

    with pytest.raises(FineTuningError, match="cannot be used: KeyError: 'lost'"):
        any_spec(change=lose)


def test_the_first_ranked_configuration_lies_over_the_top_level() -> None:
    def rank_first(spec: dict[str, Any]) -> None:
        spec["inference_config_rankings"]["overall"]["rankings"] = ["better", "lmi"]
        spec["inference_configs"]["better"] = {"component_names": ["base-part", "lmi"]}
        spec["inference_config_components"]["base-part"] = {
            "default_inference_instance_type": "ml.p4d.24xlarge",
            "deploy_kwargs": {"model_data_download_timeout": 7},
        }
        spec["inference_config_components"]["lmi"].pop("deploy_kwargs")

    spec = any_spec(change=rank_first)
    assert spec.inference_config_name == "better"
    assert spec.deploy_kwargs.model_data_download_timeout == 7


def test_the_first_ranked_configuration_of_training_is_used_as_well() -> None:
    def rank(spec: dict[str, Any]) -> None:
        spec["training_config_rankings"] = {"overall": {"rankings": ["large"]}}
        spec["training_configs"] = {"large": {"component_names": ["disk"]}}
        spec["training_config_components"] = {"disk": {"training_volume_size": 999}}

    spec = any_spec(change=rank)
    assert spec.training_volume_size == 999
    assert spec.inference_config_name == any_spec().inference_config_name


def test_a_type_that_the_model_does_not_support_is_refused_with_those_it_does() -> None:
    with pytest.raises(FineTuningError) as refused:
        any_spec().training_image("ml.t3.large", TARGET.region)
    assert refused.value.fix == f"Choose one of {', '.join(any_spec().supported_training_instance_types)}."
    assert refused.value.field == "training.instance_type"


def test_a_type_without_an_image_has_none() -> None:
    assert InstanceVariants().image("ml.g5.48xlarge", "us-east-1") is None


def test_a_configuration_that_needs_a_draft_model_is_passed_over() -> None:
    def rank_optimised_first(spec: dict[str, Any]) -> None:
        assert spec["inference_config_components"]["lmi-optimized"]["hosting_additional_data_sources"]
        spec["inference_config_rankings"]["overall"]["rankings"] = ["lmi-optimized", "lmi"]

    assert any_spec(change=rank_optimised_first) == any_spec()
    assert "OPTION_SPECULATIVE_DRAFT_MODEL" not in any_spec().hosting_environment("ml.p4d.24xlarge")


def use_vllm(component: dict[str, Any]) -> None:
    for aliases in component["hosting_instance_type_variants"]["regional_aliases"].values():
        aliases["alias_ecr_uri_1"] = "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:0.11.0-gpu-py312"


def test_a_configuration_with_another_image_family_is_passed_over() -> None:
    def rank_vllm_first(spec: dict[str, Any]) -> None:
        spec["inference_config_components"]["vllm"] = copy.deepcopy(spec["inference_config_components"]["lmi"])
        use_vllm(spec["inference_config_components"]["vllm"])
        spec["inference_configs"]["vllm"] = {"component_names": ["vllm"]}
        spec["inference_config_rankings"]["overall"]["rankings"] = ["vllm", "lmi"]

    assert any_spec(change=rank_vllm_first) == any_spec()


def test_without_a_usable_configuration_each_reason_is_given() -> None:
    def leave_nothing(spec: dict[str, Any]) -> None:
        use_vllm(spec["inference_config_components"]["lmi"])

    needs = "lmi needs the image .*/vllm:.*; lmi-optimized needs additional models"
    with pytest.raises(FineTuningError, match=f"{BASE_70B} cannot be used: .*{needs}"):
        any_spec(change=leave_nothing)


def test_an_endpoint_image_of_another_family_is_refused_where_nothing_is_ranked() -> None:
    def only_vllm(spec: dict[str, Any]) -> None:
        component = spec["inference_config_components"]["lmi"]
        use_vllm(component)
        spec["hosting_instance_type_variants"] = component["hosting_instance_type_variants"]
        spec["hosting_prepacked_artifact_key"] = component["hosting_prepacked_artifact_key"]
        spec["inference_config_rankings"] = None

    spec = any_spec(change=only_vllm)
    with pytest.raises(FineTuningError, match=r"vllm:0\.11\.0-gpu-py312 is not DJL LMI's") as refused:
        spec.hosting_image("ml.p4d.24xlarge", TARGET.region)
    assert refused.value.code == Code.MODEL_SPEC_UNUSABLE
    assert spec.model_id in refused.value.message


def test_the_exact_type_wins_over_its_family_and_the_family_over_the_model() -> None:
    def vary(spec: dict[str, Any]) -> None:
        variants = spec["training_instance_type_variants"]["variants"]
        epoch = {"name": "epoch", "type": "int", "scope": "algorithm"}
        variants["p4d"]["properties"]["hyperparameters"] = [
            {**epoch, "default": 2},
            {**epoch, "name": "seed", "default": 3},
        ]
        variants["ml.p4d.24xlarge"] = {
            "regional_properties": {"image_uri": "$own"},
            "properties": {"hyperparameters": [{**epoch, "default": 4}], "gated_model_key_env_var_value": "own.tar.gz"},
        }
        spec["training_instance_type_variants"]["regional_aliases"]["us-east-1"]["own"] = (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/own:1"
        )

    spec = any_spec(change=vary)
    merged = spec.hyperparameters_on("ml.p4d.24xlarge")
    assert (merged["epoch"].default, merged["seed"].default, merged["lora_r"].default) == (4, 3, 8)
    assert spec.training_image("ml.p4d.24xlarge", "us-east-1") == "763104351884.dkr.ecr.us-east-1.amazonaws.com/own:1"
    assert spec.gated_key("ml.p4d.24xlarge") == "own.tar.gz"
    assert spec.hyperparameters_on("ml.g5.48xlarge")["epoch"].default == 5


def test_an_image_is_that_of_the_region_and_an_unknown_region_is_refused_with_the_known_ones() -> None:
    spec = any_spec()
    assert "eu-west-1" in spec.training_image("ml.g5.48xlarge", "eu-west-1")
    with pytest.raises(FineTuningError, match="xx-nowhere-1") as refused:
        spec.training_image("ml.g5.48xlarge", "xx-nowhere-1")
    assert "us-east-1" in refused.value.fix


def test_a_type_without_gated_weights_is_refused_before_it_starts_without_a_model() -> None:
    def offer(spec: dict[str, Any]) -> None:
        spec["supported_training_instance_types"].append("ml.p5.48xlarge")

    spec = any_spec(change=offer)
    assert spec.training_image("ml.p5.48xlarge", TARGET.region)
    with pytest.raises(FineTuningError, match="no weights") as refused:
        spec.gated_key("ml.p5.48xlarge")
    assert refused.value.code == "GATED_WEIGHTS_MISSING"
    assert refused.value.field == "training.instance_type"


@pytest.mark.parametrize(
    ("instance_type", "family"),
    [
        ("ml.g5.12xlarge", "g5"),
        ("ml.p4d.24xlarge", "p4d"),
        ("ml.p6-b200.48xlarge", "p6-b200"),
        ("g5.12xlarge", ""),
        ("ml.g5", ""),
        ("", ""),
    ],
)
def test_the_family_of_an_instance_type(instance_type: str, family: str) -> None:
    assert instance_family(instance_type) == family


def test_every_document_says_where_its_facts_come_from() -> None:
    assert document(BASE_70B)["provenance"].startswith("published")
    assert any_spec("meta-textgeneration-llama-3-1-8b").provenance == "assumed"


@pytest.mark.parametrize(
    ("use", "instance_type", "regions"),
    [("training", "ml.g5.48xlarge", "eu-west-1, us-east-1"), ("endpoint", "ml.p4d.24xlarge", "us-west-2")],
)
def test_a_missing_image_names_its_use_and_the_regions_that_have_one(
    use: str, instance_type: str, regions: str
) -> None:
    spec = any_spec().model_copy(
        update={
            "training_instance_type_variants": InstanceVariants(regional_aliases={"us-east-1": {}, "eu-west-1": {}}),
            "hosting_instance_type_variants": InstanceVariants(regional_aliases={"us-west-2": {}}),
        }
    )
    image, known = spec.training_image if use == "training" else spec.hosting_image, regions.split(", ")[0]
    for region, where in (("xx-nowhere-1", "in xx-nowhere-1."), (known, f"for {instance_type} in {known}.")):
        with pytest.raises(FineTuningError) as refused:
            image(instance_type, region)
        assert refused.value.code == Code.REGION_UNSUPPORTED
        assert f" no {use} image of " in refused.value.message
        assert refused.value.message.endswith(f" {spec.version} {where}")
        assert f" {regions}." in refused.value.fix


def test_a_document_that_cannot_be_used_suggests_another_version() -> None:
    with pytest.raises(FineTuningError, match="not a list") as manifest:
        read_manifest(b"{}")
    with pytest.raises(FineTuningError) as spec:
        read_spec(b"{}", BASE_70B)
    assert (manifest.value.code, spec.value.code) == (Code.MODEL_SPEC_UNUSABLE, Code.MODEL_SPEC_UNUSABLE)
    assert "version" in manifest.value.fix
    assert "version" in spec.value.fix
    assert BASE_70B in spec.value.message
    assert spec.value.field == "model"


def test_an_exact_types_environment_adds_to_its_familys() -> None:
    def variant(**environment: str) -> dict[str, Any]:
        return {"properties": {"environment_variables": environment}}

    variants = InstanceVariants.model_validate(
        {"variants": {"g5": variant(a="family", b="family"), "ml.g5.48xlarge": variant(b="type", c="type")}}
    )
    assert variants.environment("ml.g5.48xlarge") == {"a": "family", "b": "type", "c": "type"}
    assert variants.environment("ml.g5.12xlarge") == {"a": "family", "b": "family"}


def test_the_licence_has_an_address_in_the_public_bucket_of_its_region() -> None:
    address = public_address("eu-west-1", "fmhMetadata/eula/llama3_1Eula.txt")
    assert (
        address == "https://jumpstart-cache-prod-eu-west-1.s3.eu-west-1.amazonaws.com/fmhMetadata/eula/llama3_1Eula.txt"
    )
