"""Two plain measures of how much an answer resembles its reference, and the signs of an answer that is broken."""

import re
from collections import Counter
from collections.abc import Sequence

from finetuning.evaluation.report import Problem, Scores

MAX_WORDS = 2_000
"""Words of an answer or reference that count: the common subsequence takes time in the product of the lengths."""

REPETITION_FROM = 20
"""Words (or characters, in a text without spaces) below which repetition says nothing."""

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Lower-cased words without punctuation; Chinese and Japanese, which do not space words, by character."""
    return _WORD.findall(text.lower())[:MAX_WORDS]


def score(answer: str, reference: str) -> Scores:
    """Word overlap regardless of order (F1) and in order (ROUGE-L's F1), rounded to three digits."""
    given, wanted = words(answer), words(reference)
    shared = sum((Counter(given) & Counter(wanted)).values())
    in_order = _common_subsequence(given, wanted)
    return Scores(
        token_f1=_f1(shared, len(given), len(wanted)),
        rouge_l=_f1(in_order, len(given), len(wanted)),
    )


def problem_of(answer: str) -> Problem | None:
    """What makes an answer useless whatever was asked, None for one that can be read."""
    text = answer.strip()
    if not text:
        return "empty"
    units = text.split()
    if len(units) == 1:
        looping = _dominates(text)
    else:
        looping = _dominates(units) or (len(units) >= REPETITION_FROM and len(set(units)) < len(units) / 10)
    return "repetitive" if looping else None


def _dominates(units: Sequence[str]) -> bool:
    """Whether one word or character makes up more than half of the text."""
    return len(units) >= REPETITION_FROM and Counter(units).most_common(1)[0][1] > len(units) / 2


def _f1(shared: int, given: int, wanted: int) -> float:
    return round(2 * shared / (given + wanted), 3) if given and wanted else 0.0


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    lengths = [0] * (len(b) + 1)
    for unit in a:
        diagonal = 0
        for column, other in enumerate(b, start=1):
            above = lengths[column]
            lengths[column] = diagonal + 1 if unit == other else max(above, lengths[column - 1])
            diagonal = above
    return lengths[-1]
