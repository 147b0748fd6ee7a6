"""`make bench-verdicts`: how often the verdict is wrong, in 1,000 seeded comparisons of simulated models.

Both models answer the same 200 prompts. Their scores differ by as much as `SCATTER` from prompt to prompt: for answers
that scatter more, `prompts_to_show` tells the user how many prompts are needed.
"""

import random
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from finetuning.evaluation.intervals import mean_interval

COMPARISONS, PROMPTS = 1_000, 200
SCATTER, GAIN = 0.2, 0.05
MOST_FALSE_ALARMS, LEAST_FOUND = 0.05 + 0.015, 0.90


def verdict(gain: float, seed: int) -> int:
    """1, 0 or -1: helped, no measurable change, worse, for a model whose true gain is `gain`."""
    generator = random.Random(seed)  # noqa: S311  # repeatable, not secret
    interval = mean_interval([generator.gauss(gain, SCATTER) for _ in range(PROMPTS)])
    assert interval
    low, high = interval
    return (low > 0) - (high < 0)


def share(gain: float, *wanted: int) -> float:
    """The share of the comparisons with one of these verdicts."""
    with ProcessPoolExecutor() as processes:
        found = list(processes.map(partial(verdict, gain), range(COMPARISONS), chunksize=25))
    return sum(each in wanted for each in found) / COMPARISONS


def main() -> int:
    alarms, found = share(0.0, 1, -1), share(GAIN, 1)
    print(f"a model compared with itself is called helped or worse: {alarms:.1%} (at most {MOST_FALSE_ALARMS:.1%})")
    print(f"a true gain of {GAIN:.2f} on {PROMPTS} prompts is called helped: {found:.1%} (at least {LEAST_FOUND:.0%})")
    return int(alarms > MOST_FALSE_ALARMS or found < LEAST_FOUND)


if __name__ == "__main__":
    sys.exit(main())
