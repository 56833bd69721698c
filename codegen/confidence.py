"""Confidence intervals of 95 % for what is counted on a sample of pictures."""

from __future__ import annotations

import math

Z = 1.959963984540054
"""Standard normal quantile of 97.5 %."""

Interval = tuple[float, float]


def share_interval(hits: int, count: int) -> Interval:
    """Of a share, as Wilson has it.

    Wilson, Probable inference, the law of succession, and statistical inference, Journal of the
    American Statistical Association 22 (1927): the interval's ends are the shares whose normal
    approximation has the observed one at its edge.

    Args:
        hits: Pictures of which it is true.
        count: Pictures, at least one.

    Returns:
        Shares between 0 and 1.
    """
    share, z2 = hits / count, Z * Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def difference_interval(gained: int, lost: int, count: int) -> Interval:
    """Of the difference of two shares that were counted on the same pictures.

    Agresti and Min, Simple improved confidence intervals for comparing matched proportions,
    Statistics in Medicine 24 (2005): Wald's interval with half a picture added to each cell.

    Args:
        gained: Pictures that only the second one has right.
        lost: Pictures that only the first one has right.
        count: Pictures, at least one.

    Returns:
        The second share minus the first one, between -1 and 1.
    """
    b, c, n = gained + 0.5, lost + 0.5, count + 2
    middle = (b - c) / n
    half = Z * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return max(-1.0, middle - half), min(1.0, middle + half)
