"""Plan -> the plain strings and numbers that the templates place.

Nothing here knows Jinja, and the templates decide nothing: names, texts of arrays and arguments of
calls are made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from codegen.cmodel import (
    TABLES,
    WEIGHTS,
    Call,
    CModel,
    ConstArray,
    Function,
    Port,
    RunTable,
    StageCalls,
    Stretch,
    lines_of,
)
from codegen.ir import Graph, Shape
from codegen.kernels.base import (
    INPUTS,
    OUTPUT,
    OUTPUT_ROW,
    ROW,
    SCRATCH,
    CArray,
    Kernel,
    KernelCall,
    Parameters,
    RowPlan,
)
from codegen.plan import STATE, Plan, Step
from codegen.plan.rows import row_window
from codegen.preprocess import pixel_table

_TAKEN = re.compile(
    r"std.*|thumbnet.*|board.*|port.*|count|faults|mem|runner|semihosting|startup"
    r"|clock|decimal|frame|monitor|serial|stack|systick|text.*|uart.*|boot2|stm32.*|m7_caches"
    r"|registers"
)
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
    functions = _Functions(name)
    arrays: dict[str, ConstArray] = {}
    stages = []
    for step in plan.steps:
        calls = []
        made = step.stage.kernel.calls(graph, step.stage.nodes[0], _row_plan(plan, step))
        for call in made:
            layer = step.stage.layers[call.layer]
            height, width, _ = graph.tensors[graph.nodes[layer].output].shape
            constants = tuple(_constants(f"{name}_{layer}", call, height * width))
            # Calls of a layer for parts of a row share its constants.
            arrays |= {array.name: array for array in constants}
            arguments = (*_operands(plan, step, call), *(array.name for array in constants))
            calls.append(Call(layer, functions.name_of(step.stage.kernel, call), arguments))
        stages.append(_stage_calls(plan, step, tuple(calls), made))
    runs, stretches = _run_table(plan, stages)
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
        arrays=tuple(arrays.values()),
        streamed=tuple(stages[step.index] for step in plan.steps if plan.streamed(step)),
        stretches=stretches,
        runs=runs,
        longest_row=_longest_row(plan),
        streams_image=plan.segments[0].end > 0,
        pixel_tables=_pixel_tables(graph, name),
        channels=graph.preprocess.channels,
        classes=tuple(_comment(text) for text in graph.classes),
        layers=len(graph.nodes),
        stages=len(stages),
    )


def _longest_row(plan: Plan) -> int:
    """Elements of the longest row that is made of pairs or planes; 0 if none is."""
    stages = [step.stage for step in plan.steps if step.stage.kernel.family == "dsp"]
    made = [node.output for stage in stages for node in stage.nodes]
    return max((plan.graph.tensors[name].row_size for name in made), default=0)


def _row_plan(plan: Plan, step: Step) -> RowPlan:
    def slots(tensor: str) -> int:
        buffer = plan.buffers.get(tensor)
        return buffer.slots if buffer and not buffer.whole else 0

    stage = step.stage
    return RowPlan(
        tuple(slots(name) for name in stage.inputs),
        slots(stage.output),
        not plan.streamed(step),
        stage.variant.name if stage.variant else "",
        plan.unroll,
        plan.dual_issue,
        plan.network.storage[stage.output].planar,
    )


def _run_table(plan: Plan, stages: list[StageCalls]) -> tuple[RunTable | None, tuple[Stretch, ...]]:
    """The table of runs, the image's with a marker after each row, and the other segments."""
    image, *later = plan.segments
    marker = len(plan.steps)
    table = [run for part in image.runs for run in (*part, (marker, 0))] if image.end else []
    stretches = []
    for segment in later:
        first = len(table)
        table.extend(run for part in segment.runs for run in part)
        stage = None if segment.streamed else stages[segment.start]
        stretches.append(Stretch(first, len(table), stage))
    if not table:
        return None, tuple(stretches)
    texts = [f"{{{step}, {row}}}" for step, row in table]
    ctype = "uint8_t" if max(max(run) for run in table) < 256 else "uint16_t"
    return RunTable(ctype, marker, lines_of(texts, 12), len(table)), tuple(stretches)


