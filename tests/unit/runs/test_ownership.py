"""Whose runs may replace an endpoint's model."""

import pytest

from finetuning.runs.ownership import MAX_OWNERS, owner_name, owners_after, owners_in, owners_tag, refusal
from finetuning.runs.uploads import Upload
from tests.builders.runs import any_plan

OWNED = owners_tag(["team-a", "team-b"])


def test_a_folder_owns_under_its_own_name_and_a_single_file_under_its_key() -> None:
    assert Upload("b", "runs/Team-A/run.json", "1").owner == "Team-A"
    assert Upload("b", "inbox/faq.jsonl", "1").owner == "inbox/faq.jsonl"


@pytest.mark.parametrize("other", ["team a", "team!a", "Team é", "t" * 41, "t" * 42])
def test_folders_whose_runs_have_the_same_name_are_different_owners(other: str) -> None:
    names = [owner_name(name) for name in ("team a", "team!a", "Team é", "t" * 41, "t" * 42, "team-a")]
    assert len(set(names)) == len(names)
    assert " " not in owner_name(other)
    assert len(" ".join([owner_name(other)] * (MAX_OWNERS + 1))) <= 256


def test_the_name_of_an_owner_can_be_read() -> None:
    assert owner_name("runs/team_a@example.com") == "runs/team_a@example.com"
    long = owner_name("Über das große Team im Hafen 7!")
    assert long == "ber-das-gro-e-team-im-ha=d799ec35b487"  # pragma: allowlist secret
    assert owner_name("?!Team!") == "team=087b0ea61a76"
    assert owners_in(owners_tag(["team-a", "team-b"])) == ["team-a", "team-b"]


def test_an_endpoint_without_the_tag_belongs_to_the_upload_of_its_run() -> None:
    assert owners_in({"finetune:run-id": "team-a-0a1b2c3d"}) == ["team-a"]
    assert owners_in({}) == []


@pytest.mark.parametrize(
    ("uploader", "replacement", "refused"),
    [
        ("team-a", "owner", False),
        ("team-b", "owner", False),
        ("team-c", "owner", True),
        ("team", "owner", True),
        ("team-c", "anyone", False),
    ],
)
def test_only_owners_may_replace_where_the_stage_says_so(uploader: str, replacement: str, refused: bool) -> None:
    found = refusal("finetune-dev-faq", uploader, OWNED, replacement)  # type: ignore[arg-type]
    assert (found is not None) is refused


def test_the_refusal_names_the_owner_and_the_line_that_allows_it() -> None:
    found = refusal("finetune-dev-faq", "team-c", OWNED, "owner")
    assert found is not None
    assert (found.code, found.field) == ("ENDPOINT_NOT_OWNED", "endpoint.name")
    assert "belongs to team-a" in found.message
    assert '"endpoint": {"owners": ["team-c"]}' in found.fix


def test_an_endpoint_of_unknown_owner_is_not_replaced_either() -> None:
    found = refusal("finetune-dev-faq", "team-c", {}, "owner")
    assert found is not None
    assert found.message == "The endpoint finetune-dev-faq belongs to another upload, and this run is of team-c."


def test_only_the_owner_changes_the_others() -> None:
    assert owners_after(["team-a"], OWNED) == ["team-a"]
    assert owners_after(["team-b", "team-c"], OWNED) == ["team-a", "team-b"]
    assert owners_after(["team-b"], {}) == ["team-b"]


def test_a_plan_of_an_earlier_version_is_owned_by_its_upload() -> None:
    assert any_plan().owners == ["pirate"]
