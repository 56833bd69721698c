"""Where the network is cut into segments: within one rows stream, between them tensors are whole.

A segment of one layer is a layer on whole tensors. The first segment is fed by the image as it
arrives; if it is empty, the image is kept whole. The peak of a partition is that of its busiest
segment, which depends on its two ends alone, so that dynamic programming finds the best one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from codegen.ir import Graph
from codegen.kernels import Stage
from codegen.kernels.base import DISJOINT
from codegen.plan.rows import Network, Stream, row_window

OBJECTIVES = ("balanced", "ram", "cycles", "whole")
"""``ram``: the least peak. ``cycles``: of all partitions within 2 % of the least peak that fused
layers allow, the one that streams the fewest layers. ``balanced``, the default: the same, but
fused layers are taken apart where that saves a fifth of the memory. ``whole``: nothing streams."""

_BALANCE = 1.02
_LONGEST = 12
"""Layers of a segment after the first: more have never been of use, and take time to try."""


@dataclass(frozen=True)
class _Partition:
    """Segments of the first nodes: their peak in bytes, layers that stream, ends of segments."""

    peak: int
    streamed: int
    ends: tuple[int, ...]

    def then(self, start: int, end: int, size: int) -> _Partition:
        """With one more segment, which needs ``size`` bytes."""
        more = end - start if end - start > 1 else 0
        return _Partition(max(self.peak, size), self.streamed + more, (*self.ends, end))


class Segments:
    """The possible segments of a network and what they cost.

    Attributes:
        network: The network.
    """

    def __init__(self, graph: Graph, network: Network) -> None:
        self._graph = graph
        self.network = network
        self._stages = network.stages
        self._count = len(network.stages)
        self._streams: dict[int, Stream] = {}
        self._made_by = {stage.output: i for i, stage in enumerate(network.stages)}
        self._last_read = {n: i for i, stage in enumerate(network.stages) for n in stage.inputs}

    def stream(self, start: int) -> Stream:
        """The stream that begins with stage ``start``."""
        if start not in self._streams:
            self._streams[start] = Stream(self.network, start)
        return self._streams[start]

    def partition(self, objective: str) -> tuple[int, ...]:
        """Ends of the segments: the first may be 0 (an empty one), the last is the stage count."""
        if objective == "whole":
            return tuple(range(self._count + 1))
        limit = self._best(None).peak
        return self._best(limit if objective == "ram" else int(limit * _BALANCE)).ends

    @functools.cached_property
    def least_peak(self) -> tuple[int, range]:
        """The least peak in bytes, and the stages of the segment that has it."""
        best = self._best(None)
        parts = [range(a, b) for a, b in zip((0, *best.ends[:-1]), best.ends, strict=True)]
        sizes = [self.bytes(number, part.start, part.stop) for number, part in enumerate(parts)]
        return best.peak, parts[sizes.index(max(sizes))]

    def _best(self, limit: int | None) -> _Partition:
        """The least peak; with a limit on it, the fewest streamed layers."""

        def order(found: _Partition) -> tuple[int, int]:
            if limit is None:
                return found.peak, found.streamed
            return found.streamed, found.peak

        best: list[_Partition | None] = []
        for end in range(self._count + 1):
            found = [] if end == self._count else [_Partition(self.bytes(0, 0, end), end, (end,))]
            for start in range(max(0, end - _LONGEST), end):
                before = best[start]
                if before:
                    found.append(before.then(start, end, self.bytes(1, start, end)))
            allowed = [f for f in found if limit is None or f.peak <= limit]
            best.append(min(allowed, key=order, default=None))
        whole = best[self._count]
        assert whole is not None  # the limit is never below the least peak
        return whole

    def bytes(self, number: int, start: int, end: int) -> int:
        """Arena bytes in use during a segment, each tensor packed as well as can be.

        Args:
            number: 0 for the segment that the image feeds.
            start: First stage.
            end: The stage after the last.
        """
        network = self.network
        image = number == 0
        made = [s.output for s in self._stages[start:end] if s.output != network.output]
        before = [
            name
            for name, last in self._last_read.items()
            if last >= start and self._made_by.get(name, -1) < start
        ]
        if image:
            before.remove(network.input)
            made.append(network.input)
        total = sum(network.storage[name].size for name in before)
        for name in made:
            total += self.slots(number, start, end, name) * network.storage[name].row_bytes
            if self._last_read[name] >= end:
                total -= self._shared(start, end, name, before)
        return total + self.scratch(number, start, end)

    def slots(self, number: int, start: int, end: int, tensor: str) -> int:
        """Rows kept of a tensor during a segment: some if it is made and used up there, else all.

        Args:
            number: 0 for the segment that the image feeds.
            start: First stage.
            end: The stage after the last.
            tensor: Its name.
        """
        made = self._made_by[tensor] >= start if tensor in self._made_by else number == 0
        if made and self._last_read.get(tensor, end) < end:
            return self.stream(start).slots[tensor]
        return self.network.storage[tensor].rows

    def scratch(self, number: int, start: int, end: int) -> int:
        """Bytes of the memory that the stages of a segment use in turn; arguments as ``slots``."""
        whole = number > 0 and end - start == 1
        needed = [0]
        for stage in self._stages[start:end]:
            source = stage.inputs[0]
            kept = self.slots(number, start, end, source)
            ring = kept < self.network.storage[source].rows
            needed.append(stage.kernel.scratch_bytes(self._graph, stage.nodes[0], ring, whole))
        return max(needed)

    def distance(self, start: int, end: int, output: str, source: str) -> int:
        """Safe distance between a whole tensor read by a segment and one written by it."""
        stage = self._stages[self._made_by[output]]
        if end - start > 1:
            return self.stream(start).distances[output].get(source, DISJOINT)
        if stage.kernel.gathers:
            return self._distance_by_rows(stage, source)
        return stage.kernel.safe_distance(self._graph, stage.nodes[0], stage.inputs.index(source))

    def _distance_by_rows(self, stage: Stage, source: str) -> int:
        """Safe distance of a stage that has read all that a row needs before it writes it."""
        x, y = self.network.storage[source], self.network.storage[stage.output]
        window = row_window(stage.nodes[0])
        distance = y.size - x.size
        for row in range(y.rows - 1):
            next_read = max(window.rows(row + 1).start, 0) * x.row_bytes
            distance = max(distance, (row + 1) * y.row_bytes - next_read)
        return distance

    def _shared(self, start: int, end: int, output: str, before: list[str]) -> int:
        """Bytes that ``output`` can share with a tensor that this segment reads last."""
        shared = 0
        size = self.network.storage[output].size
        for source in before:
            if self._last_read[source] < end and self._reads(start, end, source):
                below = max(0, self.distance(start, end, output, source))
                other = self.network.storage[source].size
                shared = max(shared, size + other - max(size, below + other))
        return shared

    def _reads(self, start: int, end: int, source: str) -> bool:
        return any(source in stage.inputs for stage in self._stages[start:end])
