"""The model of a run, from run.json, the stage and JumpStart's documents."""

from collections.abc import Mapping

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.spec import ModelSpec
from finetuning.planning.checklist import Checklist
from finetuning.planning.submission import settle_model
from finetuning.runs.run_json import RunRequest
from tests.builders.jumpstart import LLAMA, any_spec, any_stage

MODEL = LLAMA + "8b"
SPEC = any_spec(MODEL)
UNUSABLE = any_spec(MODEL, lambda document: document.update(training_supported=False))


class Documents:
    """JumpStart's documents by version, the newest by None. Notes which were asked for."""

    def __init__(self, known: Mapping[str | None, ModelSpec]) -> None:
        self._known = known
        self.asked: list[tuple[str, str | None]] = []

    def spec(self, model_id: str, version: str | None) -> ModelSpec:
        self.asked.append((model_id, version))
        if version not in self._known:
            raise FineTuningError(Code.MODEL_SPEC_UNUSABLE, f"There is no {version}.", "Set another.", field="model")
        return self._known[version]


def settled(
    known: Mapping[str | None, ModelSpec], **run_json: str
) -> tuple[ModelSpec | None, Checklist, list[tuple[str, str | None]]]:
    documents, checklist = Documents(known), Checklist()
    spec = settle_model(RunRequest(**run_json), any_stage(default_model=MODEL), documents.spec, checklist)
    return spec, checklist, documents.asked


@pytest.mark.parametrize(
    ("run_json", "asked"),
    [
        ({}, (MODEL, None)),
        ({"model": LLAMA + "70b"}, (LLAMA + "70b", None)),
        ({"model_version": "2.5.0"}, (MODEL, "2.5.0")),
    ],
)
def test_the_model_and_version_of_run_json_are_read_else_the_stages_and_the_newest(
    run_json: dict[str, str], asked: tuple[str, str | None]
) -> None:
    spec, checklist, read = settled({None: SPEC, "2.5.0": SPEC}, **run_json)
    assert spec is SPEC
    assert read == [asked]
    assert checklist.checks == []


def test_an_unknown_model_is_a_finding_and_the_newest_version_of_the_nearest_one_is_used() -> None:
    spec, checklist, read = settled({None: SPEC}, model=LLAMA + "8bb", model_version="2.5.0")
    assert spec is SPEC
    assert [(check.check, check.code, check.field) for check in checklist.checks] == [
        ("model", Code.MODEL_UNKNOWN, "model")
    ]
    assert read == [(MODEL, None)]
    _, _, of_the_stage = settled({None: SPEC}, model="")
    assert of_the_stage == [(MODEL, None)]


def test_an_unknown_version_is_a_finding_and_the_newest_one_is_used() -> None:
    spec, checklist, read = settled({None: SPEC}, model_version="9.9.9")
    assert spec is SPEC
    assert [(check.check, check.message) for check in checklist.checks] == [("model", "There is no 9.9.9.")]
    assert read == [(MODEL, "9.9.9"), (MODEL, None)]


@pytest.mark.parametrize("run_json", [{}, {"model_version": "9.9.9"}], ids=["newest", "version"])
def test_without_any_document_there_is_no_specification_and_one_finding(run_json: dict[str, str]) -> None:
    spec, checklist, read = settled({}, **run_json)
    assert spec is None
    assert [finding.code for finding in checklist.findings] == [Code.MODEL_SPEC_UNUSABLE]
    assert read[0] == (MODEL, run_json.get("model_version"))
    assert len(read) == len(set(read))


def test_a_version_that_cannot_be_fine_tuned_is_a_finding_and_still_used_for_the_other_checks() -> None:
    spec, checklist, _ = settled({None: UNUSABLE})
    assert spec is UNUSABLE
    (check,) = checklist.checks
    assert (check.check, check.code, check.field) == ("model", Code.MODEL_SPEC_UNUSABLE, "model")
    assert f"{MODEL} {SPEC.version} cannot be fine-tuned" in check.message
    assert "model_version" in check.fix
