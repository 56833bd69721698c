"""The command ``thumbnet``: arguments, progress and messages; the work is done elsewhere.

What does the work is imported by the command that needs it, so that ``--help`` is quick.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from codegen import __version__, console
from codegen.console import ProgressBar, guarded

if TYPE_CHECKING:
    from codegen.images import LabelOptions

N = TypeVar("N", int, float)

app = typer.Typer(
    name="thumbnet",
    help="A trained MobileNet in ONNX goes in, verified int8 C for Cortex-M comes out.",
    epilog="Example: thumbnet compile --core cortex-m4 -o build/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Objective(str, Enum):
    """What the plan aims at."""

    balanced = "balanced"
    ram = "ram"
    cycles = "cycles"
    whole = "whole"


class Kernels(str, Enum):
    """Kernel families."""

    dsp = "dsp"
    portable = "portable"


class Engine(str, Enum):
    """What computes the int8 outputs."""

    host = "host"
    simulator = "simulator"


class Estimator(str, Enum):
    """How activation ranges are taken from the calibration images."""

    minmax = "minmax"
    average = "average"
    percentile = "percentile"
    mse = "mse"
    entropy = "entropy"


class Weights(str, Enum):
    """How many scales the weights of a layer have."""

    channel = "per-channel"
    tensor = "per-tensor"


class Equalization(str, Enum):
    """Cross-layer equalisation."""

    auto = "auto"
    exact = "exact"
    full = "full"
    none = "none"


class BiasCorrection(str, Enum):
    """What makes up for the mean error of quantized weights."""

    empirical = "empirical"
    analytic = "analytic"
    none = "none"


class Rounding(str, Enum):
    """How weights get to their steps."""

    adaptive = "adaptive"
    nearest = "nearest"


class FlashLine(str, Enum):
    """Bytes that a flash gives in one read."""

    narrow = "8"
    wide = "16"
    widest = "32"


class Exporter(str, Enum):
    """What writes a network of the zoo as ONNX."""

    direct = "direct"
    keras = "keras"


class LibraryKind(str, Enum):
    """Build systems that an output folder becomes a library of."""

    cmake = "cmake"
    arduino = "arduino"
    platformio = "platformio"
    zephyr = "zephyr"


class Program(str, Enum):
    """Programs for a board at a serial port."""

    serial = "serial"
    mlperf = "mlperf"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Out = Annotated[Path, typer.Argument(help="Folder that `thumbnet compile` made.", metavar="OUT")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Use at most so many images, evenly spaced."),
]


def main() -> None:
    """Entry point of the command."""
    console.end_like_ctrl_c()
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"thumbnet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="THUMBNET_DEBUG", help="Show the traceback of an unexpected error."
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    console.state.debug = debug


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


@app.command(epilog="Example: thumbnet verify build/demo --on host,qemu:cortex-m4 --random 5")
@guarded
def verify(
    out: Out,
    on: Annotated[
        str,
        typer.Option(
            help="Targets, separated by commas: host, host:clang, qemu (the core or board OUT is "
            "for), qemu:cortex-m3, qemu:all (every core where it fits), qemu-serial (over an "
            "emulated serial port), serial:/dev/ttyACM0 (a board)."
        ),
    ] = "host,qemu",
    images: Annotated[
        Path | None,
        typer.Option(help="Pictures to run: folder, .zip or .npz."),
    ] = None,
    random: Annotated[
        int, typer.Option(min=1, help="Random images to run when no pictures are given.")
    ] = 10,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Compare every byte of every layer with the simulator, on host and emulated cores."""
    from codegen import tables
    from codegen.verify import verify_model

    targets = tuple(word.strip() for word in on.split(",") if word.strip())
    if not targets:
        raise typer.BadParameter("name at least one target, for example host", param_hint="--on")
    with ProgressBar() as progress:
        report = verify_model(out, targets, images, random, progress, limit)
    tables.show(report.to_json(), tables.verified, as_json)
    if not report.equal:
        raise typer.Exit(1)


