"""Commands that run a compiled network: on this computer, emulated, or on a board."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codegen.cli.app import Json, Limit, Out, app
from codegen.cli.choices import Engine, FlashLine
from codegen.console import ProgressBar, guarded

if TYPE_CHECKING:
    from codegen.images import LabelOptions


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
