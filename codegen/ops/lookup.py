"""Any function of single values, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import INT8_MAX, INT8_MIN, FloatArray, Int8Array, Node, QParams, Shape
from codegen.ops.activation import Activation


@dataclass(frozen=True, eq=False)
class Lookup(Node):
    """A function of every value: float nodes one after the other, of which a table is made.

    The integer face is ``table[q + 128]``: all of the function is rounded once, half to even.

    Attributes:
        body: What is computed, in order, with names of its own: what the first node reads is the
            input, what the last one writes the output. Constants in it are single values.
        table: int8 [256]; None in a float graph.
    """

    op: ClassVar[str] = "lookup"

    body: tuple[Node, ...] = ()
    table: NDArray[np.int8] | None = None

    @property
    def is_probability(self) -> bool:
        """True if its values lie between 0 and 1 by themselves."""
        last = self.body[-1]
        return isinstance(last, Activation) and last.is_probability

    def infer(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def make_table(self, q_in: QParams, q_out: QParams) -> NDArray[np.int8]:
        """The table for a quantization of input and output."""
        q = np.arange(INT8_MIN, INT8_MAX + 1)
        x = (q_in.scale * (q - q_in.zero_point)).astype(np.float32)
        y = self.run_float(x.reshape(1, 1, -1, 1)).astype(np.float64).reshape(-1)
        values = np.rint(y / q_out.scale) + q_out.zero_point
        return np.asarray(np.clip(values, INT8_MIN, INT8_MAX), np.int8)

    def run_float(self, *xs: FloatArray) -> FloatArray:
        values = {self.body[0].inputs[0]: xs[0]}
        for node in self.body:
            values[node.output] = node.run_float(*(values[name] for name in node.inputs))
        return values[self.body[-1].output]

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        assert self.table is not None
        return np.asarray(self.table[xs[0].astype(np.intp) - INT8_MIN])
