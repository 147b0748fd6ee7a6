"""run.json: every field optional, every fault named."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.runs.run_json import RunRequest, is_unreadable, read_request, run_schema

ROOT = Path(__file__).resolve().parents[3]


def faults(document: Any) -> dict[str, str]:
    """Field → fix of every finding."""
    _, findings = read_request(json.dumps(document).encode())
    assert {finding.code for finding in findings} <= {"RUN_JSON_INVALID"}
    return {finding.field: finding.fix for finding in findings}


def test_an_empty_object_takes_every_default() -> None:
    assert read_request(b"{}") == (RunRequest(), [])
    assert RunRequest().accept_eula is False


def test_the_published_schema_is_that_of_the_code() -> None:
    published = json.loads((ROOT / "cli" / "finetuning_cli" / "run.schema.json").read_text())
    assert published == run_schema(), "python -m finetuning.runs.run_json > cli/finetuning_cli/run.schema.json"


EXAMPLES = sorted(ROOT.glob("examples/**/run.json"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_no_example_accepts_a_licence_for_its_reader(example: Path) -> None:
    document = json.loads(example.read_text())
    assert document["accept_eula"] is False
    assert (example.parent / document["$schema"]).resolve() == ROOT / "cli" / "finetuning_cli" / "run.schema.json"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_is_valid_by_the_code_and_by_the_schema(example: Path) -> None:
    _, findings = read_request(example.read_bytes())
    assert findings == []
    jsonschema.validate(json.loads(example.read_text()), run_schema())


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": NaN}', b"[]", b"null", b'"text"', b"\xff\xfe{"])
def test_anything_but_a_json_object_is_one_finding(body: bytes) -> None:
    request, findings = read_request(body)
    assert request == RunRequest()
    assert [(finding.code, finding.field) for finding in findings] == [("RUN_JSON_INVALID", "")]


def test_only_a_run_json_without_any_field_is_unreadable() -> None:
    assert is_unreadable(read_request(b"{")[1])
    for body in ({}, {"zzz": 1}, {f"field {number}": 1 for number in range(30)}):
        assert not is_unreadable(read_request(json.dumps(body).encode())[1])


def test_a_run_json_in_utf_16_is_refused_with_the_way_to_save_it() -> None:
    _, (finding,) = read_request('{"model": "m"}'.encode("utf-16"))
    assert finding.message == "run.json is UTF-16, not UTF-8."
    assert "Out-File -Encoding utf8" in finding.fix


def test_a_run_json_may_name_its_schema() -> None:
    schema = {"$schema": "../../cli/finetuning_cli/run.schema.json"}
    assert read_request(json.dumps(schema | {"model": "m"}).encode()) == (RunRequest(model="m"), [])
    assert read_request(b'{"model": "m"}') == (RunRequest(model="m"), [])
    assert faults(schema | {"zzz": 1}).keys() == {"zzz"}


def test_a_byte_order_mark_is_allowed() -> None:
    assert read_request(b'\xef\xbb\xbf{"model": "m"}')[0].model == "m"


def test_an_unknown_field_is_refused_with_the_nearest_name_at_every_depth() -> None:
    found = faults({"modle": "x", "training": {"max_cost": 3}, "endpoint": {"ttl_hour": 1}, "zzz": 1})
    assert found["modle"] == "Did you mean model?"
    assert found["training.max_cost"] == "Did you mean max_cost_usd?"
    assert found["endpoint.ttl_hour"] == "Did you mean ttl_hours?"
    assert "hyperparameters" in found["zzz"]


@pytest.mark.parametrize("value", ["true", "yes", 1, None, [True]])
def test_a_licence_is_accepted_by_true_and_by_nothing_else(value: Any) -> None:
    request, findings = read_request(json.dumps({"accept_eula": value}).encode())
    assert request.accept_eula is False
    assert [finding.field for finding in findings] == ["accept_eula"]


def test_all_problems_are_found_at_once_and_the_rest_is_kept() -> None:
    document = {
        "model": "meta-textgeneration-llama-3-1-8b",
        "task": "chatt",
        "training": {"instance_type": "g5", "fallback_instance_types": ["ml.g5.12xlarge", 3], "max_runtime_hours": 2},
        "template": {"prompt": "a"},
        "tags": {"team": "a", "a#": "b"},
        "hyperparameters": {"epoch": [1], "seed": 3},
        "endpoint": None,
        "validation_fraction": 1,
    }
    request, findings = read_request(json.dumps(document).encode())
    assert {finding.field for finding in findings} == {
        "task",
        "training.instance_type",
        "training.fallback_instance_types",
        "template.completion",
        "tags.a#",
        "hyperparameters.epoch",
        "endpoint",
        "validation_fraction",
    }
    assert request.model == "meta-textgeneration-llama-3-1-8b"
    assert request.training.max_runtime_hours == 2
    assert (request.tags, request.hyperparameters) == ({"team": "a"}, {"seed": 3})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(RunRequest.model_fields)) | st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_ends_in_a_request_and_findings(document: Any) -> None:
    request, findings = read_request(json.dumps(document).encode())
    again, left = read_request(request.model_dump_json().encode())
    assert (again, left) == (request, [])
    assert all(finding.message and finding.fix for finding in findings)


@given(st.binary(max_size=60))
def test_any_bytes_end_in_a_request_and_findings(body: bytes) -> None:
    request, findings = read_request(body)
    assert request == RunRequest() or not findings or body.strip().startswith(b"{")


def test_a_field_of_several_types_is_refused_once_with_all_of_them() -> None:
    _, (finding,) = read_request(b'{"endpoint": {"ttl_hours": []}}')
    assert finding.field == "endpoint.ttl_hours"
    assert finding.message == 'run.json: endpoint.ttl_hours must be a number or "never".'


def test_a_refused_name_and_a_refused_value_have_different_messages() -> None:
    _, (name, value) = read_request(b'{"tags": {"a#": "b", "team": "#"}}')
    assert name.message.startswith("run.json: the name of tags.a# must match the pattern")
    assert value.message.startswith("run.json: tags.team must match the pattern")


def test_an_unknown_field_like_no_other_is_refused_with_all_names() -> None:
    _, (finding,) = read_request(b'{"zzz": 1}')
    assert "'zzz'" in finding.message
    assert all(f"{name}, " in finding.fix for name in list(RunRequest.model_fields)[:-1])


@pytest.mark.parametrize("name", ["faq-base", "faq-candidate", "FAQ-Base"])
def test_an_endpoint_cannot_have_the_name_of_a_temporary_one(name: str) -> None:
    (finding,) = read_request(json.dumps({"endpoint": {"name": name}}).encode())[1]
    assert finding.field == "endpoint.name"
    assert "must not end in -base or -candidate" in finding.message


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"training": {"max_cost_usd": 1e306}}, "training.max_cost_usd"),
        ({"endpoint": {"ttl_hours": 1e306}}, "endpoint.ttl_hours"),
        (
            {"endpoint": {"autoscaling": {"max_instances": 2, "invocations_per_instance": 10**12}}},
            "endpoint.autoscaling",
        ),
    ],
)
def test_every_number_has_an_upper_bound(document: Any, field: str) -> None:
    (finding,) = read_request(json.dumps(document).encode())[1]
    assert finding.field.startswith(field)


@pytest.mark.parametrize(("fields", "more"), [(22, "2"), (5000, "4,980")])
def test_of_many_wrong_fields_the_first_are_listed_and_the_others_counted(fields: int, more: str) -> None:
    _, findings = read_request(json.dumps({f"field {number}": 1 for number in range(fields)}).encode())
    assert len(findings) == 21
    assert findings[-1].message == f"run.json has {more} more fields that cannot be used."
    assert (findings[-1].field, findings[-1].fix) == ("", "Fix those above first.")


@pytest.mark.parametrize(
    ("fields", "last"), [(20, "'field 19'"), (21, "run.json has 1 more field that cannot be used.")]
)
def test_as_many_wrong_fields_as_are_listed_are_not_counted(fields: int, last: str) -> None:
    _, findings = read_request(json.dumps({f"field {number}": 1 for number in range(fields)}).encode())
    assert len(findings) == fields
    assert last in findings[-1].message


def test_a_required_field_of_the_wrong_type_is_refused_once_and_keeps_the_findings_of_others() -> None:
    request, findings = read_request(b'{"task": "chatt", "template": {"prompt": 7, "completion": "b"}}')
    assert [(finding.field, finding.message) for finding in findings] == [
        ("task", "run.json: task must be one of auto, chat, instruction, domain_adaptation."),
        ("template.prompt", "run.json: template.prompt must be text."),
    ]
    assert request == RunRequest()


def test_a_run_json_that_is_too_large_is_not_parsed() -> None:
    (finding,) = read_request(b"[" * 262_145)[1]
    assert finding.message == "run.json is larger than 262,144 bytes."
    assert finding.field == ""
    assert "the data belongs in files" in finding.fix
    assert read_request(b'{"model": "m"}'.ljust(262_144)) == (RunRequest(model="m"), [])


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"model": }', "line 1, column 11: expected a value"),
        (b'{"a": 1\n "b": 2}', "line 2, column 2: expected ','"),
        (b"{a: 1}", "line 1, column 2: expected a name in double quotes"),
        (b'\xef\xbb\xbf{"model": }', "line 1, column 11: expected a value"),
    ],
)
def test_broken_json_is_shown_where_it_breaks_with_what_was_expected(body: bytes, where: str) -> None:
    _, (finding,) = read_request(body)
    assert finding.fix == f"Fix the JSON: {where}."


def test_a_list_that_is_too_long_is_refused_with_its_limit() -> None:
    _, (finding,) = read_request(json.dumps({"training": {"fallback_instance_types": ["ml.g5.xlarge"] * 6}}).encode())
    assert finding.message == "run.json: training.fallback_instance_types must have at most 5 items."


def test_a_choice_and_a_missing_part_are_explained() -> None:
    _, found = read_request(b'{"task": "chatt", "template": {"prompt": "a"}}')
    messages = {finding.field: finding.message for finding in found}
    assert "must be one of auto, chat, instruction, domain_adaptation" in messages["task"]
    assert messages["template.completion"].endswith("is required.")
