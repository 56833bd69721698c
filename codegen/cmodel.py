"""Plan -> the plain strings and numbers that the templates place.

Nothing here knows Jinja, and the templates decide nothing: names, texts of arrays and arguments of
calls are made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codegen.ir import Graph, Shape
from codegen.kernels.base import CArray, Kernel, KernelCall, Parameters, RowPlan
from codegen.plan import STATE, Buffer, Plan, Step
from codegen.preprocess import pixel_table

_CTYPES = {np.dtype(np.int8): "int8_t", np.dtype(np.int32): "int32_t"}
_CTYPES[np.dtype(np.uint32)] = "uint32_t"
_NUMBERS_A_LINE = 24


@dataclass(frozen=True)
class ConstArray:
    """A constant array: ``const CTYPE NAME[LENGTH] = { LINES };``."""

    name: str
    ctype: str
    length: int
    section: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """A kernel function: its template and the numbers written into it."""

    name: str
    template: str
    parameters: Parameters


@dataclass(frozen=True)
class Call:
    """One layer: the call of its kernel, and what the checking build reports after it.

    ``arguments`` holds the word ``row`` where the number of the row goes; with ``at_once`` all
    rows are made by the one call for row 0.
    """

    index: int
    comment: str
    function: str
    arguments: tuple[str, ...]
    output: str
    rows: int
    slots: int
    row_bytes: int
    at_once: bool


@dataclass(frozen=True)
class Stretch:
    """A segment after the first: entries of the table of runs, or one layer on whole tensors."""

    first_run: int
    end_run: int
    call: Call | None


@dataclass(frozen=True)
class RunTable:
    """The table that streaming follows: pairs of layer and row.

    ``marker`` in place of a layer says that the next row of the image must come first.
    """

    ctype: str
    marker: int
    lines: tuple[str, ...]
    length: int


@dataclass(frozen=True)
class Port:
    """The network's input or output, for the header."""

    shape: Shape
    bytes: int
    scale: str
    zero_point: int


@dataclass(frozen=True)
class CModel:
    """All that the generated files contain."""

    name: str
    macro: str
    input: Port
    output: Port
    arena_bytes: int
    state_offset: int
    input_offset: int
    input_slots: int
    functions: tuple[Function, ...]
    arrays: tuple[ConstArray, ...]
    streamed: tuple[Call, ...]
    stretches: tuple[Stretch, ...]
    runs: RunTable | None
    streams_image: bool
    pixel_tables: ConstArray | None
    channels: str
    classes: tuple[str, ...]

    @property
    def all_arrays(self) -> tuple[ConstArray, ...]:
        """Constants of the layers and of the input conversion."""
        return self.arrays + ((self.pixel_tables,) if self.pixel_tables else ())


_TAKEN = re.compile(r"std.*|thumbnet.*|board.*|port.*|count|faults|mem|runner|semihosting|startup")
"""Names of files beside which a model's own files are built."""


def c_identifier(text: str) -> str:
    """``text`` as a C identifier in lower case: other characters become underscores.

    Begins with ``net_`` where it would begin with a digit or be the name of another file.
    """
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()
    if not name or name[0].isdigit() or _TAKEN.fullmatch(name):
        return f"net_{name}".rstrip("_")
    return name


