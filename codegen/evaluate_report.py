"""What an evaluation found: accuracy, agreement, intervals and confusions, and its document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.confidence import Interval, difference_interval, share_interval

TOP = 5
"""Classes that are kept of each picture, the largest output first."""
_CHANCE = 5
"""Pictures that may fall into the class beside their own by chance."""


@dataclass(frozen=True)
class Accuracy:
    """Shares in percent; None without labels, top-5 also where there are few classes."""

    top1: float | None
    top5: float | None


@dataclass(frozen=True)
class Confusion:
    """A class that the int8 program often takes for another one."""

    label: int
    predicted: int
    int8: int
    float_: int


@dataclass(frozen=True, eq=False)
class EvaluateReport:
    """Float network and int8 program on the same pictures; shares in percent.

    Attributes:
        engine: What computed the int8 outputs.
        seconds: Of the evaluation; on this computer without compiling.
        names: Of the pictures.
        labels: int64 [N], or None.
        real: int64 [N, 5], the largest float outputs.
        integer: int64 [N, 5], the largest int8 outputs.
        error: Mean absolute difference of the outputs.
        outputs: Number of outputs.
        classes: Their names, or empty.
        notes: Warnings of how it was done.
    """

    engine: str
    seconds: float
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None
    real: NDArray[np.int64]
    integer: NDArray[np.int64]
    error: float
    outputs: int
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Number of pictures."""
        return len(self.names)

    @property
    def float_(self) -> Accuracy:
        """Of the float network."""
        return self._accuracy(self.real)

    @property
    def int8(self) -> Accuracy:
        """Of the int8 program."""
        return self._accuracy(self.integer)

    @property
    def agreement(self) -> float:
        """Pictures for which both have the same largest output."""
        return 100.0 * float(self._agree.mean())

    def confusion(self, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pictures by class and by largest output: int64 [outputs, outputs]."""
        assert self.labels is not None
        matrix = np.zeros((self.outputs, self.outputs), np.int64)
        np.add.at(matrix, (self.labels, predicted[:, 0]), 1)
        return matrix

    def confusions(self, most: int = 10) -> tuple[Confusion, ...]:
        """Mistakes that the int8 program makes more than once, with those of the float network."""
        if self.labels is None:
            return ()
        integer, real = self.confusion(self.integer), self.confusion(self.real)
        np.fill_diagonal(integer, 0)
        order = np.argsort(-integer, axis=None, kind="stable")[:most]
        pairs = [divmod(int(place), self.outputs) for place in order]
        return tuple(
            Confusion(a, b, int(integer[a, b]), int(real[a, b]))
            for a, b in pairs
            if integer[a, b] > 1
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every picture's outcome and, with labels, the matrices of confusion."""
        arrays: dict[str, NDArray[Any]] = {
            "names": np.array(self.names),
            "float_top5": self.real,
            "int8_top5": self.integer,
        }
        if self.labels is not None:
            arrays["labels"] = self.labels
            arrays["float_confusion"] = self.confusion(self.real)
            arrays["int8_confusion"] = self.confusion(self.integer)
        return arrays

    def to_json(self) -> dict[str, Any]:
        """The document of ``evaluate --json``."""
        return {
            "images": self.images,
            "engine": self.engine,
            "seconds": self.seconds,
            "images_per_second": self.images / self.seconds,
            "float": vars(self.float_),
            "int8": vars(self.int8),
            "agreement": self.agreement,
            "output_error": self.error,
            "intervals": self._intervals(),
            "confusions": [
                {
                    "class": self._title(found.label),
                    "taken_for": self._title(found.predicted),
                    "int8": found.int8,
                    "float": found.float_,
                }
                for found in self.confusions()
            ],
            "warnings": list(self._warnings()),
        }

    def _warnings(self) -> Iterator[str]:
        yield from self.notes
        if self.labels is None:
            return
        said = self.real[:, 0]
        for step, other in ((1, "higher"), (-1, "lower")):
            beside, right = (int((said == self.labels + n).sum()) for n in (step, 0))
            if beside > 2 * right + _CHANCE:
                yield (
                    f"The float network says the label {step:+d} for {beside} pictures and the "
                    f"label itself for {right}. Is another --class-offset needed, one {other}?"
                )

    @property
    def _agree(self) -> NDArray[np.bool_]:
        return np.asarray(self.real[:, 0] == self.integer[:, 0])

    def _hits(self, found: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
        assert self.labels is not None
        return np.asarray((found[:, :most] == self.labels[:, None]).any(axis=1))

    def _accuracy(self, found: NDArray[np.int64]) -> Accuracy:
        if self.labels is None:
            return Accuracy(None, None)
        top5 = 100.0 * float(self._hits(found, TOP).mean()) if self.outputs > TOP else None
        return Accuracy(100.0 * float(self._hits(found, 1).mean()), top5)

    def _intervals(self) -> dict[str, list[float] | None]:
        """95 % intervals, in percent; of the difference int8 minus float in points."""
        found: dict[str, Interval | None] = dict.fromkeys(("float", "int8", "difference"))
        found["agreement"] = share_interval(int(self._agree.sum()), self.images)
        if self.labels is not None:
            real, integer = self._hits(self.real, 1), self._hits(self.integer, 1)
            gained, lost = int((integer & ~real).sum()), int((real & ~integer).sum())
            found["float"] = share_interval(int(real.sum()), self.images)
            found["int8"] = share_interval(int(integer.sum()), self.images)
            found["difference"] = difference_interval(gained, lost, self.images)
        return {
            name: None if ends is None else [100.0 * end for end in ends]
            for name, ends in found.items()
        }

    def _title(self, number: int) -> str:
        return self.classes[number] if number < len(self.classes) else str(number)
