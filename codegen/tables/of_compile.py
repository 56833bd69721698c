"""What ``compile`` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.text import Text

from codegen.tables.cells import Document, byte_table, millions, number, shape_text, short, table


def compiled(report: Document, errors: bool = False) -> Iterable[RenderableType]:
    """The plan, flash by section, RAM by part and multiply-adds of a compiled network."""
    names = ("", "layers", "op", "kernel", "output", "segment", "rows kept", "bytes", "RAM live")
    rows = [
        (
            number(stage["stage"]),
            "+".join(map(str, stage["layers"])),
            " + ".join(stage["ops"]),
            f"{stage['kernel']} {(stage['variant'] or '').rpartition('_')[2]}".rstrip(),
            shape_text(stage["output"]),
            number(stage["segment"]),
            _rows_kept(stage),
            number(stage["bytes"]),
            number(stage["ram_live"]),
        )
        for stage in report["plan"]
    ]
    yield table("plan: the rows of a segment stream", names, rows, left=(2, 3, 6), gap=1)
    yield from _refusals(report["plan"])
    yield byte_table("flash, bytes", report["flash"])
    yield byte_table("RAM, bytes", report["ram"])
    if report.get("simplified"):
        yield Text(_simplified(report["simplified"]))
    yield Text(_quantization(report["quantization"]))
    yield from _errors(report, errors)
    where = f" on board {report['board']}" if report.get("board") else ""
    yield Text(
        f"{report['name']} for {report['core']}{where}: {number(report['macs'])} multiply-adds, "
        f"{number(report['parameters'])} parameters, written to {report['out']}"
    )


def _quantization(used: Document) -> str:
    """One line: what was used to get to int8."""
    if "kept" in used:
        return "quantized already: scales and zero points of the file are kept"
    wide = ", depthwise weights of 16 bits" if used["wide_depthwise"] else ""
    return (
        f"quantized on {used['images']} pictures: {used['estimator']} ranges, {used['weights']} "
        f"weights, equalisation {used['equalize']}, "
        f"{used['bias_correction']} bias correction, {used['rounding']} rounding{wide}"
    )


def _errors(report: Document, every: bool) -> Iterable[RenderableType]:
    """The errors of layers: all in a table, or the largest three in a line."""
    errors = report["errors"]
    if errors and every:
        names = ("#", "layer", "op", "SQNR dB", "mean error", "largest error")
        rows = [
            (
                number(index),
                short(error["layer"]),
                error["op"],
                _decibels(error["sqnr"]),
                f"{error['mean']:.3g}",
                f"{error['largest']:.3g}",
            )
            for index, error in enumerate(errors)
        ]
        yield table("int8 against float, on calibration images", names, rows, left=(1, 2))
    elif errors:
        worst = sorted(errors, key=lambda error: error["sqnr"] or float("inf"))[:3]
        listed = ", ".join(f"{short(e['layer'])} {_decibels(e['sqnr'])}" for e in worst)
        yield Text(
            f"signal to quantization noise: {_decibels(errors[-1]['sqnr'])} dB at the output; the "
            f"least at {listed}"
        )
    if report["sensitivity"]:
        alone = [(short(e["layer"]), _decibels(e["sqnr"])) for e in report["sensitivity"]]
        yield table("int8 in one layer", ("layer", "SQNR dB at the output"), alone, left=(0,))


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f}"


def _rows_kept(stage: Document) -> str:
    if stage["offset"] is None:
        return "by the caller"
    kept, rows = stage["rows_kept"], stage["rows"]
    return f"all {rows}" if kept == rows else f"{kept} of {rows}"


def _refusals(plan: Sequence[Document]) -> Iterable[Text]:
    """Why stages have not the fastest kernel, each reason once."""
    stages: dict[str, list[str]] = {}
    for stage in plan:
        if stage["kernel"].startswith("portable/"):
            for reason in stage["refused"]:
                if not reason.startswith("portable/"):
                    stages.setdefault(reason, []).append(str(stage["stage"]))
    for reason, numbers in stages.items():
        yield Text(f"stage {', '.join(numbers)}: not {reason}")


def _simplified(done: Document) -> str:
    removed, channels = (number(done[key]) for key in ("removed", "channels"))
    if not done["removed"]:
        return f"simplified: none of {channels} channels is constant or unused"
    before, after = (millions(done[key]) for key in ("macs_before", "macs"))
    return (
        f"simplified: {removed} of {channels} channels are constant or unused, "
        f"{before} multiply-adds become {after}"
    )
