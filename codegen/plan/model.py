"""The plan: which kernel computes each layer, in which order rows are made, where they live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codegen.ir import Graph
from codegen.kernels import Stage
from codegen.plan.rows import Network, Runs


@dataclass(frozen=True)
class Buffer:
    """A tensor's place in the arena: a ring of rows.

    Row ``r`` lies in slot ``r % slots``. A tensor that is kept whole has as many slots as rows.

    Attributes:
        tensor: Name of the tensor.
        offset: First byte, counted from the arena's start.
        row_bytes: Bytes of one row.
        rows: Rows of the tensor.
        slots: Rows kept at a time.
        first: Number of the segment that writes it.
        last: Number of the last segment that reads it.
    """

    tensor: str
    offset: int
    row_bytes: int
    rows: int
    slots: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.slots * self.row_bytes

    @property
    def whole(self) -> bool:
        """True if all rows are kept."""
        return self.slots == self.rows


@dataclass(frozen=True, eq=False)
class Step:
    """A stage of the plan.

    Attributes:
        index: Its number.
        stage: Its layers and their kernel.
        phase: Number of its segment.
    """

    index: int
    stage: Stage
    phase: int


@dataclass(frozen=True, eq=False)
class Segment:
    """Stages whose rows stream together; between segments tensors are whole.

    Attributes:
        start: Index of the first step.
        end: Index after the last step.
        runs: Rows in the order in which they are made, as number of the step and row; in the
            first segment one part for each row of the image, later on one part. Empty for one
            stage on whole tensors.
    """

    start: int
    end: int
    runs: tuple[Runs, ...]

    @property
    def streamed(self) -> bool:
        """True if the order of the rows is that of ``runs``."""
        return bool(self.runs)


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that the code generator needs to know.

    Attributes:
        graph: The int8 graph.
        family: Name of the kernel family.
        unroll: Steps that the body of an inner loop has at most.
        dual_issue: The core issues two instructions together.
        network: The stages and how their tensors are stored.
        steps: One a stage, in the order in which they run.
        segments: In order; the first is fed by the image and may be empty.
        buffers: By tensor name; the graph's output has none (the caller gives its memory).
        scratch: By segment the memory that its kernels use in turn, where they use any.
        arena_bytes: Size of the arena.
        lower_bound: No arrangement of these buffers can be smaller than this.
    """

    graph: Graph
    family: str
    unroll: int
    dual_issue: bool
    network: Network
    steps: tuple[Step, ...]
    segments: tuple[Segment, ...]
    buffers: Mapping[str, Buffer]
    scratch: Mapping[int, Buffer]
    arena_bytes: int
    lower_bound: int

    def step_of(self, layer: int) -> Step:
        """The step that computes a layer of the graph."""
        return next(step for step in self.steps if layer in step.stage.layers)

    def streamed(self, step: Step) -> bool:
        """True if the rows of ``step`` are made among those of other layers."""
        return self.segments[step.phase].streamed

    def live_bytes(self, step: Step) -> int:
        """Arena bytes in use while ``step`` runs: the extent of its live buffers."""
        every = (*self.buffers.values(), *self.scratch.values())
        live = [b for b in every if b.first <= step.phase <= b.last]
        return max((b.offset + b.size for b in live), default=0)
