"""Names of tags are public: operators filter and pay by them, and resources of earlier versions carry them."""

from finetuning.runs import tags


def test_no_tag_is_renamed() -> None:
    names = {name: value for name, value in vars(tags).items() if name.endswith("_TAG")}
    assert names == {
        "STAGE_TAG": "finetune:stage",
        "OWNER_TAG": "finetune:created-by",
        "RUN_TAG": "finetune:run-id",
        "EULA_TAG": "finetune:eula",
        "EULA_ACCEPTED_BY_TAG": "finetune:eula-accepted-by",
        "EULA_ACCEPTED_AT_TAG": "finetune:eula-accepted-at",
        "ENDPOINT_TAG": "finetune:endpoint",
        "REPLACES_TAG": "finetune:replaces",
        "OWNERS_TAG": "finetune:owners",
        "TTL_TAG": "finetune:ttl-hours",
        "IDLE_TAG": "finetune:idle-minutes",
        "DEPLOYED_TAG": "finetune:deployed-at",
        "KEPT_TAG": "finetune:kept-until",
        "ANNOUNCED_TAG": "finetune:announced",
    }


def test_users_cannot_set_the_tags_of_the_project_or_of_jumpstart() -> None:
    assert all(value.startswith(tags.RESERVED_PREFIXES) for name, value in vars(tags).items() if name.endswith("_TAG"))
    assert "sagemaker-sdk:jumpstart-model-id".startswith(tags.RESERVED_PREFIXES)
