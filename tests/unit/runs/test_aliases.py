"""Which model a name stands for after a deployment, a rollback and a deletion."""

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.runs.aliases import KEPT_IMPORTS, Alias, ImportedModel
from tests.builders.runs import START, at


def model(name: str, seconds: float = 0) -> ImportedModel:
    return ImportedModel(arn=f"arn:{name}", name=name, run_id=f"{name}-00000000", since=at(seconds))


def names(alias: Alias) -> list[str]:
    return [each.name for each in alias.models]


def test_each_deployment_keeps_the_models_before_the_latest_first() -> None:
    alias = Alias(name="faq")
    for name in ("a", "b", "c"):
        alias = alias.switched_to(model(name), ["crew"])
    assert names(alias) == ["c", "b", "a"]
    assert [each.name for each in alias.surplus] == ["a"]
    assert len(alias.models) - len(alias.surplus) == KEPT_IMPORTS


def test_a_model_that_serves_already_keeps_its_time_and_one_that_served_before_is_not_listed_twice() -> None:
    alias = Alias(name="faq").switched_to(model("a"), []).switched_to(model("b"), [])
    again = alias.switched_to(model("b", 60), ["crew"])
    assert again.serving == model("b")
    assert again.owners == ["crew"]
    assert names(alias.switched_to(model("a", 60), [])) == ["a", "b"]


def test_a_rollback_goes_one_model_back_and_forgets_the_one_it_left() -> None:
    alias = Alias(name="faq", serving=model("c"), earlier=[model("b"), model("a")])
    back = alias.rolled_back(at(60))
    assert names(back) == ["b", "a"]
    assert back.serving
    assert back.serving.since == at(60)
    with pytest.raises(FineTuningError, match="No earlier model of faq is kept") as refused:
        back.rolled_back(at(61)).rolled_back(at(62))
    assert refused.value.code == Code.NOTHING_TO_ROLL_BACK_TO


@pytest.mark.parametrize(("deleted", "left"), [("c", ["b", "a"]), ("b", ["c", "a"]), ("x", ["c", "b", "a"])])
def test_a_deleted_model_is_forgotten(deleted: str, left: list[str]) -> None:
    alias = Alias(name="faq", serving=model("c"), earlier=[model("b"), model("a")]).without(f"arn:{deleted}")
    assert names(alias) == left
    assert (alias.serving is None) == (deleted == "c")


def test_the_document_is_read_as_it_was_written() -> None:
    alias = Alias(name="faq", owners=["crew"], serving=model("b"), earlier=[model("a")])
    assert Alias.model_validate_json(alias.model_dump_json()) == alias
    assert alias.serving
    assert alias.serving.since == START
