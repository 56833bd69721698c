"""Where the network is cut into segments: within one rows stream, between them tensors are whole.

A segment of one layer is a layer on whole tensors. The first segment is fed by the image as it
arrives; if it is empty, the image is kept whole. The peak of a partition is that of its busiest
segment, which depends on its two ends alone, so that dynamic programming finds the best one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codegen.ir import Graph
from codegen.kernels.base import DISJOINT
from codegen.plan.rows import Stream

OBJECTIVES = ("balanced", "ram", "cycles")
"""``ram``: the least peak. ``cycles``: whole layers only, for these join the pixels of all rows.
``balanced``, the default: of all partitions within 2 % of the least peak the one that streams the
fewest layers."""

_BALANCE = 1.02
_LONGEST = 12
"""Layers of a segment after the first: more have never been of use, and take time to try."""

Distance = Callable[[int, int], int]
"""Safe distance of a layer on whole tensors: index of the node, which of its inputs."""


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
    """The possible segments of a graph and what they cost."""

    def __init__(self, graph: Graph, safe_distance: Distance) -> None:
        self._graph = graph
        self._safe_distance = safe_distance
        self._count = len(graph.nodes)
        self._streams: dict[int, Stream] = {}
        self._made_by = {node.output: i for i, node in enumerate(graph.nodes)}
        self._last_read = {n: i for i, node in enumerate(graph.nodes) for n in node.inputs}

    def stream(self, start: int) -> Stream:
        """The stream that begins with node ``start``."""
        if start not in self._streams:
            self._streams[start] = Stream(self._graph, start)
        return self._streams[start]

    def partition(self, objective: str) -> tuple[int, ...]:
        """Ends of the segments: the first may be 0 (an empty one), the last is the node count."""
        if objective == "cycles":
            return tuple(range(self._count + 1))
        limit = self._best(None).peak
        return self._best(int(limit * _BALANCE) if objective == "balanced" else limit).ends

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
            start: First node.
            end: The node after the last.
        """
        graph = self._graph
        image = number == 0
        made = [node.output for node in graph.nodes[start:end] if node.output != graph.output]
        before = [
            name
            for name, last in self._last_read.items()
            if last >= start and self._made_by.get(name, -1) < start
        ]
        if image:
            before.remove(graph.input)
            made.append(graph.input)
        whole = [name for name in made if self._last_read[name] >= end]
        total = sum(self._size(name) for name in (*before, *whole))
        if len(made) > len(whole):
            slots = self.stream(start).slots
            total += sum(slots[n] * self._row_bytes(n) for n in made if n not in whole)
        return total - sum(self._shared(start, end, name, before) for name in whole)

    def distance(self, start: int, end: int, output: str, source: str) -> int:
        """Safe distance between a whole tensor read by a segment and one written by it."""
        node = self._graph.nodes[self._made_by[output]]
        if end - start == 1:
            return self._safe_distance(start, node.inputs.index(source))
        return self.stream(start).distances[output].get(source, DISJOINT)

    def _shared(self, start: int, end: int, output: str, before: list[str]) -> int:
        """Bytes that ``output`` can share with a tensor that this segment reads last."""
        shared = 0
        size = self._size(output)
        for source in before:
            if self._last_read[source] < end and self._reads(start, end, source):
                below = max(0, self.distance(start, end, output, source))
                other = self._size(source)
                shared = max(shared, size + other - max(size, below + other))
        return shared

    def _reads(self, start: int, end: int, source: str) -> bool:
        return any(source in node.inputs for node in self._graph.nodes[start:end])

    def _size(self, tensor: str) -> int:
        return self._graph.tensors[tensor].size

    def _row_bytes(self, tensor: str) -> int:
        _, width, channels = self._graph.tensors[tensor].shape
        return width * channels
