"""Counts tokens: with the model's vocabulary, or by a factor for the script where the vocabulary is not installed.

The vocabulary of Llama 3 is Meta's and not part of this repository: `finetuning_cdk.vocabulary` takes it from a package
on PyPI, for the layer of the functions and for this machine.
"""

import re
from binascii import a2b_base64
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Protocol

import orjson

from finetuning.datasets.limits import COUNTED_WHOLE, ENCODED_AT_ONCE
from finetuning.datasets.preparation import Preparation
from finetuning.datasets.scripts import LATIN, script_of
from finetuning.datasets.templates import rendered
from finetuning.jumpstart.catalogue import FAMILIES
from finetuning.jumpstart.family import Task, Vocabulary

EXCERPT, EXCERPTS = 1000, 16
"""Characters of each excerpt by which a very long text is estimated, and their number."""

BYTES_PER_TOKEN: Mapping[str, float] = {
    LATIN: 3.8, "Cyrillic": 4.6, "Greek": 4.2, "Hebrew": 2.0, "Arabic": 4.1, "Devanagari": 4.3, "Thai": 4.6,
    "Hangul": 3.8, "Japanese": 4.0, "Han": 3.5, "Georgian": 1.6, "Armenian": 1.3, "Tamil": 2.1,
}  # fmt: skip
"""Bytes of UTF-8 per token of Llama 3, by script: means of real texts, as `make bench-tokens` prints them. In Latin
script they go from 4.4 (English) over 3.5 (German) to 2.5 (JSON with numbers)."""

OTHER_SCRIPT = 2.3

ROW_ENDS = 2
"""Tokens around a row that is not a dialog, where it begins and ends. It is assumed that the training script adds both.
"""

SPECIAL = re.compile(r"<\|\w+\|>")


class TokenCounter(Protocol):
    """Counts the tokens of a text in which a family's special tokens are spelled out."""

    def count(self, text: str) -> int: ...


class VocabularyCounter:
    """Counts with a vocabulary, by tiktoken."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        import tiktoken  # with the vocabulary it takes 50 MB, and most steps count no tokens

        document = files(vocabulary.package).joinpath("tokenizer.model").read_bytes()
        ranks = {a2b_base64(token): int(rank) for token, rank in map(bytes.split, document.splitlines())}
        special = {token: len(ranks) + number for number, token in enumerate(vocabulary.special_tokens)}
        encoding = tiktoken.Encoding(
            vocabulary.package, pat_str=vocabulary.pattern, mergeable_ranks=ranks, special_tokens=special
        )
        self._special, self._encode = frozenset(special), encoding.encode

    def count(self, text: str) -> int:
        pieces = (text[at : at + ENCODED_AT_ONCE] for at in range(0, len(text), ENCODED_AT_ONCE))
        return sum(len(self._encode(piece, allowed_special=self._special, disallowed_special=())) for piece in pieces)


class FactorCounter:
    """Divides the bytes of a text by those of a token in its script."""

    def count(self, text: str) -> int:
        parts = SPECIAL.split(text)
        said = "".join(parts)
        script = script_of(said[len(said) // 2 :].encode())  # a dialog begins with a system text in English
        return len(parts) - 1 + assumed_tokens(len(said.encode()), script)


def assumed_tokens(size: float, script: str = LATIN) -> int:
    """The tokens of so many bytes, by a factor for the script alone."""
    return round(size / BYTES_PER_TOKEN.get(script, OTHER_SCRIPT))


@cache
def counter_for(family: str) -> TokenCounter:
    """The counter for the models of a family."""
    vocabulary = _installed_vocabulary(family)
    return VocabularyCounter(vocabulary) if vocabulary else FactorCounter()


def how_counted(family: str) -> str:
    """What `counter_for` counts with, for a report."""
    if _installed_vocabulary(family):
        return f"counted with the tokenizer of {family}"
    return f"bytes divided by a factor for the script, because the vocabulary of {family} is not installed"


def _installed_vocabulary(family: str) -> Vocabulary | None:
    vocabulary = FAMILIES[family].vocabulary
    return vocabulary if vocabulary and all(map(find_spec, ("tiktoken", vocabulary.package))) else None


def count_by_excerpts(counter: TokenCounter, text: str) -> int:
    """An estimate for a text of millions of characters, by excerpts that are evenly spread over it."""
    if len(text) <= EXCERPT * EXCERPTS:
        return counter.count(text)
    starts = range(0, len(text) - EXCERPT + 1, (len(text) - EXCERPT) // (EXCERPTS - 1))
    counted = sum(counter.count(text[start : start + EXCERPT]) for start in starts)
    return counted * len(text) // (len(starts) * EXCERPT)


def count_row(preparation: Preparation, row: bytes) -> int:
    """The tokens of a training row, or of a line of a text, as the model sees it in training."""
    counter = counter_for(preparation.family)
    if preparation.is_text:
        text = row.decode().rstrip("\r\n")
    else:
        text = rendered(orjson.loads(row), preparation.template, preparation.family)
    ends = 0 if preparation.task is Task.CHAT else ROW_ENDS
    return ends + (counter.count(text) if len(row) <= COUNTED_WHOLE else count_by_excerpts(counter, text))
