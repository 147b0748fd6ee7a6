"""How sure a difference of two means is: a bootstrap interval over the prompts."""

import random
from collections.abc import Sequence
from math import ceil, sqrt
from statistics import NormalDist, fmean, stdev

RESAMPLES = 2_000
CONFIDENCE = 0.95
POWER = 0.8
MIN_PROMPTS = 8
"""With fewer prompts the interval is too narrow: two equal models then differ in more than 6 % of the comparisons."""

_NORMAL = NormalDist()


def mean_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """Bounds of the mean with 95 % confidence, the same for the same values; None for fewer than `MIN_PROMPTS`.

    `differences`: tuned score - base score, one for each prompt. The percentile bootstrap, expanded as in Hesterberg,
    "What Teachers Should Know About the Bootstrap" (The American Statistician 69, 2015), section 4.1: without it the
    interval of a small sample is too narrow.
    """
    count = len(differences)
    if count < MIN_PROMPTS:
        return None
    generator = random.Random(count)  # noqa: S311  # repeatable, not secret
    means = sorted(fmean(generator.choices(differences, k=count)) for _ in range(RESAMPLES))
    tail = _NORMAL.cdf(-sqrt(count / (count - 1)) * _student_quantile(count - 1))
    cut = int(tail * RESAMPLES)
    return means[cut], means[-1 - cut]


def prompts_to_show(difference: float, differences: Sequence[float]) -> int:
    """How many prompts show a true `difference` of the means four times in five, if answers scatter as these do."""
    scatter = stdev(differences) if len(differences) > 1 else 1.0
    return max(MIN_PROMPTS, ceil(((_upper_quantile() + _NORMAL.inv_cdf(POWER)) * scatter / difference) ** 2))


def _upper_quantile() -> float:
    return _NORMAL.inv_cdf((1 + CONFIDENCE) / 2)


def _student_quantile(freedom: int) -> float:
    """Student's t quantile, by Abramowitz and Stegun 26.7.5: within 0.002 from 7 degrees of freedom on."""
    z = _upper_quantile()
    first, *others = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return first + sum(term / float(freedom**power) for power, term in enumerate(others, start=1))
