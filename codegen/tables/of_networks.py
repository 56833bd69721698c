"""What the commands say of networks that are not compiled yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.text import Text

from codegen.tables.cells import Document, byte_table, millions, number, shape_text, short, table


def described(report: Document) -> Iterable[RenderableType]:
    """Layers of a network, and what it takes when it is compiled."""
    names = ("#", "layer", "op", "input", "output", "multiply-adds", "parameters")
    rows = [
        (
            number(index),
            short(layer["name"]),
            layer["op"],
            shape_text(layer["input"]),
            shape_text(layer["output"]),
            number(layer["macs"]),
            number(layer["parameters"]),
        )
        for index, layer in enumerate(report["layers"])
    ]
    yield table("layers", names, rows, left=(1, 2))
    if report.get("blocks"):
        yield from _explained(report["blocks"])
    elif "blocks" in report:
        yield Text("There is no depthwise layer with a pointwise one behind it to explain.")
    for title, key in (("flash, bytes", "flash"), ("RAM, bytes", "ram")):
        if report.get(key):
            yield byte_table(title, report[key])
    yield Text(
        f"{report['name']}: {number(report['macs'])} multiply-adds, "
        f"{number(report['parameters'])} parameters"
    )
    if not report.get("compiled", True) and report.get("core"):
        yield Text(
            f"Flash and RAM are estimated for {report['core']}; `thumbnet compile` measures them, "
            "with code and stack."
        )


def _explained(blocks: Sequence[Document]) -> Iterable[RenderableType]:
    """Weights and multiply-adds of blocks, standard and separable, and how many times less."""
    parts = [(kind, what) for what in ("weights", "macs") for kind in ("standard", "separable")]
    rows = [
        (
            short(block["name"]),
            "x".join(map(str, block["kernel"])),
            " -> ".join(map(str, block["channels"])),
            *(number(block[kind][what]) for kind, what in parts),
            f"{block['times']:.1f}",
        )
        for block in blocks
    ]
    sums = [sum(block[kind][what] for block in blocks) for kind, what in parts]
    rows.append(("all", "", "", *map(number, sums), f"{sums[2] / sums[3]:.1f}"))
    names = (
        "block",
        "kernel",
        "channels",
        "weights",
        "separable",
        "mult-adds",
        "separable",
        "times",
    )
    title = "as standard convolutions, and as they are: depthwise, then pointwise"
    yield table(title, names, rows, left=(0, 2), gap=1)


def zoo(report: Document) -> Iterable[RenderableType]:
    """One line on what was written."""
    yield Text(
        f"{report['name']}, alpha {report['alpha']:g}, {report['resolution']}x"
        f"{report['resolution']}, {number(report['classes'])} classes: "
        f"{number(report['macs'])} multiply-adds, {number(report['parameters'])} parameters "
        f"({report['weights']}), written to {report['out']}"
    )


def swept(report: Document) -> Iterable[RenderableType]:
    """One row a network and board; the front is marked."""
    rows = [
        (
            row["board"],
            f"{row['alpha']:g}",
            number(row["resolution"]),
            millions(row["macs"]),
            *(number(row[key]) for key in ("flash", "ram")),
            "-"
            if row["cycles"] is None
            else ("" if row["counted"] else "~") + millions(row["cycles"]),
            "-" if row["milliseconds"] is None else f"{row['milliseconds']:,.1f}",
            "yes" if row["fits"] else "no",
            "*" if row["front"] else "",
        )
        for row in report["rows"]
    ]
    names = ("board", "alpha", "pixels", "mult-adds", "flash", "RAM", "cycles", "ms", "fits", "")
    yield table(f"{report['network']}, sizes in bytes", names, rows, left=(0, 8, 9), gap=1)
    yield Text(
        "Cycles at zero wait states as `thumbnet profile` counts them; ~ scaled by multiply-adds "
        "from a smaller resolution of the same width (--exact counts all).\n"
        "* Pareto front: it fits, and none that fits has as many multiply-adds in as little time "
        "and RAM."
    )
