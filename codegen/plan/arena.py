"""Offsets in the arena: tensors share bytes when they do not live at the same time.

A layer's output may also overlap an input that dies with it, if it starts at least the kernel's
safe distance below (diagonal memory optimisation): the kernel then writes only bytes that it has
read. For a depthwise layer that is nearly in place.

Finding the smallest arena is NP-hard in general; here a first-fit placement is improved by a
seeded local search that stops as soon as it meets the lower bound.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 4
_ROUNDS = 4000
_TRIED = 6
"""Tensors whose order the lower bound tries."""
_RUN = 3
"""Consecutive steps that the lower bound looks at together."""


@dataclass(frozen=True)
class Life:
    """A tensor to be placed.

    Attributes:
        name: Tensor name.
        size: Bytes.
        first: Index of the step that writes it.
        last: Index of the last step that reads it.
        below: For each input that may be overlapped, by name, the safe distance in bytes.
    """

    name: str
    size: int
    first: int
    last: int
    below: Mapping[str, int]


@dataclass(frozen=True)
class Gap:
    """A tensor must not begin strictly between ``low`` and ``high`` from where another does."""

    low: int
    high: int


def place(lives: Sequence[Life]) -> tuple[dict[str, int], int, int]:
    """Offsets of all tensors.

    Args:
        lives: The tensors; order does not matter to the result's validity.

    Returns:
        Offset by name, bytes of the arena, and the lower bound for it.
    """
    bound = lower_bound(lives)
    gaps = _gaps(lives)
    sizes = {life.name: life.size for life in lives}
    by_size = sorted(lives, key=lambda life: -life.size)
    backwards = sorted(lives, key=lambda life: -life.last)
    found = [_search(by_size, sizes, gaps, bound)]
    if _extent(found[0], sizes) > bound:
        # Tensors that slide down step by step must be placed from the last to the first.
        found.append(_search(backwards, sizes, gaps, bound))
    best = min(found, key=lambda offsets: _extent(offsets, sizes))
    return best, _extent(best, sizes), bound


def _search(
    start: Sequence[Life],
    sizes: Mapping[str, int],
    gaps: Mapping[str, Mapping[str, Gap]],
    bound: int,
) -> dict[str, int]:
    """The best placement that a local search finds which begins with the order ``start``."""
    order = [life.name for life in start]
    offsets = best = _first_fit(order, sizes, gaps)
    chance = random.Random(0)
    for _ in range(_ROUNDS):
        if _extent(best, sizes) <= bound or len(order) < 2:
            break
        trial = list(order)
        peak = max(order, key=lambda name: offsets[name] + sizes[name])
        moved = peak if chance.random() < 0.3 else chance.choice(trial)
        trial.remove(moved)
        trial.insert(chance.randrange(len(order)), moved)
        tried = _first_fit(trial, sizes, gaps)
        if _extent(tried, sizes) <= _extent(offsets, sizes):
            order, offsets = trial, tried
            best = min(best, offsets, key=lambda o: _extent(o, sizes))
    return best


def align(value: int) -> int:
    """The next multiple of the alignment."""
    return -(-value // ALIGNMENT) * ALIGNMENT


def _extent(offsets: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    return max((offset + sizes[name] for name, offset in offsets.items()), default=0)


def _gaps(lives: Sequence[Life]) -> dict[str, dict[str, Gap]]:
    """For each tensor the others it must keep away from, seen from the other's offset."""
    gaps: dict[str, dict[str, Gap]] = {life.name: {} for life in lives}
    for a in lives:
        for b in lives:
            if a.name == b.name or a.first > b.last or b.first > a.last:
                continue
            # `b` relative to `a`: disjoint, or below it when b is a's overlapping output.
            low, high = -b.size, a.size
            if a.name in b.below and a.last == b.first:
                low = max(low, -align(b.below[a.name]))
            elif b.name in a.below and b.last == a.first:
                high = min(high, align(a.below[b.name]))
            gaps[b.name][a.name] = Gap(low, high)
    return gaps


def _first_fit(
    order: Sequence[str], sizes: Mapping[str, int], gaps: Mapping[str, Mapping[str, Gap]]
) -> dict[str, int]:
    """Places one tensor after another at the lowest offset that the placed ones allow."""
    offsets: dict[str, int] = {}
    for name in order:
        taken = sorted(
            (offsets[other] + gap.low, offsets[other] + gap.high)
            for other, gap in gaps[name].items()
            if other in offsets
        )
        offsets[name] = _lowest(taken)
    return offsets


def _lowest(taken: Sequence[tuple[int, int]]) -> int:
    """The lowest aligned offset outside all open intervals, given in order of their low ends."""
    offset = 0
    for low, high in taken:
        if low < offset < high:
            offset = align(high)
    return offset


def lower_bound(lives: Sequence[Life]) -> int:
    """Bytes that no arrangement can do without.

    The exact optimum for the tensors that live around each run of three consecutive steps, found
    by trying which of two tensors lies below the other; the busiest run decides.
    """
    gaps = _gaps(lives)
    steps = sorted({life.first for life in lives} | {life.last for life in lives})
    bound = 0
    for start in range(max(1, len(steps) - _RUN + 1)):
        first, last = steps[start], steps[min(start + _RUN, len(steps)) - 1]
        around = [life for life in lives if life.first <= last and life.last >= first]
        bound = max(bound, _optimum(around, gaps))
    return bound


def _optimum(lives: Sequence[Life], gaps: Mapping[str, Mapping[str, Gap]]) -> int:
    """Smallest extent of a few tensors, by branch and bound over the order of each pair.

    A tensor that may overlap none of the others adds its size to what those need. Of the rest the
    largest ones are tried: more would take too long, and leaving some out keeps it a bound.
    """
    for life in lives:
        others = [other for other in lives if other is not life]
        if others and all(_apart(gaps, life, other) for other in others):
            rest = _optimum(others, gaps)
            return min(align(rest) + life.size, align(life.size) + rest)
    sizes = {life.name: life.size for life in lives}
    names = sorted(sizes, key=lambda name: -sizes[name])[:_TRIED]
    sizes = {name: sizes[name] for name in names}
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if a in gaps[b]]
    best = sum(sizes.values()) + ALIGNMENT * len(sizes)

    def descend(depth: int, offsets: dict[str, int], above: list[tuple[str, str, int]]) -> None:
        nonlocal best
        if _extent(offsets, sizes) >= best:
            return
        if depth == len(pairs):
            best = _extent(offsets, sizes)
            return
        a, b = pairs[depth]
        gap = gaps[b][a]
        for choice in ((a, b, gap.high), (b, a, -gap.low)):
            raised = _raise(offsets, [*above, choice])
            if raised is not None:
                descend(depth + 1, raised, [*above, choice])

    descend(0, dict.fromkeys(names, 0), [])
    return best


def _apart(gaps: Mapping[str, Mapping[str, Gap]], a: Life, b: Life) -> bool:
    """True if two tensors may not overlap at all."""
    return gaps[b.name].get(a.name) == Gap(-b.size, a.size)


def _raise(
    offsets: Mapping[str, int], above: Sequence[tuple[str, str, int]]
) -> dict[str, int] | None:
    """Lowest offsets with ``offset[high] >= offset[low] + distance``; None for a circle."""
    raised = dict(offsets)
    for _ in range(len(raised) + 1):
        changed = False
        for low, high, distance in above:
            if raised[high] < raised[low] + distance:
                raised[high] = raised[low] + distance
                changed = True
        if not changed:
            return raised
    return None
