"""Uploads made to exhaust a function: each run is refused, names its file and the reason, and no function is killed.

`make bombs` reads the same files in their full size. Here they are as large as runs of seconds allow.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.builders import bombs
from tests.rehearsal.support.product import SETTINGS, Product, any_chats
from tests.rehearsal.support.stacks import any_name

SIDE_BY_SIDE = 6


@dataclass(frozen=True)
class Case:
    """A hostile file, or a hostile run.json beside a good one, and how its run ends."""

    code: str
    says: str
    bomb: Callable[[Path], Path] | None = None
    run_json: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "blanks in a list": Case("DATASET_REFUSED", "JSON_INVALID 1 (first: a.jsonl line 1)", bombs.blanks_in_a_list),
    "brackets and blanks": Case("DATASET_REFUSED", "JSON_INVALID 1 (first: a.jsonl line 4)", bombs.brackets_and_blanks),
    "an unclosed string of escapes": Case(
        "DATASET_REFUSED", "JSON_INVALID 1 (first: a.jsonl line 4)", bombs.unclosed_escapes
    ),
    "an invalid line of 16 MB": Case(
        "DATASET_REFUSED", "JSON_INVALID 1 (first: a.jsonl line 4)", bombs.an_invalid_line_with_a_long_string
    ),
    "an array of large rows": Case(
        "DATASET_REFUSED", "(first: a.json.gz line 1, element 21)", partial(bombs.an_array_of_large_rows, rows=20)
    ),
    "a CSV record of many lines": Case(
        "DATASET_REFUSED", "a.csv is incomplete", partial(bombs.a_csv_record_of_many_lines, characters=60_000)
    ),
    "an endless string": Case(
        "DATASET_REFUSED",
        "LINE_TOO_LONG 1 (first: a.json.gz line 1, element 1)",
        partial(bombs.an_endless_string, megabytes=100),
    ),
    "many invalid lines": Case(
        "DATASET_REFUSED",
        "500,000 of 500,005 lines cannot be used",
        partial(bombs.many_invalid_lines, lines=500_000),
    ),
    "a million keys": Case("DATASET_REFUSED", "LINE_TOO_LONG 1 (first: a.jsonl line 1)", bombs.many_keys),
    "a Parquet dictionary": Case("DATASET_REFUSED", "a.parquet", bombs.a_parquet_dictionary),
    "a Parquet list of one value": Case(
        "DATASET_REFUSED",
        "Row group 1 of the Parquet file, of 1 row, has lists",
        partial(bombs.a_parquet_list_of_one_value, values=50_000_000),
    ),
    "thousands of Parquet columns": Case(
        "DATASET_REFUSED", "10,000 columns; the limit is 2,000", partial(bombs.many_parquet_columns, columns=10_000)
    ),
    "a thousand unknown fields": Case(
        "RUN_REFUSED", "unknown0", run_json={f"unknown{number}": 1 for number in range(1000)}
    ),
    "a limit of 1e306 USD": Case("RUN_REFUSED", "max_cost_usd", run_json={"training": {"max_cost_usd": 1e306}}),
    "the name of a temporary endpoint": Case(
        "RUN_REFUSED", "endpoint.name", run_json={"endpoint": {"name": "support-candidate"}}
    ),
}


@pytest.fixture(scope="module")
def ended(product: Product, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """status.json of each run at its end."""

    def run(case: Case) -> dict[str, Any]:
        name = any_name("hostile")
        if case.bomb:
            path = case.bomb(tmp_path_factory.mktemp("bomb"))
            product.put(f"runs/{name}/{path.name}", path.read_bytes())
        else:
            product.put(f"runs/{name}/chats.jsonl", b"".join(any_chats()))
        run_json = SETTINGS | {"task": "auto"} | case.run_json
        return product.ended(product.put(f"runs/{name}/run.json", json.dumps(run_json).encode()).run_id)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return dict(zip(CASES, pool.map(run, CASES.values()), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_upload_is_refused_by_name(ended: dict[str, dict[str, Any]], name: str) -> None:
    status, case = ended[name], CASES[name]
    error = status["error"]
    assert (status["state"], error["code"]) == ("failed", case.code), error["message"]
    assert case.says in json.dumps(error)
    assert error["fix"]
    assert len(json.dumps(status)) < 100_000


@pytest.mark.parametrize("name", CASES)
def test_no_function_is_killed_and_nothing_is_trained(
    product: Product, ended: dict[str, dict[str, Any]], name: str
) -> None:
    run_id = ended[name]["run_id"]
    assert product.errors_of(run_id) <= {"RunRefused", "DatasetRefused"}
    assert product.jobs_of(run_id) == {}


def test_an_execution_with_hostile_terms_of_deployment_is_refused(product: Product) -> None:
    run_id = product.submit(b"".join(any_chats()), accept_eula=False)
    product.ended(run_id)
    (execution,) = product.executions_of(run_id)
    api = product.emulator.client("stepfunctions")
    given = json.loads(api.describe_execution(executionArn=execution["executionArn"])["input"])
    again = api.start_execution(stateMachineArn=product.state_machine, input=json.dumps(given | {"redeploy": "x"}))
    ended = product.execution_ended(again)
    assert (ended["status"], ended["error"]) == ("FAILED", "RUN_REFUSED")
    assert "These terms of a deployment cannot be used: they must be an object." in ended["cause"]
