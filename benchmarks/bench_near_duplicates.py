"""`make bench-near`: how many planted near-duplicates are found, by their similarity, and how many others are taken for
some.

Texts are random words, edited as people do: a word replaced, added or left out. Their similarity is computed exactly.
"""

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from finetuning.datasets.near_duplicates import GRAM
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions, RowOptions

PAIRS = 10_000
BAR = 0.99
LEVELS = ((0.80, 1.0), (0.75, 0.80), (0.70, 0.75), (0.60, 0.70), (0.50, 0.60), (0.30, 0.50))

Pair = tuple[str, str]


def similarity(one: str, other: str) -> float:
    """The share of the sequences of eight bytes that both texts have, of those that either has."""
    first, second = (
        {text[at : at + GRAM] for at in range(len(text) - GRAM + 1)} for text in (one.encode(), other.encode())
    )
    return len(first & second) / len(first | second)


class Writer:
    """Writes texts of random words, and others that are like them."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - texts, not secrets
        letters = "etaoinshrdlucmfwypvbg"
        self._words = ["".join(self._chance.choices(letters, k=self._chance.randint(2, 9))) for _ in range(5000)]

    def text(self, words: int) -> str:
        return " ".join(self._chance.choices(self._words, k=words))

    def edited(self, text: str) -> Iterator[str]:
        """The text with one more word changed each time."""
        words = text.split()
        while True:
            at, word = self._chance.randrange(len(words)), self._chance.choice(self._words)
            words[at : at + self._chance.randint(0, 1)] = [word] * self._chance.randint(0, 1)
            yield " ".join(words)

    def pair(self, least: float, below: float = 1.0) -> Pair:
        """Two texts with a similarity of `least` or more, and less than `below`."""
        while True:
            text = self.text(self._chance.randint(30, 60))
            for edited in self.edited(text):
                found = similarity(text, edited)
                if least <= found < below and self._chance.random() < 0.5:
                    return text, edited
                if found < least:
                    break


def dialog(text: str) -> dict[str, list[dict[str, str]]]:
    """A row that says the text: its first half is asked, the other one answered."""
    half = len(text) // 2
    return {"messages": [{"role": "user", "content": text[:half]}, {"role": "assistant", "content": text[half:]}]}


def found_in(folder: Path, pairs: Sequence[Pair]) -> list[bool]:
    """Of each pair, whether one of the two was dropped from a data set of all."""
    path = folder / "data.jsonl"
    texts = [text for pair in zip(*pairs, strict=True) for text in pair]
    path.write_bytes(b"".join(orjson.dumps(dialog(text), None, orjson.OPT_APPEND_NEWLINE) for text in texts))
    options = DataOptions(validation_fraction=0, data=RowOptions(near_duplicates="drop"))
    prepare_files([path], folder / "out", options=options)
    rows = map(orjson.loads, (folder / "out" / "train" / "data.jsonl").read_bytes().splitlines())
    kept = {"".join(turn["content"] for turn in row["dialog"]) for row in rows}
    return [not {*pair} <= kept for pair in pairs]


def main() -> int:
    writer = Writer(seed=1)
    planted = [
        (level, writer.pair(*level)) for level in LEVELS for _ in range(PAIRS if level[0] == 0.8 else PAIRS // 5)
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = found_in(Path(folder), [pair for _, pair in planted])
    table = Table("Similarity", "Pairs", "Found")
    for level in LEVELS:
        of_level = [one for (each, _), one in zip(planted, found, strict=True) if each == level]
        table.add_row(f"{level[0]:.2f} to {level[1]:.2f}", f"{len(of_level):,}", f"{sum(of_level) / len(of_level):.1%}")
        if level[0] == 0.8:
            recall, right = sum(of_level) / len(of_level), sum(of_level)
        if level[0] == 0.3:
            wrong = sum(of_level) * PAIRS // len(of_level)
    Console().print(table)
    precision = right / (right + wrong)
    print(f"Recall at 0.8 and more: {recall:.4f}; precision beside as many pairs of 0.3 to 0.5: {precision:.4f}")
    return int(min(recall, precision) < BAR)


if __name__ == "__main__":
    sys.exit(main())
