"""The main flow: ONNX -> Graph (float) -> passes -> Graph (int8) -> Plan -> C files -> sizes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codegen.advice import nearest_that_fits
from codegen.boards import DEFAULT_CORE, Board, Core, load_board, load_core
from codegen.calibration_images import calibration_images
from codegen.camera import Camera, state_bytes
from codegen.emit import ConstantBytes, constant_bytes, write_firmware, write_model
from codegen.errors import ThumbnetError
from codegen.fit import CODE_ESTIMATE, check_fit
from codegen.graph_file import FILE_NAME, save_graph
from codegen.ir import Graph, Preprocess
from codegen.kernels.base import UNROLL
from codegen.linker import Layout
from codegen.make_cmodel import c_identifier
from codegen.measure import ModelSizes, measure_model
from codegen.onnx_export import write_qdq
from codegen.onnx_import import ImportedModel, import_onnx
from codegen.onnx_import.quantized import OFFSETS
from codegen.output import REPORT_NAME, file_digest, new_folder
from codegen.passes import simplify
from codegen.plan import Plan, make_plan, stage_document
from codegen.preprocess import for_channels, of_integers, parse_preprocess
from codegen.progress import Progress, silent
from codegen.quant.channels import Simplified, drop_channels
from codegen.quant.layer_errors import (
    WORTHWHILE,
    layer_errors,
    report_pixels,
    sensitivity,
    with_wide_depthwise,
)
from codegen.quant.pipeline import Quantized, QuantOptions, keep_quantization, quantize_model
from codegen.quant.quantize import unscaled
from codegen.zoo.defaults import default_calibration, default_model

DEFAULT_PREPROCESS = "signed"


@dataclass(frozen=True)
class CompileOptions:
    """What the user asks of ``compile``.

    Attributes:
        model: ONNX file; None for the trained default model.
        out: Folder to make.
        calibrate: Calibration pictures; None is allowed for the default model, which has its own.
        core: Core to generate for; None for the board's or cortex-m4.
        board: Board that the model must fit; None for the one that emulates the core.
        name: Prefix of the C names; None for the file's name.
        preprocess: How pixels become inputs; None for what the file says.
        quantization: How activations and weights are quantized.
        simplify: Drop channels that are constant or that nobody reads.
        optimize: What the plan aims at: one of ``codegen.plan.OBJECTIVES``.
        flash_budget: Bytes of constants and code that the kernels should not exceed; None for the
            flash of ``board``, or for the fastest kernels if there is none.
        kernels: Kernel family; None for the core's own.
        unroll: Steps that the body of an inner loop has at most.
        limit: Calibration pictures at most.
        build: Measure code and stack by compiling.
        force: Replace ``out`` if thumbnet made it.
        place: Regions of ``board`` chosen by hand, as in ``codegen.linker.plan_layout``.
        emit_qdq: Also write the int8 network as an ONNX file, NAME_qdq.onnx.
        sensitivity: Also measure what each layer costs that is int8 alone.
        camera: Also write what resizes its frames row by row.
    """

    out: Path
    model: Path | None = None
    calibrate: Path | None = None
    core: str | None = None
    board: str | None = None
    name: str | None = None
    preprocess: Preprocess | None = None
    quantization: QuantOptions = QuantOptions()
    simplify: bool = True
    optimize: str = "balanced"
    flash_budget: int | None = None
    kernels: str | None = None
    unroll: int = UNROLL
    limit: int = 100
    build: bool = True
    force: bool = False
    place: Mapping[str, str] = field(default_factory=dict)
    emit_qdq: bool = False
    sensitivity: bool = False
    camera: Camera | None = None


@dataclass(frozen=True, eq=False)
class CompileReport:
    """What ``compile`` made; ``to_json`` is the document that is printed and stored."""

    options: CompileOptions
    name: str
    core: str
    plan: Plan
    flash_budget: int | None
    constants: ConstantBytes
    sizes: ModelSizes
    warnings: tuple[str, ...]
    quantization: Mapping[str, Any]
    errors: Mapping[str, Any]
    simplified: Simplified | None = None

    def to_json(self) -> dict[str, Any]:
        """The document of ``compile --json``: sizes in bytes."""
        graph, sizes, arena = self.plan.graph, self.sizes, self.plan.arena_bytes
        # What a caller who pushes rows keeps beside the arena: the output, the camera's state.
        static = graph.output_tensor.size
        camera = self.options.camera
        if camera:
            static += state_bytes(camera, graph.input_tensor.shape)
        known = [part for part in (arena, sizes.stack, static) if part is not None]
        return {
            "name": self.name,
            "core": self.core,
            "board": self.options.board,
            "place": dict(self.options.place),
            "camera": camera.spec if camera else None,
            "out": str(self.options.out),
            "optimize": self.options.optimize,
            "flash_budget": self.flash_budget,
            "kernels": self.options.kernels,
            "unroll": self.options.unroll,
            "quantization": dict(self.quantization),
            **self.errors,
            "simplify": self.options.simplify,
            "simplified": _simplified(self.simplified),
            "macs": graph.macs(),
            "parameters": sum(node.parameters for node in graph.nodes),
            "flash": {
                "weights": sizes.weights,
                "code": sizes.code,
                "tables": sizes.tables,
                "total": sizes.weights + (sizes.code or 0) + sizes.tables,
            },
            "ram": {
                "arena": arena,
                "stack": sizes.stack,
                "static": static,
                "total": sum(known),
            },
            "layers": [self._layer(index) for index in range(len(self.plan.graph.nodes))],
            "plan": [stage_document(self.plan, step) for step in self.plan.steps],
            "warnings": list(self.warnings),
        }

    def _layer(self, index: int) -> dict[str, Any]:
        step, graph = self.plan.step_of(index), self.plan.graph
        node, kernel = graph.nodes[index], step.stage.kernel
        return {
            "index": index,
            "name": node.name,
            "op": node.op,
            "kernel": f"{kernel.family}/{kernel.name}",
            "segment": step.phase,
            "streamed": self.plan.streamed(step),
            "output": list(graph.tensors[node.output].shape),
            "macs": node.macs(*graph.shapes(node)),
            "ram_live": self.plan.live_bytes(step),
            "input_bytes": sum(graph.tensors[name].size for name in node.inputs),
            "output_bytes": graph.tensors[node.output].size,
        }


def _simplified(done: Simplified | None) -> dict[str, int] | None:
    """Channels that layers compute, those dropped, and multiply-adds before and after."""
    if done is None:
        return None
    return {
        "channels": done.channels,
        "removed": done.removed,
        "macs_before": done.before.macs(),
        "macs": done.graph.macs(),
    }


def compile_model(options: CompileOptions, progress: Progress = silent) -> CompileReport:
    """Makes the output folder.

    Raises:
        ThumbnetError: The model, the pictures, the board or the folder does not do; nothing is
            left behind.
    """
    board, core = _target(options)
    with new_folder(options.out, options.force) as folder:
        progress("reading the model", 0, 1)
        imported = import_onnx(options.model or default_model())
        warnings = list(imported.notes)
        float_graph = simplify(_declared(imported, options, warnings))
        quantized = _quantized(imported, float_graph, options, progress, warnings)
        warnings += quantized.warnings
        errors = _errors(quantized, options, warnings, progress)
        simplified = drop_channels(quantized.graph) if options.simplify else None
        graph = simplified.graph if simplified else quantized.graph
        budget = options.flash_budget
        if budget is None and options.board:
            budget = board.flash_bytes - CODE_ESTIMATE
        plan = make_plan(
            graph, core.name, options.optimize, budget, options.kernels, options.unroll
        )
        name = c_identifier(options.name or (options.model or default_model()).stem)
        progress("writing C", 0, 1)
        save_graph(graph, folder / FILE_NAME)
        if options.emit_qdq:
            write_qdq(graph, folder / f"{name}_qdq.onnx")
        constants = constant_bytes(write_model(plan, name, folder, options.camera))
        layout = _layout(plan, constants, board, core, options)
        if layout:
            write_firmware(folder, name, board, core, layout)
        else:
            warnings.append(f"It does not fit {board.title}: no firmware for it is written.")
        sizes = ModelSizes(constants.weights, constants.tables)
        if options.build:
            progress("compiling", 0, 1)
            sizes = _measured(folder, name, core, sizes)
        report = CompileReport(
            options,
            name,
            core.name,
            plan,
            budget,
            constants,
            sizes,
            tuple(warnings),
            quantized.document,
            errors,
            simplified,
        )
        stored = {**report.to_json(), "out": ""}  # the folder may be moved
        stored["model_sha256"] = file_digest(imported.path)  # `evaluate` is given the file again
        text = json.dumps(stored, indent=1) + "\n"
        (folder / REPORT_NAME).write_text(text, encoding="utf-8")
    return report


def _layout(
    plan: Plan, constants: ConstantBytes, board: Board, core: Core, options: CompileOptions
) -> Layout | None:
    """As ``check_fit``; what must fit and does not is told what would."""
    try:
        return check_fit(plan, constants, board, options.board is not None, options.place)
    except ThumbnetError as error:
        advice = nearest_that_fits(plan.graph, board, core.name)
        raise ThumbnetError(f"{error} {advice}".rstrip()) from None


def _target(options: CompileOptions) -> tuple[Board, Core]:
    if options.board:
        board = load_board(options.board)
        return board, load_core(options.core or board.core)
    core = load_core(options.core or DEFAULT_CORE)
    return load_board(core.qemu_board), core


def _declared(imported: ImportedModel, options: CompileOptions, warnings: list[str]) -> Graph:
    """The imported graph with its preprocessing and classes."""
    preprocess = options.preprocess or imported.preprocess
    if imported.input_kind != "float":
        return _with_integer_input(imported, preprocess, warnings)
    if preprocess is None:
        preprocess = parse_preprocess(DEFAULT_PREPROCESS)
        warnings.append(
            "No preprocessing is declared: pixel / 127.5 - 1 (signed) is assumed. If the network "
            "was trained otherwise, give --preprocess (unit, torch, ...)."
        )
    channels = imported.graph.input_tensor.shape[2]
    return replace(
        imported.graph,
        preprocess=for_channels(preprocess, channels),
        classes=imported.classes,
    )


def _with_integer_input(
    imported: ImportedModel, preprocess: Preprocess | None, warnings: list[str]
) -> Graph:
    """The imported graph of a file whose input is integers; the preprocessing tells which."""
    graph, offset = imported.graph, OFFSETS[np.dtype(imported.input_kind)]
    q, channels = graph.q(graph.input), graph.input_tensor.shape[2]
    if preprocess is None:
        preprocess = replace(parse_preprocess("raw"), mean=(128.0 - offset,) * 3)
        what = "as they are" if offset else "less 128"
        warnings.append(
            f"The input is {imported.input_kind}: it is given the bytes of pixels {what}."
        )
    preprocess = of_integers(for_channels(preprocess, channels), q, offset)
    return replace(graph, preprocess=preprocess, classes=imported.classes)


def _quantized(
    imported: ImportedModel,
    graph: Graph,
    options: CompileOptions,
    progress: Progress,
    warnings: list[str],
) -> Quantized:
    source, wanted = options.calibrate, unscaled(graph)
    if not wanted:
        if source is not None:
            warnings.append(
                f"{imported.path.name} is quantized already: its scales are kept, and the "
                "calibration images are not used."
            )
        none = np.zeros((0, *graph.input_tensor.shape), np.uint8)
        return keep_quantization(graph, none)
    if source is None and options.model is None:
        source = default_calibration()
    if source is None:
        raise ThumbnetError(
            "There are no calibration images. Give typical pictures with --calibrate DIR or "
            "--calibrate FILE.npz (about 100 are enough; no labels are needed)."
            + _why_calibrate(imported, graph, wanted)
        )
    shape = graph.input_tensor.shape
    pixels, notes = calibration_images(source, shape, graph.preprocess, options.limit)
    warnings += notes
    return quantize_model(imported, graph, pixels, options.quantization, progress)


def _errors(
    quantized: Quantized, options: CompileOptions, warnings: list[str], progress: Progress
) -> dict[str, Any]:
    """The errors of layers, and a hint if wider depthwise weights would make them smaller."""
    real, graph = quantized.real, quantized.graph
    pixels = report_pixels(real, quantized.pixels)
    if not len(pixels):
        return {"errors": [], "sensitivity": []}
    may_widen = "kept" not in quantized.document and not options.quantization.wide_depthwise
    others = (with_wide_depthwise(real, graph),) if may_widen else ()
    errors, *wide = layer_errors(real, (graph, *others), pixels, progress)
    if wide and wide[0][-1].sqnr >= errors[-1].sqnr + WORTHWHILE:
        warnings.append(
            "Depthwise weights of 16 bits would bring the output from "
            f"{errors[-1].sqnr:.1f} to {wide[0][-1].sqnr:.1f} dB (signal to noise): try "
            "--wide-depthwise."
        )
    alone = sensitivity(real, graph, pixels, progress) if options.sensitivity else ()
    return {
        "errors": [{**vars(error), "sqnr": _finite(error.sqnr)} for error in errors],
        "sensitivity": [{"layer": name, "sqnr": _finite(sqnr)} for name, sqnr in alone],
    }


def _finite(sqnr: float) -> float | None:
    """For JSON, which has no infinity."""
    return sqnr if np.isfinite(sqnr) else None


def _why_calibrate(imported: ImportedModel, graph: Graph, wanted: tuple[str, ...]) -> str:
    """What a file that is quantized in part lacks; nothing for a float file."""
    if all(tensor.q is None for tensor in graph.tensors.values()):
        return ""
    layer = graph.producer(wanted[0])
    where = f"layer {layer.name!r}" if layer else "the input"
    return (
        f" {imported.path.name} is quantized, but {len(wanted)} of its tensors have no scale: the "
        f"first is {wanted[0]!r}, of {where}. Or quantize the model with all its layers."
    )


def _measured(folder: Path, name: str, core: Core, constants: ModelSizes) -> ModelSizes:
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as build:
        return measure_model(folder, name, core, constants, Path(build))
