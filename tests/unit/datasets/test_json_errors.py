"""The messages for lines that are not valid JSON."""

import orjson
import pytest

from finetuning.datasets.data_errors import DataError
from finetuning.datasets.json_errors import json_error


def error_of(text: str) -> DataError:
    with pytest.raises(orjson.JSONDecodeError) as refused:
        orjson.loads(text)
    return json_error(text.encode(), refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1 "b": 2}', "Invalid JSON at column 9: expected ',' or '}', found '\"'."),
        ('{"a": "say "hi" now"}', "Invalid JSON at column 13: expected ',' or '}', found 'hi'."),
        ('{"ä": "é" "b": 2}', "Invalid JSON at column 11: expected ',' or '}', found '\"'."),
        ('{"a" = 1}', "Invalid JSON at column 6: expected ':', found '='."),
        ("{“a”: 1}", "Invalid JSON at column 2: expected a name in double quotes, found '“'."),
        ('{"a": }', "Invalid JSON at column 7: expected a value, found '}'."),
        ('{"a":\x01 1}', "Invalid JSON at column 6: expected a value, found the character U+0001."),
        ('{"a": tru}', "Invalid JSON at column 7: expected a value, found 'tru'."),
        ("foo", "Invalid JSON at column 1: expected a value, found 'foo'."),
        ('{"a": 1,}', "Invalid JSON at column 8: no comma may come before a closing bracket."),
        ('{"a": 1} x', "Invalid JSON at column 10: there is more text after the end of the row."),
        ('{"a": "C:\\x"}', "Invalid JSON at column 10: a backslash in a text is written \\\\."),
        ('{"a": "b\tc"}', "Invalid JSON at column 9: a tab inside a text must be escaped."),
        ('{"a": 01}', "Invalid JSON at column 7: number with leading zero is not allowed."),
        (
            '{"a":\n 1\n "b": 3}\n',
            "Invalid JSON at line 3 of the row, column 2: expected ',' or '}', found '\"'.",
        ),
        ('{"messages": [\n', "The JSON is incomplete: the row ends before its last bracket or quote is closed."),
        ('{"a": "b', "The JSON is incomplete: the row ends before its last bracket or quote is closed."),
    ],
)
def test_invalid_json_is_reported_with_its_place_and_what_was_expected(text: str, message: str) -> None:
    error = error_of(text)
    assert (error.code, error.message) == ("JSON_INVALID", message)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"a": NaN}', "JSON_CONSTANT", "NaN is not a JSON value."),
        ('{"a": [1, -Infinity]}', "JSON_CONSTANT", "-Infinity is not a JSON value."),
        ("{'a': 1}", "PYTHON_LITERAL", "The row is written in Python's notation, which is not JSON."),
        ('{"a": None}', "PYTHON_LITERAL", "The row is written in Python's notation, which is not JSON."),
        ('{"a": "\\ud83d"}', "JSON_SURROGATE", "Half of a character (a lone surrogate, as in \\ud83d) at column 8."),
        ("[" * 1025 + "]" * 1025, "JSON_TOO_DEEP", "The JSON is nested more than 1,024 levels deep."),
        ('{"a": "b\0"}', "NUL", "Byte 9 is NUL."),
    ],
)
def test_common_causes_have_codes_of_their_own(text: str, code: str, message: str) -> None:
    error = error_of(text)
    assert (error.code, error.message) == (code, message)