def make_cmodel(plan: Plan, name: str) -> CModel:
    """Everything the templates need for ``plan``.

    Args:
        plan: From ``codegen.plan``.
        name: C identifier that all public names begin with.
    """
    graph = plan.graph
    functions = _Functions()
    arrays: list[ConstArray] = []
    calls = []
    for step in plan.steps:
        call = step.kernel.call(graph, step.node, _row_plan(plan, step))
        constants = tuple(_constants(name, step, call))
        arrays.extend(constants)
        calls.append(_call(plan, step, functions.name_of(step.kernel, call), constants, call))
    runs, stretches = _run_table(plan, calls)
    image = plan.buffers[graph.input]
    return CModel(
        name=name,
        macro=name.upper(),
        input=_port(graph, graph.input),
        output=_port(graph, graph.output),
        arena_bytes=-(-plan.arena_bytes // 4) * 4,
        state_offset=plan.buffers[STATE].offset,
        input_offset=image.offset,
        input_slots=0 if image.whole else image.slots,
        functions=functions.all,
        arrays=tuple(arrays),
        streamed=tuple(calls[step.index] for step in plan.steps if plan.streamed(step)),
        stretches=stretches,
        runs=runs,
        streams_image=plan.segments[0].end > 0,
        pixel_tables=_pixel_tables(graph, name),
        channels=graph.preprocess.channels,
        classes=tuple(_comment(text) for text in graph.classes),
    )


def _row_plan(plan: Plan, step: Step) -> RowPlan:
    def slots(tensor: str) -> int:
        buffer = plan.buffers.get(tensor)
        return buffer.slots if buffer and not buffer.whole else 0

    inputs = tuple(slots(name) for name in step.node.inputs)
    return RowPlan(inputs, slots(step.node.output), not plan.streamed(step))


def _run_table(plan: Plan, calls: list[Call]) -> tuple[RunTable | None, tuple[Stretch, ...]]:
    """The table of runs, the image's with a marker after each row, and the other segments."""
    image, *later = plan.segments
    marker = len(plan.steps)
    table = [run for part in image.runs for run in (*part, (marker, 0))] if image.end else []
    stretches = []
    for segment in later:
        first = len(table)
        table.extend(run for part in segment.runs for run in part)
        call = None if segment.streamed else calls[segment.start]
        stretches.append(Stretch(first, len(table), call))
    if not table:
        return None, tuple(stretches)
    texts = [f"{{{step}, {row}}}" for step, row in table]
    ctype = "uint8_t" if max(max(run) for run in table) < 256 else "uint16_t"
    return RunTable(ctype, marker, _lines(texts, 12), len(table)), tuple(stretches)


class _Functions:
    """Hands out one function for each set of parameters."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.all: tuple[Function, ...] = ()

    def name_of(self, kernel: Kernel, call: KernelCall) -> str:
        key = f"{kernel.family}/{kernel.name} {call.parameters}"
        if key not in self._names:
            self._names[key] = self._new_name(kernel, call.parameters)
            template = f"kernels/{kernel.family}/{kernel.name}.c.jinja"
            self.all += (Function(self._names[key], template, call.parameters),)
        return self._names[key]

    def _new_name(self, kernel: Kernel, parameters: Parameters) -> str:
        base = f"{kernel.name}_{_shape_text(parameters)}".rstrip("_")
        same = sum(1 for name in self._names.values() if re.fullmatch(rf"{base}(_v\d+)?", name))
        return f"{base}_v{same + 1}" if same else base


def _shape_text(parameters: Parameters) -> str:
    """The part of a function's name that tells its shape."""
    p = parameters
    if "kernel_height" in p:
        window = f"{p['kernel_height']}x{p['kernel_width']}s{p['stride_y']}_"
    else:
        window = ""
    if "in_height" in p:
        return f"{window}{p['in_height']}x{p['in_width']}x{p['in_channels']}_{p['out_channels']}"
    keys = ("pixels", "inputs", "outputs", "channels", "elements")
    return "x".join(str(p[key]) for key in keys if key in p)


def _constants(name: str, step: Step, call: KernelCall) -> Iterator[ConstArray]:
    for array in call.arrays:
        yield _const_array(f"{name}_{step.index}_{array.role}", array)


def _const_array(name: str, array: CArray) -> ConstArray:
    values = array.values.reshape(-1)
    texts = [str(value) for value in values.tolist()]
    lines = _lines(texts, _NUMBERS_A_LINE)
    section = "WEIGHTS" if array.is_weight else "TABLES"
    return ConstArray(name, _CTYPES[values.dtype], len(values), section, lines)


def _lines(texts: list[str], a_line: int) -> tuple[str, ...]:
    return tuple(
        ", ".join(texts[start : start + a_line]) + "," for start in range(0, len(texts), a_line)
    )


def _call(
    plan: Plan, step: Step, function: str, constants: tuple[ConstArray, ...], call: KernelCall
) -> Call:
    graph, node = plan.graph, step.node

    def place(tensor: str) -> str:
        if tensor == graph.output:
            return "output"
        return f"memory + {plan.buffers[tensor].offset}"

    height, width, channels = graph.tensors[node.output].shape
    buffer: Buffer | None = plan.buffers.get(node.output)
    shapes = " + ".join(_shape(shape) for shape in graph.shapes(node))
    return Call(
        index=step.index,
        comment=_comment(
            f"{step.index}: {node.op} {node.name}: {shapes} -> {height}x{width}x{channels}"
        ),
        function=function,
        arguments=(
            *(place(tensor) for tensor in node.inputs),
            place(node.output),
            "row",
            *(array.name for array in constants),
        ),
        output=place(node.output),
        rows=height,
        slots=buffer.slots if buffer else height,
        row_bytes=width * channels,
        at_once=call.at_once,
    )


def _shape(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)


def _comment(text: str) -> str:
    """``text`` made harmless inside a C comment: one line of printable ASCII."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in text).replace("\\", "/")
    # A space inside each */ and /* and between question marks, which could be trigraphs.
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)", " ", printable)


def _port(graph: Graph, name: str) -> Port:
    tensor = graph.tensors[name]
    assert tensor.q is not None
    return Port(tensor.shape, tensor.size, f"{tensor.q.scale:.9g}f", tensor.q.zero_point)


def _pixel_tables(graph: Graph, name: str) -> ConstArray | None:
    """The int8 value of each pixel value of each channel; None where it is ``pixel - 128``."""
    q = graph.input_tensor.q
    assert q is not None
    table = pixel_table(graph.preprocess, q)
    if np.array_equal(table, np.tile(np.arange(-128, 128), (len(table), 1))):
        return None
    if (table == table[0]).all():
        table = table[:1]
    return _const_array(f"{name}_pixels", CArray("table", table))
