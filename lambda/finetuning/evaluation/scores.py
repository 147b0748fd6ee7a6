"""Scores an answer against its reference, and detects unusable answers."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rapidfuzz.distance import LCSseq

from finetuning.evaluation.results import Measure, Problem, Scores

MIN_LOOP_UNITS = 20
"""In a shorter text, repetition is normal. A unit is a word of up to 8 characters, a punctuation mark, or a character
of a text without spaces."""

LOOP_SHARE = 0.3
"""The share of an answer that one phrase fills, without a break, before the answer counts as a loop."""

REPEATED_SHARE = 0.6
"""The share of six-unit sequences that occurred before. Code, tables and lists of real texts reach 0.5."""

MIN_BLANK_LENGTH, BLANK_SHARE = 40, 1 / 3
"""A longer answer of which less than this share can be seen counts as empty. Of 3,645 excerpts of Python's libraries,
which are deeply indented, 5 are below it."""

MAX_LABEL_WORDS = 3
MIN_LETTERS = 10
"""Fewer letters do not show in which script a text is written."""

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_UNIT = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]{{1,8}}|[^\w\s]")
_ITEM_NUMBER = re.compile(r"^[ \t]*[0-9]{1,6}[.)](?=\s)", re.MULTILINE)
_MAX_UNITS = 512
_JOINED_SCRIPTS = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}


def words(text: str) -> list[str]:
    """Lower-cased words without punctuation; single characters in Chinese and Japanese, which do not separate words."""
    return _WORD.findall(text.lower())


def score(answer: str, reference: str) -> Scores:
    """ROUGE-L as defined by Lin (ACL 2004) with β = 1: the F-measure of the longest common subsequence of words.

    There is no stemming. The same words in the same order are an exact match.
    """
    actual, expected = words(answer), words(reference)
    common = LCSseq.similarity(actual, expected)
    document = _document(reference)
    return Scores(
        rouge_l=round(2 * common / (len(actual) + len(expected)), 3) if common else 0.0,
        exact_match=float(actual == expected),
        json_fields=None if document is None else _equal_fields(_document(answer), document),
    )


def measure_of(references: Sequence[str]) -> Measure:
    """What to compare models by: JSON fields if every reference is a JSON object or array, accuracy if the references
    are labels (up to three words, each used twice on average), ROUGE-L otherwise.
    """
    if not references:
        return "ROUGE-L"
    if all(_document(reference) is not None for reference in references):
        return "JSON fields"
    labels = {tuple(words(reference)) for reference in references}
    if len(labels) * 2 <= len(references) and max(map(len, labels)) <= MAX_LABEL_WORDS:
        return "accuracy"
    return "ROUGE-L"


def problem_of(answer: str, reference: str | None = None) -> Problem | None:
    """What makes an answer unusable whatever the prompt; None for a readable answer."""
    if _is_blank(answer.strip()):
        return "empty"
    if _is_loop(answer):
        return "repetitive"
    scripts = {script_of(text) for text in (answer, reference or answer)} - {None}
    return "wrong script" if len(scripts) > 1 else None


def script_of(text: str) -> str | None:
    """The script of most letters, named as in Unicode: "LATIN", "CYRILLIC", "CJK" …; None with too few letters."""
    found = Counter(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())
    if found.total() < MIN_LETTERS:
        return None
    script = found.most_common(1)[0][0]
    return _JOINED_SCRIPTS.get(script, script)


def _is_blank(text: str) -> bool:
    """True for nothing, and for a few letters in a field of spaces: a training that diverged writes that."""
    visible = sum(not letter.isspace() for letter in text)
    return not visible or (len(text) >= MIN_BLANK_LENGTH and visible < len(text) * BLANK_SHARE)


def _is_loop(answer: str) -> bool:
    units = _UNIT.findall(_ITEM_NUMBER.sub("", answer.lower()))[-_MAX_UNITS:]
    if len(units) < MIN_LOOP_UNITS:
        return False
    covered = _longest_repetition(units)
    if covered >= MIN_LOOP_UNITS and covered >= len(units) * LOOP_SHARE:
        return True
    sequences = [tuple(units[i : i + 6]) for i in range(len(units) - 5)]
    return len(set(sequences)) <= len(sequences) * (1 - REPEATED_SHARE)


def _longest_repetition(units: Sequence[str]) -> int:
    """The most units that repetitions of one phrase cover without a break: at least 3 of a short, 2.5 of a long one."""
    longest = 0
    for period in range(1, len(units) * 2 // 5 + 1):
        enough = period * (2 if period < 8 else 1.5)
        equal = 0
        for earlier, later in zip(units, units[period:], strict=False):
            equal = equal + 1 if earlier == later else 0
            if equal >= enough:
                longest = max(longest, equal + period)
    return longest


def _document(text: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or array that the text is; None for any other text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _equal_fields(actual: dict[str, Any] | list[Any] | None, expected: dict[str, Any] | list[Any]) -> float:
    """The share of keys (of positions, in an array) of either document that have the same value in both."""
    if type(actual) is not type(expected):
        return 0.0
    ours, theirs = (dict[Any, Any](each if isinstance(each, dict) else enumerate(each)) for each in (actual, expected))
    names = ours.keys() | theirs.keys()
    missing = object()
    same = sum(ours.get(name, missing) == theirs.get(name, missing) for name in names)
    return round(same / len(names), 3) if names else 1.0
