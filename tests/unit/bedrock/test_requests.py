"""The request that imports a tuned model."""

from dataclasses import replace

import pytest

from finetuning.bedrock.requests import ImportJob, import_job
from tests.builders.jumpstart import WITH_IMPORTS

JOB = ImportJob("finetune-dev-faq-0123abcd-1", "finetune-dev-faq-0123abcd", "s3://my-bucket/output/model/", {"a": "b"})


def test_the_request_names_model_role_key_and_tags() -> None:
    assert import_job(JOB, WITH_IMPORTS) == {
        "jobName": "finetune-dev-faq-0123abcd-1",
        "importedModelName": "finetune-dev-faq-0123abcd",
        "roleArn": "arn:aws:iam::111122223333:role/BedrockImport",
        "modelDataSource": {"s3DataSource": {"s3Uri": "s3://my-bucket/output/model"}},
        "jobTags": [{"key": "a", "value": "b"}],
        "importedModelTags": [{"key": "a", "value": "b"}],
        "clientRequestToken": "finetune-dev-faq-0123abcd-1",  # pragma: allowlist secret
        "importedModelKmsKeyId": "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    }


@pytest.mark.parametrize(("value", "sent"), [("Ünï", "_n_"), ("a\u00a0b", "a_b"), ("x:y/z=1+2@3.4_5-6 7", None)])
def test_a_tag_has_only_characters_that_bedrock_takes(value: str, sent: str | None) -> None:
    tags = import_job(replace(JOB, tags={"team": value}), WITH_IMPORTS)["importedModelTags"]
    assert tags == [{"key": "team", "value": sent or value}]


def test_a_prefix_without_its_slash_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="must end in a slash"):
        import_job(replace(JOB, artifact="s3://my-bucket/output/model"), WITH_IMPORTS)
