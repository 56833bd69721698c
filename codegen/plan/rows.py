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
from codegen.kernels import Stage
from codegen.kernels.layout import Planar
from codegen.ops import AvgPool, Convolution, MaxPool, Mul, Pad

Runs = tuple[tuple[int, int], ...]
"""Rows in the order in which they are made: number of the stage, row."""


@dataclass(frozen=True)
class Storage:
    """The rows of a tensor in memory.

    Attributes:
        rows: Rows of the tensor.
        row_bytes: Bytes of each.
        planar: Its layout if the rows are planar; NHWC if None.
    """

    rows: int
    row_bytes: int
    planar: Planar | None = None

    @property
    def size(self) -> int:
        """Bytes of the tensor kept whole."""
        return self.rows * self.row_bytes

    @property
    def padded(self) -> bool:
        """True if the kernel that reads it needs rows of padding."""
        return self.planar is not None and self.planar.pads.top + self.planar.pads.bottom > 0


@dataclass(frozen=True, eq=False)
class Network:
    """What is planned: the stages, and how their tensors are stored.

    Attributes:
        stages: In the order in which they run.
        storage: By tensor name.
        input: Name of the image.
        output: Name of the result.
    """

    stages: tuple[Stage, ...]
    storage: Mapping[str, Storage]
    input: str
    output: str


def make_network(graph: Graph, stages: Sequence[Stage]) -> Network:
    """The stages of a graph; a tensor that a kernel reads as planar rows is stored as such."""
    planar = {
        stage.inputs[0]: layout
        for stage in stages
        if (layout := stage.kernel.planar_input(graph, stage.nodes[0]))
    }
    storage = {}
    for name in (graph.input, *(stage.output for stage in stages)):
        tensor = graph.tensors[name]
        layout = planar.get(name)
        row_bytes = layout.row_bytes if layout else tensor.row_size
        storage[name] = Storage(tensor.shape[0], row_bytes, layout)
    return Network(tuple(stages), storage, graph.input, graph.output)


@dataclass(frozen=True)
class RowWindow:
    """Rows of the input that a row of the output needs: ``stride * row - pad`` and on."""

    size: int = 1
    stride: int = 1
    pad: int = 0

    def rows(self, row: int) -> range:
        """All input rows of the window, those of padding included."""
        first = row * self.stride - self.pad
        return range(first, first + self.size)

    def needs(self, row: int, rows: int) -> range:
        """The input rows inside an image of ``rows`` rows."""
        window = self.rows(row)
        return range(max(window.start, 0), min(window.stop, rows))


def row_window(node: Node, which: int = 0) -> RowWindow:
    """How the rows of a node's output depend on those of input ``which``."""
    if isinstance(node, Mul) and node.by_channel and which == 1:
        return RowWindow(stride=0)
    if isinstance(node, Convolution | AvgPool | MaxPool):
        return RowWindow(node.kernel[0], node.stride[0], node.pads.top)
    return RowWindow(pad=node.pads.top) if isinstance(node, Pad) else RowWindow()


