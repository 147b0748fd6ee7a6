"""docs/limits.md names every limit with the value it has."""

from pathlib import Path

import pytest

from finetuning import errors
from finetuning.datasets import conversion, json_errors, limits, shard_result, templates
from finetuning.runs import run_json

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")
WRITTEN = {
    "MAX_RECORD": "16 MiB",
    "BATCH_BYTES": "32 MiB",
    "COUNTED_WHOLE": "64 KiB",
    "MAX_INFLATED": "16 GiB",
    "EXPANSION_ALLOWED": "1 GiB",
    "COLUMN_BUFFER": "8 MiB",
    "COLUMN_BUFFERS": "256 MiB",
    "MAX_BATCH_BYTES": "512 MiB",
    "MAX_ROW_GROUP": "320 MiB",
    "MAX_BYTES": "256 KiB",
    "MAX_TEMPLATE_BYTES": "64 KiB",
    "COMPARED_UNASKED": "128 MiB",
}
UNITS = {"KiB": 10, "MiB": 20, "GiB": 30}
INTERNAL = {"DENSE_BATCH", "SHORT_LINE", "REFUSED_KEPT"}
LIMITS = {
    name: value
    for module in (limits, errors)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, int)
} | {
    "MAX_ROUTES": conversion.MAX_ROUTES,
    "MAX_DEPTH": json_errors.MAX_DEPTH,
    "MAX_ERRORS": shard_result.MAX_ERRORS,
    "MAX_TEMPLATE_BYTES": templates.MAX_TEMPLATE_BYTES,
    "MAX_BYTES": run_json.MAX_BYTES,
    "MAX_FINDINGS": run_json.MAX_FINDINGS,
}


@pytest.mark.parametrize("name", sorted(LIMITS.keys() - INTERNAL - {"MAX_LOG_LINES"}))
def test_a_limit_is_documented_with_its_value(name: str) -> None:
    written = WRITTEN.get(name, f"{LIMITS[name]:,}")
    number, _, unit = written.partition(" ")
    assert int(number.replace(",", "")) << UNITS.get(unit, 0) == LIMITS[name]
    assert f"`{name}`, {written}" in DOCUMENT
