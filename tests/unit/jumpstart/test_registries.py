"""Images come from AWS's registries only."""

from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.registries import is_from_aws
from tests.builders.jumpstart import any_spec

LMI = "djl-inference:0.29.0-lmi11.0.0-cu124"


@pytest.mark.parametrize(
    ("image", "region", "allowed"),
    [
        (f"763104351884.dkr.ecr.us-east-1.amazonaws.com/{LMI}", "us-east-1", True),
        (f"763104351884.dkr.ecr.us-east-1.amazonaws.com/{LMI}", "us-west-2", False),
        (f"626614931356.dkr.ecr.af-south-1.amazonaws.com/{LMI}", "af-south-1", True),
        (f"763104351884.dkr.ecr.af-south-1.amazonaws.com/{LMI}", "af-south-1", False),
        (f"727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/{LMI}", "cn-north-1", True),
        (f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{LMI}", "us-east-1", False),
        (f"763104351884.dkr.ecr.us-east-1.amazonaws.com.evil.com/{LMI}", "us-east-1", False),
        (f"evil.com/763104351884.dkr.ecr.us-east-1.amazonaws.com/{LMI}", "us-east-1", False),
        ("public.ecr.aws/x/djl-inference:1", "us-east-1", False),
        (f"763104351884.dkr.ecr.us-east-1.amazonaws.com/{LMI}\n", "us-east-1", False),
    ],
)
def test_only_aws_accounts_of_the_region_are_registries(image: str, region: str, allowed: bool) -> None:
    assert is_from_aws(image, region) is allowed


def of_a_stranger(spec: dict[str, Any]) -> None:
    """Every image of the document, in whatever configuration, is a stranger's."""
    for key, value in spec.items():
        if key == "regional_aliases":
            for aliases in value.values():
                for name, uri in aliases.items():
                    aliases[name] = uri.replace("763104351884", "123456789012")
        elif isinstance(value, dict):
            of_a_stranger(value)


@pytest.mark.parametrize("use", ["training", "hosting"])
def test_a_document_with_an_image_of_a_stranger_is_refused(use: str) -> None:
    spec = any_spec(change=of_a_stranger)
    types = {"training": spec.default_training_instance_type, "hosting": spec.default_inference_instance_type}
    with pytest.raises(
        FineTuningError, match=r"specification of meta-.*123456789012\.dkr\.ecr.* is not in AWS's registry in us-east-1"
    ) as found:
        getattr(spec, f"{use}_image")(types[use], "us-east-1")
    assert found.value.code == Code.MODEL_SPEC_UNUSABLE
