"""``compile``: its many options."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from codegen.cli.app import Json, app
from codegen.cli.choices import (
    BiasCorrection,
    Equalization,
    Estimator,
    Kernels,
    Objective,
    Rounding,
    Weights,
)
from codegen.console import ProgressBar, guarded


@app.command(
    "compile", epilog="Example: thumbnet compile model.onnx --calibrate photos -o build/model"
)
@guarded
def compile_(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to make.", metavar="OUT")],
    model: Annotated[
        Path | None,
        typer.Argument(help="ONNX file; the trained default model if left out."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Typical pictures: folder, .zip, or .npz with `images`. Not needed for a file "
            "that is quantized already (QDQ or QOperator)."
        ),
    ] = None,
    core: Annotated[
        str | None,
        typer.Option(help="Core to generate for, such as cortex-m4."),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(help="Board it must fit on; see `thumbnet boards`."),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            help="Also write what resizes a camera's frames as they arrive: WIDTHxHEIGHT:FORMAT or "
            "WIDTHxHEIGHT:FORMAT:METHOD, formats rgb888, rgb565be, rgb565le (upper or lower byte "
            "first), gray8; methods bilinear, nearest."
        ),
    ] = None,
    place: Annotated[
        str | None,
        typer.Option(
            help="Memories of the board chosen by hand: arena, weights, hot (copied to RAM), "
            "stack=REGION, with commas between; docs/device.md."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Prefix of files and C names."),
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            help="How a pixel becomes the input: unit (pixel/255), signed (pixel/127.5-1), raw, "
            "torch (ImageNet's numbers, central crop), or values such as "
            "'mean=0;std=255;channels=BGR;resize=crop'."
        ),
    ] = None,
    estimator: Annotated[
        Estimator,
        typer.Option(
            help="How the range of a tensor is taken from the calibration images: all that was "
            "seen (minmax), a moving average of each image's extremes, all but 0.01 % at either "
            "end (percentile), least squared error (mse), least divergence (entropy)."
        ),
    ] = Estimator.minmax,
    weights: Annotated[
        Weights, typer.Option(help="One weight scale for each output channel, or for a layer.")
    ] = Weights.channel,
    equalize: Annotated[
        Equalization,
        typer.Option(
            help="Balance the ranges of channels between layers: where that changes the float "
            "network for no picture (exact), also through ReLU6 and for high biases, which "
            "changes it for none of the calibration images (full), or not. auto: full for "
            "weights per tensor, else exact."
        ),
    ] = Equalization.auto,
    bias_correction: Annotated[
        BiasCorrection,
        typer.Option(
            help="Take the mean error of quantized layers back in the biases: as measured on the "
            "calibration images (empirical), as batch normalization tells (analytic), or not."
        ),
    ] = BiasCorrection.empirical,
    rounding: Annotated[
        Rounding,
        typer.Option(
            help="Round weights so that the layer's output errs least on the calibration images "
            "(adaptive), or each to the nearest step."
        ),
    ] = Rounding.adaptive,
    wide_depthwise: Annotated[
        bool,
        typer.Option(
            "--wide-depthwise",
            help="Depthwise weights of 16 bits: more exact, as fast on Cortex-M4, M7 and M33, and "
            "on those cores as large.",
        ),
    ] = False,
    optimize: Annotated[
        Objective,
        typer.Option(
            help="ram: least memory; cycles: every depthwise layer fused with the pointwise one "
            "behind it; balanced: apart where that saves a fifth of the memory; whole: no rows "
            "are streamed."
        ),
    ] = Objective.balanced,
    flash_budget: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Bytes of flash for weights, tables and code: kernels whose weights take 1 byte "
            "instead of 1.5 where it is exceeded. The board's flash if one is given.",
        ),
    ] = None,
    kernels: Annotated[
        Kernels | None,
        typer.Option(help="Kernel family; that of the core if left out."),
    ] = None,
    unroll: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            help="Steps of an inner loop that are written out: more are a little faster, but "
            "take code, and outgrow small instruction caches.",
        ),
    ] = 16,
    images: Annotated[
        int, typer.Option("--images", "--limit", min=1, help="Calibration images at most.")
    ] = 100,
    no_simplify: Annotated[
        bool,
        typer.Option(
            "--no-simplify",
            help="Keep channels that are constant or that nobody reads; the output is the same.",
        ),
    ] = False,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Write C only; code and stack stay unmeasured.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace OUT if thumbnet made it.")
    ] = False,
    emit_qdq: Annotated[
        bool,
        typer.Option(
            "--emit-qdq",
            help="Also write the int8 network as OUT/NAME_qdq.onnx, for Netron and onnxruntime.",
        ),
    ] = False,
    errors: Annotated[
        bool,
        typer.Option(
            "--errors",
            help="List the error of every layer's int8 output on some calibration images.",
        ),
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="List what each layer costs if it alone is int8 (takes minutes for large models).",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn an ONNX MobileNet into an int8 C program."""
    if core and board:
        raise typer.BadParameter("give --core or --board, not both: a board has its core")
    if place and not board:
        raise typer.BadParameter("--place needs --board, whose memories it names")
    from codegen import flow, tables
    from codegen.camera import parse_camera
    from codegen.linker import parse_placement
    from codegen.preprocess import parse_preprocess
    from codegen.quant.pipeline import QuantOptions

    options = flow.CompileOptions(
        model=model,
        out=out,
        calibrate=calibrate,
        core=core,
        board=board,
        name=name,
        preprocess=parse_preprocess(preprocess) if preprocess is not None else None,
        quantization=QuantOptions(
            estimator.value,
            weights.value,
            equalize.value,
            bias_correction.value,
            rounding.value,
            wide_depthwise,
        ),
        simplify=not no_simplify,
        optimize=optimize.value,
        flash_budget=flash_budget,
        kernels=kernels.value if kernels else None,
        unroll=unroll,
        limit=images,
        build=not no_build,
        force=force,
        place=parse_placement(place) if place else {},
        emit_qdq=emit_qdq,
        sensitivity=sensitivity,
        camera=parse_camera(camera) if camera is not None else None,
    )
    with ProgressBar() as progress:
        report = flow.compile_model(options, progress)
    table = functools.partial(tables.compiled, errors=errors)
    tables.show(report.to_json(), table, as_json)
