"""The saved queries ask for fields that the functions' lines have."""

import io
import json
import re
from typing import Any

import pytest

from finetuning.aws.sagemaker import SageMaker
from finetuning.errors import DatasetRefused
from finetuning.handlers import clean_up_run, plan_run, report_failure, sweep_endpoints
from finetuning.handlers.step import Payload, logger, step
from finetuning.operations.run import Run
from finetuning.runs.expiry import lifetime_tags
from finetuning_cdk.constructs.log_queries import QUERIES, LogQuery
from tests.builders.aws import FakeSageMaker
from tests.builders.datasets import any_chat_rows, as_lines
from tests.builders.handlers import AnyContext, invoke, log_lines
from tests.builders.stage import Stage, run_steps

INSIGHTS = {
    *("fields", "filter", "sort", "limit", "stats", "by", "as", "and", "or", "like", "asc", "desc"),
    *("ispresent", "max", "avg", "sum", "count", "latest"),
}
"""The words of the query language that the queries use."""


def fields_of(query: LogQuery) -> set[str]:
    """The names in the query that are no words of the language, not Insights' own (`@…`) and not made by the query."""
    text = re.sub(r'"[^"]*"|/[^/]*/', "", query.text)
    made = set(re.findall(r"\bas (\w+)", text))
    return set(re.findall(r"(?<![@\w.])[A-Za-z_][\w.]*", text)) - made - INSIGHTS


def lookup(line: dict[str, Any], path: str) -> Any:
    """The value at a path as Insights flattens JSON: `error.code`, `StepDuration.0`."""
    value: Any = line
    for key in path.split("."):
        if isinstance(value, list):
            value = value[int(key)] if int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


@pytest.fixture
def lines(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> dict[str, list[dict[str, Any]]]:
    """What the functions log of a run that is refused, of a defect and of a sweep, by the step that logs it."""
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    with pytest.raises(DatasetRefused) as refused:
        run_steps(stage, **{"data.jsonl": as_lines([*any_chat_rows(40), b"{"])})
    monkeypatch.setattr(report_failure, "sagemaker", lambda: None)
    monkeypatch.setattr(report_failure, "expire_failed", lambda *_: [])
    for module in (report_failure, clean_up_run):
        monkeypatch.setattr(module, "remove_unfinished", lambda *_: [])
        monkeypatch.setattr(module, "notify", lambda *_: None)
    upload = stage.upload_run({"accept_eula": True}, **{"data.jsonl": as_lines(any_chat_rows(40))})
    cause = json.dumps({"errorMessage": str(refused.value)})
    failed = {**upload, "state": "FinishDataset", "error": {"Error": "DatasetRefused", "Cause": cause}}
    report_failure.handler(failed, AnyContext())

    @step
    def defective(run: Run, event: Payload) -> Payload:
        raise KeyError("task")

    with pytest.raises(KeyError):
        defective({"run_id": "faq-0123abcd"}, AnyContext())
    sagemaker = FakeSageMaker()
    run_id = invoke(plan_run, upload)["run_id"]
    sagemaker.add_endpoint(run_id=run_id, hours_old=9, tags=lifetime_tags(8, "never"))
    monkeypatch.setattr(sweep_endpoints, "sagemaker", lambda: SageMaker(sagemaker))
    monkeypatch.setattr(sweep_endpoints, "notify", lambda *_: None)
    invoke(sweep_endpoints, period_minutes=15)
    by_step: dict[str, list[dict[str, Any]]] = {}
    for line in log_lines(log.getvalue()) + log_lines(capsys.readouterr().out):
        by_step.setdefault(line.get("step", ""), []).append(line)
    return by_step


def test_every_field_a_query_uses_is_one_that_its_functions_log(lines: dict[str, list[dict[str, Any]]]) -> None:
    for query in QUERIES:
        steps = [re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in query.of]
        read = [line for name, written in lines.items() if not steps or name in steps for line in written]
        for field in fields_of(query):
            assert any(lookup(line, field) is not None for line in read), f"{query.name}: no function logs {field}"


def test_every_text_a_query_looks_for_is_one_that_its_functions_log(lines: dict[str, list[dict[str, Any]]]) -> None:
    logged = {line.get("message") for written in lines.values() for line in written}
    wanted = {text for query in QUERIES for text in re.findall(r'message = "([^"]+)"', query.text)}
    assert wanted
    assert wanted <= logged


def test_a_query_has_a_place_for_each_of_its_parameters_and_a_parameter_for_each_place() -> None:
    for query in QUERIES:
        assert set(re.findall(r"{{(\w+)}}", query.text)) == set(query.parameters)
