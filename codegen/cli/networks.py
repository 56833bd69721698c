"""Commands for networks before they are compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from codegen.cli.app import Json, app
from codegen.cli.choices import Exporter
from codegen.console import ProgressBar, guarded

N = TypeVar("N", int, float)


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
