"""Streaming: in which order rows are made, and how many of each tensor must be kept.

A stretch of the network is streamed: a row is made as soon as the rows that it needs exist, those
nearest to the output first, so that rows are used up before new ones come. Nothing is computed
twice. The whole order is worked out here, row by row; the generated program merely follows it, and
``check_rows`` replays it against rings that know what they hold.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codegen.errors import ThumbnetError
from codegen.ir import Graph, Node
from codegen.ops import AvgPool, Conv, Depthwise, MaxPool, Pad

Runs = tuple[tuple[int, int], ...]
"""Rows in the order in which they are made: index of the node, row."""


@dataclass(frozen=True)
class RowWindow:
    """Rows of the input that a row of the output needs: ``stride * row - pad`` and on."""

    size: int = 1
    stride: int = 1
    pad: int = 0

    def needs(self, row: int, rows: int) -> range:
        """The input rows inside an image of ``rows`` rows."""
        first = row * self.stride - self.pad
        return range(max(first, 0), min(first + self.size, rows))


def row_window(node: Node) -> RowWindow:
    """How the rows of a node's output depend on those of its inputs."""
    if isinstance(node, Conv | Depthwise | AvgPool | MaxPool):
        return RowWindow(node.kernel[0], node.stride[0], node.pads.top)
    return RowWindow(pad=node.pads.top) if isinstance(node, Pad) else RowWindow()


class Stream:
    """All nodes from ``start`` on, streamed from tensors that are there as a whole.

    With ``start`` 0 it is the image that arrives row by row. What holds for the nodes up to some
    end is the same as if the stream ended there, for a row never waits for those after it.

    Attributes:
        runs: Rows in the order in which they are made; for ``start`` 0 in one tuple for each row
            of the image, else in one.
        slots: For each tensor that is made, and the image, the rows to keep at a time.
        distances: ``distances[output][input]``: if ``input`` is whole when the stream starts, the
            bytes that ``output``, whole too, must start below it so that they may overlap.
    """

    def __init__(self, graph: Graph, start: int) -> None:
        self._graph = graph
        self._nodes = graph.nodes
        self._readers = {
            name: [i for i, node in enumerate(graph.nodes) if i >= start and name in node.inputs]
            for name in graph.tensors
        }
        self._rows = {name: tensor.shape[0] for name, tensor in graph.tensors.items()}
        self._windows = [row_window(node) for node in graph.nodes]
        self._made = self._rows | {node.output: 0 for node in graph.nodes[start:]}
        self._row_bytes = {n: t.shape[1] * t.shape[2] for n, t in graph.tensors.items()}
        self.slots = {node.output: 1 for node in graph.nodes[start:]}
        self.distances: dict[str, dict[str, int]] = {
            node.output: {} for node in graph.nodes[start:]
        }
        self._whole = [
            name for name, readers in self._readers.items() if readers and name not in self.slots
        ]
        self._ready: list[int] = []
        if start == 0:
            self._made[graph.input] = 0
            self.slots[graph.input] = 1
            self._whole = []
            self.runs: tuple[Runs, ...] = tuple(
                self._arrive() for _ in range(self._rows[graph.input])
            )
        else:
            for index in range(start, len(graph.nodes)):
                self._offer(index)
            self.runs = (self._drain(),)

    def until(self, end: int) -> tuple[Runs, ...]:
        """The runs of the nodes before ``end``."""
        return tuple(tuple(run for run in runs if run[0] < end) for runs in self.runs)

    def _arrive(self) -> Runs:
        self._make(self._graph.input)
        return self._drain()

    def _drain(self) -> Runs:
        runs = []
        while self._ready:
            index = -heapq.heappop(self._ready)
            node = self._nodes[index]
            row = self._made[node.output]
            runs.append((index, row))
            end = (row + 1) * self._row_bytes[node.output]
            for name in self._whole:
                distance = end - self._oldest(name) * self._row_bytes[name]
                known = self.distances[node.output].get(name, distance)
                self.distances[node.output][name] = max(known, distance)
            self._make(node.output)
            self._offer(index)
        return tuple(runs)

    def _make(self, tensor: str) -> None:
        kept = self._made[tensor] + 1 - self._oldest(tensor)
        self.slots[tensor] = max(self.slots[tensor], kept)
        self._made[tensor] += 1
        for reader in self._readers[tensor]:
            self._offer(reader)

    def _offer(self, index: int) -> None:
        """Notes a node whose next row can be made."""
        if -index not in self._ready and self._can_run(index):
            heapq.heappush(self._ready, -index)

    def _can_run(self, index: int) -> bool:
        node, window = self._nodes[index], self._windows[index]
        row = self._made[node.output]
        if row == self._rows[node.output]:
            return False
        last = row * window.stride - window.pad + window.size
        return all(self._made[name] >= min(last, self._rows[name]) for name in node.inputs)

    def _oldest(self, tensor: str) -> int:
        """The first row of ``tensor`` that is still to be read, or the next one to be made."""
        oldest = self._made[tensor]
        for index in self._readers[tensor]:
            row = self._made[self._nodes[index].output]
            if row < self._rows[self._nodes[index].output]:
                window = self._windows[index]
                oldest = min(oldest, max(row * window.stride - window.pad, 0))
        return oldest


def check_rows(
    graph: Graph,
    nodes: Sequence[Node],
    runs: Sequence[Runs],
    slots: Mapping[str, int],
    image: bool,
) -> None:
    """Replays the runs of some nodes on rings that know which row each slot holds.

    Args:
        graph: The graph.
        nodes: The nodes that are streamed together.
        runs: Their rows in order.
        slots: Rows kept of each tensor; all of those that are there at the start.
        image: True if the image arrives, a row before each part of ``runs``.

    Raises:
        ThumbnetError: A row is read before it is made or after it was overwritten, is made out of
            order, or is left out. It is a defect of the planner.
    """
    made = {node.output: 0 for node in nodes} | ({graph.input: 0} if image else {})
    rings: dict[str, dict[int, int]] = {
        name: {} if name in made else {row: row for row in range(graph.tensors[name].shape[0])}
        for name in slots
    }

    def write(tensor: str, row: int) -> None:
        if row != made[tensor]:
            raise ThumbnetError(f"internal error: row {row} of {tensor!r} is made out of order")
        rings[tensor][row % slots[tensor]] = row
        made[tensor] += 1

    for arrived, part in enumerate(runs):
        if image:
            write(graph.input, arrived)
        for index, row in part:
            node = graph.nodes[index]
            for name in node.inputs:
                for needed in row_window(node).needs(row, graph.tensors[name].shape[0]):
                    if rings[name].get(needed % slots[name]) != needed:
                        raise ThumbnetError(
                            f"internal error: row {needed} of {name!r} is not there for row {row} "
                            f"of {node.output!r}"
                        )
            write(node.output, row)
    for tensor, rows in made.items():
        if rows != graph.tensors[tensor].shape[0]:
            raise ThumbnetError(f"internal error: {tensor!r} is not finished by streaming")
