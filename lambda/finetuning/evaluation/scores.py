"""Scores an answer against its reference, and detects unusable answers."""

import re
from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import LCSseq

from finetuning.evaluation.results import Problem, Scores

MIN_REPETITION_LENGTH = 20
"""Words (or characters, in a text without spaces). In a shorter text, repetition is normal."""

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Lower-cased words without punctuation; single characters in Chinese and Japanese, which do not separate words."""
    return _WORD.findall(text.lower())


def score(answer: str, reference: str) -> Scores:
    """ROUGE-L as defined by Lin (ACL 2004) with β = 1: the F-measure of the longest common subsequence of words.

    There is no stemming. The same words in the same order are an exact match.
    """
    actual, expected = words(answer), words(reference)
    common = LCSseq.similarity(actual, expected)
    return Scores(
        rouge_l=round(2 * common / (len(actual) + len(expected)), 3) if common else 0.0,
        exact_match=float(actual == expected),
    )


def problem_of(answer: str) -> Problem | None:
    """What makes an answer unusable whatever the prompt; None for a readable answer."""
    text = answer.strip()
    if not text:
        return "empty"
    units = text.split()
    if len(units) == 1:
        repetitive = _dominates(text)
    else:
        repetitive = _dominates(units) or (len(units) >= MIN_REPETITION_LENGTH and len(set(units)) < len(units) / 10)
    return "repetitive" if repetitive else None


def _dominates(units: Sequence[str]) -> bool:
    """True if one word or character makes up more than half of the text."""
    return len(units) >= MIN_REPETITION_LENGTH and Counter(units).most_common(1)[0][1] > len(units) / 2
