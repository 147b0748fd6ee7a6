"""How much an answer resembles its reference, and the signs of an answer that is broken."""

import re
from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import LCSseq

from finetuning.evaluation.results import Problem, Scores

REPETITION_FROM = 20
"""Words (or characters, in a text without spaces) below which repetition says nothing."""

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Lower-cased words without punctuation; Chinese and Japanese, which do not space words, by character."""
    return _WORD.findall(text.lower())


def score(answer: str, reference: str) -> Scores:
    """ROUGE-L as Lin defined it (ACL 2004) with β = 1: the F-measure of the longest common subsequence of words.

    Words are compared as they stand: no stemming. Equal words in equal order are an exact match.
    """
    given, wanted = words(answer), words(reference)
    common = LCSseq.similarity(given, wanted)
    return Scores(
        rouge_l=round(2 * common / (len(given) + len(wanted)), 3) if common else 0.0,
        exact_match=float(given == wanted),
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