@app.command(epilog="Example: thumbnet run build/demo photos --on qemu-serial")
@guarded
def run(
    out: Out,
    images: Annotated[Path, typer.Argument(help="Pictures: one file, folder, .zip or .npz.")],
    on: Annotated[
        str,
        typer.Option(
            help="Device: serial:/dev/ttyACM0, serial:PATH@BAUD, qemu-serial (emulated), "
            "qemu-serial:BOARD."
        ),
    ] = "qemu-serial",
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Classify pictures on a board, or on an emulated one, over its serial port."""
    from codegen import tables
    from codegen.device.classify import classify

    with ProgressBar() as progress:
        report = classify(out, images, on, limit, progress)
    tables.show(report.to_json(), tables.classified, as_json)


@app.command(epilog="Example: thumbnet simulate build/demo --images photos -o result.npz")
@guarded
def simulate(
    out: Out,
    images: Annotated[Path, typer.Option(help="Pictures: folder, .zip, .npz or one file.")],
    result: Annotated[
        Path | None,
        typer.Option("-o", "--result", help="Write names, classes, outputs, ... as .npz."),
    ] = None,
    tensor: Annotated[
        list[str] | None,
        typer.Option(help="Also write this tensor to RESULT; may be repeated."),
    ] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Run pictures through the bit-exact simulator."""
    if tensor and not result:
        raise typer.BadParameter("--tensor needs -o RESULT.npz to write to")
    from codegen import runs, tables

    with ProgressBar() as progress:
        report = runs.simulate_model(out, images, limit, tuple(tensor or ()), progress)
    if result:
        _save_npz(result, report.arrays())
    tables.show(report.to_json(), tables.simulated, as_json)


def _save_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays, the file as a whole or not at all."""
    import numpy as np

    from codegen.output import whole_file

    # Not np.savez: on a full disk it leaves an archive that complains when it is collected.
    with whole_file(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)


@app.command(epilog="Example: thumbnet evaluate build/demo --data photos")
@guarded
def evaluate(
    out: Out,
    data: Annotated[
        Path,
        typer.Option(
            help="Labelled pictures: one folder per class, labels.csv, or .npz with `labels`."
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(help="The ONNX file OUT was made from; the default model if left out."),
    ] = None,
    file_column: Annotated[str, typer.Option(help="Column of labels.csv.")] = "file",
    class_column: Annotated[str, typer.Option(help="Column of labels.csv.")] = "class",
    class_offset: Annotated[
        int, typer.Option(help="Added to every class: 1 for a background class in front.")
    ] = 0,
    limit: Limit = None,
    engine: Annotated[
        Engine,
        typer.Option(help="What computes int8: the compiled C, or the simulator (same bytes)."),
    ] = Engine.host,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Parts computed at once; one a core if left out.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, tcp://HOST:PORT, whose workers compute."),
    ] = None,
    result: Annotated[
        Path | None,
        typer.Option("-o", "--result", help="Write every outcome and the confusions as .npz."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure top-1 and top-5 of the float network and of the int8 program."""
    from codegen import tables
    from codegen.evaluate import evaluate_model

    labels = _labels(file_column, class_column, class_offset)
    with ProgressBar() as progress:
        report = evaluate_model(out, model, data, labels, limit, progress, engine.value, jobs, dask)
    if result is not None:
        _save_npz(result, report.arrays())
    tables.show(report.to_json(), tables.evaluated, as_json)


def _labels(file_column: str, class_column: str, offset: int) -> LabelOptions:
    from codegen.images import LabelOptions

    return LabelOptions(file_column, class_column, offset)


@app.command(epilog="Example: thumbnet info build/demo")
@guarded
def info(
    path: Annotated[Path, typer.Argument(help="ONNX file or OUT folder.", metavar="MODEL|OUT")],
    core: Annotated[
        str | None, typer.Option(help="Core whose flash and RAM are estimated for a file.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="What each depthwise-separable block would cost as one convolution."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """List layers, parameters, multiply-adds, flash and RAM."""
    from codegen import runs, tables

    tables.show(runs.info_model(path, core, explain).to_json(), tables.described, as_json)


@app.command(epilog="Example: thumbnet zoo mobilenet_v1 --alpha 0.25 --resolution 96 -o v1.onnx")
@guarded
def zoo(
    name: Annotated[
        str,
        typer.Argument(
            help="mobilenet_v1, mobilenet_v2, mobilenet_v3_small, mobilenet_v3_large (both also "
            "with _minimalistic), googlenet, vgg16, squeezenet_1_0, squeezenet_1_1 or alexnet.",
            metavar="NAME",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="ONNX file to write.")],
    alpha: Annotated[float, typer.Option(help="Width multiplier, above 0, at most 2.")] = 1.0,
    resolution: Annotated[int, typer.Option(help="Input size, a multiple of 32.")] = 224,
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 1000,
    weights: Annotated[
        Path | None, typer.Option(help="Keras file (.h5); random weights if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random weights.")] = 0,
    exporter: Annotated[
        Exporter,
        typer.Option(help="direct: NCHW, needs nothing; keras: NHWC, by tf2onnx (extra train)."),
    ] = Exporter.direct,
    as_json: Json = False,
) -> None:
    """Write a network of the zoo as ONNX, with random or given weights."""
    from codegen import tables
    from codegen.zoo.make import ZooOptions, make_model

    options = ZooOptions(name, out, alpha, resolution, classes, weights, seed, exporter.value)
    with ProgressBar() as progress:
        report = make_model(options, progress)
    tables.show(report.to_json(), tables.zoo, as_json)


@app.command(epilog="Example: thumbnet sweep --alphas 0.25 --resolutions 32,64 --boards microbit")
@guarded
def sweep(
    alphas: Annotated[str, typer.Option(help="Width multipliers, separated by commas.")],
    resolutions: Annotated[str, typer.Option(help="Input sizes, separated by commas.")],
    boards: Annotated[str, typer.Option(help="Boards, separated by commas.")],
    network: Annotated[str, typer.Option(help="As for `thumbnet zoo`.")] = "mobilenet_v1",
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 1000,
    plot: Annotated[
        Path | None, typer.Option("-o", "--plot", help="SVG file of time and size to write.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Count every network; large ones take minutes.")
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=0, help="Networks at a time; 0 for one a processor.")
    ] = 0,
    dask: Annotated[
        str | None, typer.Option(help="Dask scheduler to use, such as tcp://host:8786.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare widths and resolutions on boards: flash, RAM, cycles, time, and what fits."""
    from codegen import sweep as sweeping
    from codegen import tables

    options = sweeping.SweepOptions(
        network=network,
        alphas=_numbers(alphas, float, "--alphas"),
        resolutions=_numbers(resolutions, int, "--resolutions"),
        boards=tuple(word.strip() for word in boards.split(",") if word.strip()),
        classes=classes,
        exact=exact,
        jobs=jobs,
        dask=dask,
    )
    with ProgressBar() as progress:
        report = sweeping.sweep(options, progress)
    if plot:
        from codegen.output import whole_file

        with whole_file(plot) as unfinished:
            unfinished.write_text(sweeping.plotted(report), encoding="utf-8")
    tables.show(report.to_json(), tables.swept, as_json)


def _numbers(text: str, kind: Callable[[str], N], option: str) -> tuple[N, ...]:
    """The numbers of a list separated by commas."""
    try:
        return tuple(kind(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; give numbers such as 96,128", param_hint=option
        ) from None


@app.command(epilog="Example: thumbnet profile build/demo --core cortex-m4 --functions")
@guarded
def profile(
    out: Out,
    core: Annotated[
        str | None, typer.Option(help="Core to profile for; the one OUT is for if left out.")
    ] = None,
    functions: Annotated[
        bool, typer.Option("--functions", help="Also list the functions, the costliest first.")
    ] = False,
    flash_wait: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            help="Wait states of flash: code and constants. In place of those of OUT's board, as "
            "--ram-wait.",
        ),
    ] = None,
    ram_wait: Annotated[
        int | None, typer.Option(min=0, max=100, help="Wait states of RAM.")
    ] = None,
    prefetch: Annotated[
        bool, typer.Option(help="With wait states: flash reads the next line ahead.")
    ] = False,
    flash_line: Annotated[
        FlashLine, typer.Option(help="With wait states: bytes that flash gives in one read.")
    ] = FlashLine.wide,
    worst: Annotated[
        bool, typer.Option("--worst", help="Divisions at their slowest, not at the middle.")
    ] = False,
    slow_multiply: Annotated[
        bool, typer.Option("--slow-multiply", help="Cortex-M0 and M0+: multiply in 32 cycles.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count instructions and estimate cycles of each layer, by running the program."""
    from codegen import profile as profiling
    from codegen import tables

    waits = None
    if flash_wait is not None or ram_wait is not None:
        waits = profiling.WaitStates(
            flash_wait or 0, ram_wait or 0, prefetch, int(flash_line.value)
        )
    options = profiling.ProfileOptions(functions, waits, worst, slow_multiply)
    with ProgressBar() as progress:
        report = profiling.profile_model(out, core, options, progress)
    tables.show(report.to_json(), tables.profiled, as_json)


@app.command(epilog="Example: thumbnet flash build/demo --board nucleo_l4r5zi --dry-run")
@guarded
def flash(
    out: Out,
    board: Annotated[str, typer.Option(help="Board to write; see `thumbnet boards`.")],
    program: Annotated[
        Program,
        typer.Option(help="serial answers `verify` and `run`; mlperf the runner of MLPerf Tiny."),
    ] = Program.serial,
    method: Annotated[
        str | None,
        typer.Option(help="pyocd, openocd, st-flash, picotool, uf2 or gdb; the board's usual one."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="gdb: HOST:PORT of the server; uf2: folder of the drive."),
    ] = None,
    production: Annotated[
        bool, typer.Option("--production", help="Without the CRCs of the layers.")
    ] = False,
    mlperf_model: Annotated[
        str, typer.Option(help="mlperf: benchmark that the model is for.")
    ] = "vww01",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before writing.")] = False,
    as_json: Json = False,
) -> None:
    """Build a program around the model, write it to a board and verify it."""
    from codegen import tables
    from codegen.device.firmware import planned_flash
    from codegen.device.flash import write_flash

    check = program is Program.serial and not production
    defines = (f"THUMBNET_MLPERF_MODEL={mlperf_model}",) if program is Program.mlperf else ()
    with planned_flash(out, board, program.value, method, to, check, defines) as plan:
        tables.show({**plan.to_json(), "written": False}, tables.flashing, as_json and dry_run)
        if dry_run:
            return
        if not yes and not as_json:
            typer.confirm("Write this?", abort=True)
        with ProgressBar() as progress:
            write_flash(plan, progress)
    tables.show({**plan.to_json(), "written": True}, tables.flashed, as_json)


@app.command(epilog="Example: thumbnet export build/demo --as cmake -o build/demo_cmake")
@guarded
def export(
    source: Out,
    kind: Annotated[LibraryKind, typer.Option("--as", help="Build system that takes the library.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to make.", metavar="FOLDER")],
    version: Annotated[
        str, typer.Option("--version", help="Version of the library: MAJOR.MINOR.PATCH.")
    ] = "1.0.0",
    force: Annotated[
        bool, typer.Option("--force", help="Replace FOLDER if it is an export.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a library for CMake, Arduino, PlatformIO or Zephyr of an output folder."""
    from codegen import exports, tables

    report = exports.export_model(source, kind.value, out, version, force)
    tables.show(report.to_json(), tables.exported, as_json)


@app.command(epilog="Example: thumbnet boards")
@guarded
def boards(as_json: Json = False) -> None:
    """List the boards that thumbnet knows."""
    from codegen import tables
    from codegen.boards import list_boards, load_board

    found = [load_board(name) for name in list_boards()]
    tables.show(tables.boards_json(found), tables.boards, as_json)


if __name__ == "__main__":
    main()
