"""Reports as tables for people. Each function turns the JSON document of a command into tables."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from codegen import console
from codegen.boards import Board

Document = Mapping[str, Any]

_LONGEST = 28
"""Longest name of a layer or tensor in a table; the end of a name tells more than its beginning."""
_PICTURES = 50
"""Pictures that `simulate` lists for people."""


def show(
    document: Document, render: Callable[[Document], Iterable[RenderableType]], js: bool
) -> None:
    """Prints a report on stdout, as its JSON document or as tables; warnings go to stderr."""
    if js:
        console.print_json(document)
        return
    screen = console.output()
    for part in render(document):
        screen.print(part)
    for text in document.get("warnings", ()):
        console.warn(text)


def compiled(report: Document, errors: bool = False) -> Iterable[RenderableType]:
    """The plan, flash by section, RAM by part and multiply-adds of a compiled network."""
    names = ("", "layers", "op", "kernel", "output", "segment", "rows kept", "bytes", "RAM live")
    rows = [
        (
            _number(stage["stage"]),
            "+".join(map(str, stage["layers"])),
            " + ".join(stage["ops"]),
            f"{stage['kernel']} {(stage['variant'] or '').rpartition('_')[2]}".rstrip(),
            _shape(stage["output"]),
            _number(stage["segment"]),
            _rows_kept(stage),
            _number(stage["bytes"]),
            _number(stage["ram_live"]),
        )
        for stage in report["plan"]
    ]
    yield _table("plan: the rows of a segment stream", names, rows, left=(2, 3, 6), gap=1)
    yield from _refusals(report["plan"])
    yield _bytes("flash, bytes", report["flash"])
    yield _bytes("RAM, bytes", report["ram"])
    if report.get("simplified"):
        yield Text(_simplified(report["simplified"]))
    yield Text(_quantization(report["quantization"]))
    yield from _errors(report, errors)
    where = f" on board {report['board']}" if report.get("board") else ""
    yield Text(
        f"{report['name']} for {report['core']}{where}: {_number(report['macs'])} multiply-adds, "
        f"{_number(report['parameters'])} parameters, written to {report['out']}"
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
                _number(index),
                _short(error["layer"]),
                error["op"],
                _decibels(error["sqnr"]),
                f"{error['mean']:.3g}",
                f"{error['largest']:.3g}",
            )
            for index, error in enumerate(errors)
        ]
        yield _table("int8 against float, on calibration images", names, rows, left=(1, 2))
    elif errors:
        worst = sorted(errors, key=lambda error: error["sqnr"] or float("inf"))[:3]
        listed = ", ".join(f"{_short(e['layer'])} {_decibels(e['sqnr'])}" for e in worst)
        yield Text(
            f"signal to quantization noise: {_decibels(errors[-1]['sqnr'])} dB at the output; the "
            f"least at {listed}"
        )
    if report["sensitivity"]:
        alone = [(_short(e["layer"]), _decibels(e["sqnr"])) for e in report["sensitivity"]]
        yield _table("int8 in one layer", ("layer", "SQNR dB at the output"), alone, left=(0,))


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
    removed, channels = (_number(done[key]) for key in ("removed", "channels"))
    if not done["removed"]:
        return f"simplified: none of {channels} channels is constant or unused"
    before, after = (_millions(done[key]) for key in ("macs_before", "macs"))
    return (
        f"simplified: {removed} of {channels} channels are constant or unused, "
        f"{before} multiply-adds become {after}"
    )


def verified(report: Document) -> Iterable[RenderableType]:
    """One row a target, then where it differs from the simulator."""
    counts, parts = ("images", "layers", "bytes"), ("arena", "stack", "static")
    names = ("core", *counts, "result", "flash", *parts, "instructions")
    rows = [
        (
            target["target"],
            *(_number(target[key]) for key in counts),
            "equal" if target["equal"] else "DIFFERS",
            _number(target["flash"]),
            *(_number((target["ram"] or {}).get(part)) for part in parts),
            _number(target["instructions"]),
        )
        for target in report["targets"]
    ]
    title = "bytes compared with the simulator; flash and RAM (arena, stack, static) in bytes"
    yield _table(title, names, rows, left=(0, 4), gap=1)
    for target in report["targets"]:
        if target.get("difference"):
            yield Text(f"{target['target']}: {target['difference']}")


def exported(report: Document) -> Iterable[RenderableType]:
    """The files of a library."""
    rows = [(file,) for file in report["files"]]
    yield _table("", (f"files for {report['as']}",), rows, left=(0,))
    flash, arena = (_number(n) for n in (report["flash"]["total"], report["ram"]["arena"]))
    yield Text(f"{flash} bytes of flash, {arena} bytes of arena, written to {report['out']}")


def classified(report: Document) -> Iterable[RenderableType]:
    """Class, probability and time of each picture, and the stack."""
    rows = [
        (
            _short(entry["name"]),
            _class(entry),
            f"{entry['probability']:.1%}",
            _number(entry["cycles"]),
            f"{entry['milliseconds']:.1f}",
        )
        for entry in report["images"]
    ]
    names = ("picture", "class", "probability", "cycles", "ms")
    yield _table(f"on {report['target']}", names, rows, left=(0, 1))
    yield Text(f"{report['clock_hz'] / 1e6:g} MHz, {report['stack']} bytes of stack used at most")


def simulated(report: Document) -> Iterable[RenderableType]:
    """Class and probability of the first pictures."""
    pictures = report["images"]
    rows = [
        (_short(entry["name"]), _class(entry), f"{entry['probability']:.1%}")
        for entry in pictures[:_PICTURES]
    ]
    yield _table("", ("picture", "class", "probability"), rows, left=(0, 1))
    if len(pictures) > _PICTURES:
        yield Text(f"and {_number(len(pictures) - _PICTURES)} pictures more, all with --json or -o")


def _class(entry: Document) -> str:
    label = entry.get("label")
    return f"{entry['class']} {label}" if label else str(entry["class"])


def evaluated(report: Document) -> Iterable[RenderableType]:
    """Accuracy of the float network and of the int8 program side by side, in percent."""
    keys = ["top1"] + ["top5"] * (report["float"]["top5"] is not None)
    between = report["intervals"]
    rows = [
        (
            name,
            *(_percent(report[name][key]) for key in keys),
            _between(between[name]),
        )
        for name in ("float", "int8")
    ]
    names = ("network", *(f"top-{key[3]} %" for key in keys), "95 % of top-1")
    if report["float"]["top1"] is not None:
        yield _table("", names, rows, left=(0,))
        yield Text(f"int8 - float: {_between(between['difference'], '+')} points of top-1 (95 %)")
    yield Text(
        f"{_number(report['images'])} pictures, {report['images_per_second']:.1f} a second; the "
        f"two agree on {_percent(report['agreement'])} % ({_between(between['agreement'])}); "
        f"outputs differ by {report['output_error']:.4g} on average"
    )
    if report["confusions"]:
        confused = [
            (_short(c["class"]), _short(c["taken_for"]), _number(c["int8"]), _number(c["float"]))
            for c in report["confusions"]
        ]
        names = ("class", "taken for", "by int8", "by float")
        yield _table("most frequent mistakes", names, confused, left=(0, 1))


def _between(ends: Sequence[float] | None, sign: str = "") -> str:
    return "-" if ends is None else f"{ends[0]:{sign}.1f} to {ends[1]:{sign}.1f}"


def described(report: Document) -> Iterable[RenderableType]:
    """Layers of a network, and what it takes when it is compiled."""
    names = ("#", "layer", "op", "input", "output", "multiply-adds", "parameters")
    rows = [
        (
            _number(index),
            _short(layer["name"]),
            layer["op"],
            _shape(layer["input"]),
            _shape(layer["output"]),
            _number(layer["macs"]),
            _number(layer["parameters"]),
        )
        for index, layer in enumerate(report["layers"])
    ]
    yield _table("layers", names, rows, left=(1, 2))
    if report.get("blocks"):
        yield from _explained(report["blocks"])
    elif "blocks" in report:
        yield Text("There is no depthwise layer with a pointwise one behind it to explain.")
    for title, key in (("flash, bytes", "flash"), ("RAM, bytes", "ram")):
        if report.get(key):
            yield _bytes(title, report[key])
    yield Text(
        f"{report['name']}: {_number(report['macs'])} multiply-adds, "
        f"{_number(report['parameters'])} parameters"
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
            _short(block["name"]),
            "x".join(map(str, block["kernel"])),
            " -> ".join(map(str, block["channels"])),
            *(_number(block[kind][what]) for kind, what in parts),
            f"{block['times']:.1f}",
        )
        for block in blocks
    ]
    sums = [sum(block[kind][what] for block in blocks) for kind, what in parts]
    rows.append(("all", "", "", *map(_number, sums), f"{sums[2] / sums[3]:.1f}"))
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
    yield _table(title, names, rows, left=(0, 2), gap=1)


def zoo(report: Document) -> Iterable[RenderableType]:
    """One line on what was written."""
    yield Text(
        f"{report['name']}, alpha {report['alpha']:g}, {report['resolution']}x"
        f"{report['resolution']}, {_number(report['classes'])} classes: "
        f"{_number(report['macs'])} multiply-adds, {_number(report['parameters'])} parameters "
        f"({report['weights']}), written to {report['out']}"
    )


def profiled(report: Document) -> Iterable[RenderableType]:
    """Instructions and cycles of layers, of functions if there are any, and of the whole."""
    cycles = report["cycles"]
    names = ("#", "layer", "op", "multiply-adds", "instructions", "cycles", "cycles/mac", "share %")
    rows = [
        (
            _number(index),
            _short(layer["name"]),
            layer["op"],
            *(_number(layer[key]) for key in ("macs", "instructions", "cycles")),
            _percent(layer["cycles_per_mac"]),
            _share(layer["cycles"], cycles),
        )
        for index, layer in enumerate(report["layers"])
    ]
    yield _table("layers", names, rows, left=(1, 2), gap=1)
    if report.get("functions"):
        rows = [
            (
                function["name"],
                *(_number(function[key]) for key in ("instructions", "cycles")),
                _share(function["cycles"], cycles),
            )
            for function in report["functions"]
        ]
        title = "functions, each without those it calls"
        columns = ("function", "instructions", "cycles", "share %")
        yield _table(title, columns, rows, left=(0,), gap=1)
    total = f"{report['core']}: {_number(report['instructions'])} instructions"
    if cycles is None:
        yield Text(f"{total} for {_number(report['macs'])} multiply-adds")
        return
    yield Text(
        f"{total}, {_number(cycles)} cycles, {_percent(report['cycles_per_mac'])} cycles per "
        f"multiply-add\nCycles are estimated ({_wait_states(report['memories'])}) after "
        f"{report['model']['text']}: {_trust(report['model'])}"
    )


def _trust(model: Document) -> str:
    if not model["validated"]:
        return "not validated on hardware"
    return "such counts read 0.8 to 4.6 % below boards"


def _wait_states(memories: list[Document]) -> str:
    if not memories:
        return "zero wait states"
    texts = [
        f"{memory['name']} {memory['wait_states']}"
        + " prefetched" * memory["prefetch"]
        + " cached" * memory["cached"]
        for memory in memories
    ]
    return f"wait states: {', '.join(texts)}"


def _share(part: int | None, whole: int | None) -> str:
    return _percent(100 * part / whole if part is not None and whole else None)


def swept(report: Document) -> Iterable[RenderableType]:
    """One row a network and board; the front is marked."""
    rows = [
        (
            row["board"],
            f"{row['alpha']:g}",
            _number(row["resolution"]),
            _millions(row["macs"]),
            *(_number(row[key]) for key in ("flash", "ram")),
            "-"
            if row["cycles"] is None
            else ("" if row["counted"] else "~") + _millions(row["cycles"]),
            "-" if row["milliseconds"] is None else f"{row['milliseconds']:,.1f}",
            "yes" if row["fits"] else "no",
            "*" if row["front"] else "",
        )
        for row in report["rows"]
    ]
    names = ("board", "alpha", "pixels", "mult-adds", "flash", "RAM", "cycles", "ms", "fits", "")
    yield _table(f"{report['network']}, sizes in bytes", names, rows, left=(0, 8, 9), gap=1)
    yield Text(
        "Cycles at zero wait states as `thumbnet profile` counts them; ~ scaled by multiply-adds "
        "from a smaller resolution of the same width (--exact counts all).\n"
        "* Pareto front: it fits, and none that fits has as many multiply-adds in as little time "
        "and RAM."
    )


def flashing(report: Document) -> Iterable[RenderableType]:
    """What will be written, and by which commands."""
    rows = [(f"0x{part['address']:08X}", _number(part["bytes"])) for part in report["segments"]]
    yield Text(f"{report['board']} ({report['status']}), by {report['method']}")
    yield _table("", ("address", "bytes"), rows, left=(0,))
    for command in report["commands"]:
        yield Text(shlex.join(command))
    if report["to"]:
        yield Text(f"to {report['to']}")


def flashed(report: Document) -> Iterable[RenderableType]:
    """One line."""
    yield Text(f"{_number(report['bytes'])} bytes written and verified; the program runs")


def boards_json(found: Sequence[Board]) -> dict[str, Any]:
    """The document of `thumbnet boards`: sizes in bytes, clock in Hz."""
    return {
        "boards": [
            {
                "name": board.name,
                "title": board.title,
                "core": board.core,
                "clock_hz": board.clock_hz,
                "flash": board.region("flash").length,
                "ram": board.region("ram").length,
                "status": board.status,
            }
            for board in found
        ]
    }


def boards(report: Document) -> Iterable[RenderableType]:
    """One row a board."""
    rows = [
        (
            board["name"],
            board["title"],
            board["core"],
            f"{board['clock_hz'] / 1e6:g}",
            _number(board["flash"] // 1024),
            _number(board["ram"] // 1024),
            board["status"],
        )
        for board in report["boards"]
    ]
    names = ("board", "", "core", "MHz", "flash KB", "RAM KB", "status")
    yield _table("", names, rows, left=(0, 1, 2, 6))


def _table(
    title: str,
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Sequence[int],
    gap: int = 2,
) -> Table:
    """A table whose columns ``left`` hold text; ``gap`` spaces lie between two columns."""
    table = Table(
        title=title or None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, gap - 1),
    )
    for index, name in enumerate(names):
        # Text may break when a terminal is narrow; a number never does.
        justify: JustifyMethod = "left" if index in left else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=index not in left)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _bytes(title: str, parts: Document) -> Table:
    return _table(title, tuple(parts), [[_number(value) for value in parts.values()]], left=())


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _millions(value: int) -> str:
    return f"{value / 1e6:,.2f} M" if value >= 1e6 else _number(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _shape(shape: Sequence[int] | str) -> str:
    return shape if isinstance(shape, str) else "x".join(str(size) for size in shape)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else "..." + name[3 - _LONGEST :]
