"""Which answers to read first."""

from collections.abc import Sequence

from finetuning.evaluation.results import Row

ALL_SHOWN = 3
"""So many answers are shown without choosing."""


def examples(rows: Sequence[Row]) -> tuple[list[tuple[str, Row]], list[Row]]:
    """(what it shows, row) of the rows to read first, and all others.

    The rows are those with the largest, the median and the smallest gain over the base model; without it, score.
    """
    ranked = sorted((row for row in rows if row.tuned.scores), key=_gain, reverse=True)
    if len(rows) <= ALL_SHOWN or len(ranked) < ALL_SHOWN:
        return [("", row) for row in rows[:ALL_SHOWN]], list(rows[ALL_SHOWN:])
    titles = {0: "most gained", len(ranked) // 2: "median", len(ranked) - 1: "least gained"}
    first = [(title, ranked[place]) for place, title in titles.items()]
    return first, [row for row in rows if all(row is not shown for _, shown in first)]


def _gain(row: Row) -> float:
    tuned = row.tuned.scores.rouge_l if row.tuned.scores else 0.0
    return tuned - (row.base.scores.rouge_l if row.base and row.base.scores else 0.0)