class Stream:
    """All stages from ``start`` on, streamed from tensors that are there as a whole.

    With ``start`` 0 it is the image that arrives row by row. What holds for the stages up to some
    end is the same as if the stream ended there, for a row never waits for those after it.

    Attributes:
        runs: Rows in the order in which they are made; for ``start`` 0 in one tuple for each row
            of the image, else in one.
        slots: For each tensor that is made, and the image, the rows to keep at a time.
        distances: ``distances[output][input]``: if ``input`` is whole when the stream starts, the
            bytes that ``output``, whole too, must start below it so that they may overlap.
    """

    def __init__(self, network: Network, start: int) -> None:
        self._network = network
        stages = network.stages
        self._readers = {
            name: [i for i, stage in enumerate(stages) if i >= start and name in stage.inputs]
            for name in network.storage
        }
        self._storage = network.storage
        self._windows = [
            {x: row_window(stage.nodes[0], which) for which, x in enumerate(stage.inputs)}
            for stage in stages
        ]
        self._made = {name: storage.rows for name, storage in network.storage.items()}
        self._made |= {stage.output: 0 for stage in stages[start:]}
        self.slots = {stage.output: 1 for stage in stages[start:]}
        self.distances: dict[str, dict[str, int]] = {stage.output: {} for stage in stages[start:]}
        self._whole = [
            name for name, readers in self._readers.items() if readers and name not in self.slots
        ]
        self._ready: list[int] = []
        if start == 0:
            self._made[network.input] = 0
            self.slots[network.input] = 1
            self._whole = []
            self.runs: tuple[Runs, ...] = tuple(
                self._arrive() for _ in range(self._storage[network.input].rows)
            )
        else:
            for index in range(start, len(stages)):
                self._offer(index)
            self.runs = (self._drain(),)
        for name in self.slots:
            self._leave_room_for_padding(name)

    def until(self, end: int) -> tuple[Runs, ...]:
        """The runs of the stages before ``end``."""
        return tuple(tuple(run for run in runs if run[0] < end) for runs in self.runs)

    def _arrive(self) -> Runs:
        self._make(self._network.input)
        return self._drain()

    def _drain(self) -> Runs:
        runs = []
        while self._ready:
            index = -heapq.heappop(self._ready)
            output = self._network.stages[index].output
            row = self._made[output]
            runs.append((index, row))
            end = (row + 1) * self._storage[output].row_bytes
            for name in self._whole:
                distance = end - self._oldest(name) * self._storage[name].row_bytes
                known = self.distances[output].get(name, distance)
                self.distances[output][name] = max(known, distance)
            self._make(output)
            self._offer(index)
        return tuple(runs)

    def _make(self, tensor: str) -> None:
        kept = self._made[tensor] + 1 - self._oldest(tensor)
        self.slots[tensor] = max(self.slots[tensor], kept)
        self._made[tensor] += 1
        for reader in self._readers[tensor]:
            self._offer(reader)

    def _leave_room_for_padding(self, tensor: str) -> None:
        """Rows of padding take slots of a ring: there are as many as a window has rows."""
        storage = self._storage[tensor]
        if storage.padded:
            largest = max(self._windows[reader][tensor].size for reader in self._readers[tensor])
            self.slots[tensor] = min(max(self.slots[tensor], largest), storage.rows)

    def _offer(self, index: int) -> None:
        """Notes a stage whose next row can be made."""
        if -index not in self._ready and self._can_run(index):
            heapq.heappush(self._ready, -index)

    def _can_run(self, index: int) -> bool:
        stage = self._network.stages[index]
        row = self._made[stage.output]
        if row == self._storage[stage.output].rows:
            return False
        return all(
            self._made[x] >= window.needs(row, self._storage[x].rows).stop
            for x, window in self._windows[index].items()
        )

    def _oldest(self, tensor: str) -> int:
        """The first row of ``tensor`` that is still to be read, or the next one to be made."""
        oldest = self._made[tensor]
        for index in self._readers[tensor]:
            output = self._network.stages[index].output
            row = self._made[output]
            if row < self._storage[output].rows:
                window = self._windows[index][tensor]
                oldest = min(oldest, max(row * window.stride - window.pad, 0))
        return oldest


def check_rows(
    network: Network,
    stages: range,
    runs: Sequence[Runs],
    slots: Mapping[str, int],
    image: bool,
) -> None:
    """Replays the runs of some stages on rings that know which row each slot holds.

    Args:
        network: The network.
        stages: The stages that are streamed together.
        runs: Their rows in order.
        slots: Rows kept of each tensor that they read or make.
        image: True if the image arrives, a row before each part of ``runs``.

    Raises:
        ThumbnetError: A row is read before it is made or after it was overwritten, is made out of
            order, or is left out. It is a defect of the planner.
    """
    made = {network.stages[i].output: 0 for i in stages} | ({network.input: 0} if image else {})
    rings: dict[str, dict[int, int]] = {name: {} for name in slots}

    def write(tensor: str, row: int) -> None:
        if row != made[tensor]:
            raise ThumbnetError(f"internal error: row {row} of {tensor!r} is made out of order")
        rings[tensor][row % slots[tensor]] = row
        made[tensor] += 1

    def read(tensor: str, window: RowWindow, row: int, reader: str) -> None:
        storage, ring = network.storage[tensor], rings[tensor]
        needed = window.needs(row, storage.rows)
        if storage.padded and slots[tensor] < storage.rows:
            needed = window.rows(row)
            ring |= {at % slots[tensor]: at for at in needed if not 0 <= at < storage.rows}
        for at in needed:
            if ring.get(at % slots[tensor]) != at:
                raise ThumbnetError(
                    f"internal error: row {at} of {tensor!r} is not there for row {row} "
                    f"of {reader!r}"
                )

    for name in slots:
        if name not in made:
            rings[name] = {row: row for row in range(network.storage[name].rows)}
    for arrived, part in enumerate(runs):
        if image:
            write(network.input, arrived)
        for index, row in part:
            stage = network.stages[index]
            for which, name in enumerate(stage.inputs):
                read(name, row_window(stage.nodes[0], which), row, stage.output)
            write(stage.output, row)
    for tensor, rows in made.items():
        if rows != network.storage[tensor].rows:
            raise ThumbnetError(f"internal error: {tensor!r} is not finished by streaming")