class _Functions:
    """Hands out one function for each set of parameters."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._names: dict[str, str] = {}
        self.all: tuple[Function, ...] = ()

    def name_of(self, kernel: Kernel, call: KernelCall) -> str:
        template = f"kernels/{kernel.family}/{call.template or kernel.name}"
        key = f"{template} {call.parameters}"
        if key not in self._names:
            name = self._new_name(call.template or kernel.name, call)
            self._names[key] = name
            self.all += (Function(name, template, call.parameters, call.assembly),)
        return self._names[key]

    def _new_name(self, kernel: str, call: KernelCall) -> str:
        base = f"{kernel}_{call.label or _shape_text(call.parameters)}".rstrip("_")
        if call.assembly:  # seen by the linker, which may meet other models
            base = f"{self._model}_{base}"
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


def _constants(prefix: str, call: KernelCall, reads: int) -> Iterator[ConstArray]:
    for array in call.arrays:
        yield _const_array(f"{prefix}_{array.role}", array, reads)


def _const_array(name: str, array: CArray, reads: int) -> ConstArray:
    kind = WEIGHTS if array.is_weight else TABLES
    return ConstArray(name, array.values.reshape(-1), kind, reads)


def _place(plan: Plan, tensor: str) -> str:
    """C expression for the first byte of a tensor."""
    if tensor == plan.graph.output:
        return "output"
    return f"memory + {plan.buffers[tensor].offset}"


def _row_offset(plan: Plan, tensor: str) -> str:
    """C expression for where the row ``row`` of a tensor lies, in the arena or the output."""
    storage = plan.network.storage[tensor]
    buffer = plan.buffers.get(tensor)
    row = f"row % {buffer.slots}" if buffer and not buffer.whole else "row"
    start = f"{buffer.offset} + " if buffer else ""
    return f"{start}{row} * {storage.row_bytes}"


def _row_place(plan: Plan, tensor: str) -> str:
    """C expression for the first byte of the row ``row`` of a tensor."""
    memory = "memory" if tensor in plan.buffers else "output"
    return f"{memory} + {_row_offset(plan, tensor)}"


def _operands(plan: Plan, step: Step, call: KernelCall) -> Iterator[str]:
    """The C expressions of what a kernel's function is given."""
    stage = step.stage
    for operand in call.operands:
        if operand == INPUTS:
            yield from (_place(plan, tensor) for tensor in stage.inputs)
        elif operand == OUTPUT:
            yield _place(plan, stage.output)
        elif operand == OUTPUT_ROW:
            planar = plan.network.storage[stage.output].planar
            offset = call.offset + (planar.lead if planar else 0)
            yield _row_place(plan, stage.output) + (f" + {offset}" if offset else "")
        elif operand == SCRATCH:
            yield f"THUMBNET_PAIRS(memory + {plan.scratch[step.phase].offset})"
        else:
            assert operand == ROW
            yield operand


def _stage_calls(
    plan: Plan, step: Step, calls: tuple[Call, ...], made: tuple[KernelCall, ...]
) -> StageCalls:
    graph, stage = plan.graph, step.stage
    first, last = stage.nodes[0], stage.nodes[-1]
    height, width, channels = graph.tensors[last.output].shape
    at_once = any(call.at_once for call in made)
    shapes = " + ".join(_shape(shape) for shape in graph.shapes(first))
    numbers = " and ".join(str(layer) for layer in stage.layers)
    ops = " + ".join(node.op for node in stage.nodes)
    return StageCalls(
        index=step.index,
        comment=_comment(f"{numbers}: {ops} {stage.name}: {shapes} -> {height}x{width}x{channels}"),
        calls=calls,
        reports=tuple(_reports(plan, step, at_once)),
        written=_written(plan, step, at_once),
        rows=height,
        at_once=at_once,
    )


def _written(plan: Plan, step: Step, at_once: bool) -> tuple[str, ...]:
    """The stretches of the arena that a stage writes to: its row, scratch memory, and padding."""
    stage = step.stage
    out, scratch = plan.buffers.get(stage.output), plan.scratch.get(step.phase)
    row = scratched = padding = "BYTES(0, 0)"
    if out and at_once:
        row = f"BYTES({out.offset}, {out.size})"
    elif out:
        row = f"BYTES({_row_offset(plan, stage.output)}, {out.row_bytes})"
    if scratch:
        scratched = f"BYTES({scratch.offset}, {scratch.size})"
    if (source := plan.network.storage[stage.inputs[0]]).planar:
        window, buffer = row_window(stage.nodes[0]), plan.buffers[stage.inputs[0]]
        first = f"row * {window.stride} - {window.pad}"
        inside = f"{first} >= 0 && {first} <= {source.rows - window.size}"
        size = str(buffer.size) if at_once else f"{inside} ? 0 : {buffer.size}"
        padding = f"BYTES({buffer.offset}, {size})"
    return row, scratched, padding


def _reports(plan: Plan, step: Step, at_once: bool) -> Iterator[str]:
    """Statements that report the row ``row`` of each layer of a stage."""
    stage = step.stage
    for layer, node in zip(stage.layers, stage.nodes, strict=True):
        _, width, channels = plan.graph.tensors[node.output].shape
        if node is not stage.nodes[-1]:
            place = f"memory + {plan.scratch[step.phase].offset}"
            first = f"row * {width}" if at_once else "0"
            yield f"REPORT_PAIRS({layer}u, row, {place}, {first}, {width}, {channels})"
            continue
        storage, place = plan.network.storage[node.output], _row_place(plan, node.output)
        if planar := storage.planar:
            sizes = f"{width}, {channels}, {planar.plane}"
            yield f"REPORT_PLANAR({layer}u, row, {place} + {planar.lead}, {sizes})"
        else:
            yield f"REPORT({layer}u, row, {place}, {storage.row_bytes}u)"


def _shape(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)


def _comment(text: str) -> str:
    """``text`` made harmless inside a C comment: one line of printable ASCII."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in text).replace("\\", "/")
    # A space inside each */ and /* and between question marks, which could be trigraphs.
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)", " ", printable)


def _port(graph: Graph, name: str) -> Port:
    tensor, q = graph.tensors[name], graph.q(name)
    return Port(tensor.shape, tensor.size, f"{q.scale:.9g}f", q.zero_point)


def _pixel_tables(graph: Graph, name: str) -> ConstArray | None:
    """The int8 value of each pixel value of each channel; None where it is ``pixel - 128``."""
    table = pixel_table(graph.preprocess, graph.q(graph.input))
    if np.array_equal(table, np.tile(np.arange(-128, 128), (len(table), 1))):
        return None
    if (table == table[0]).all():
        table = table[:1]
    reads = graph.input_tensor.shape[0] * graph.input_tensor.shape[1]
    return _const_array(f"{name}_pixels", CArray("table", table), reads)
