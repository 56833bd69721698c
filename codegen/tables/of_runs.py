"""What the commands say that run a compiled network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.text import Text

from codegen.tables.cells import Document, number, percent, short, table

_PICTURES = 50
"""Pictures that `simulate` lists for people."""


def verified(report: Document) -> Iterable[RenderableType]:
    """One row a target, then where it differs from the simulator."""
    counts, parts = ("images", "layers", "bytes"), ("arena", "stack", "static")
    names = ("core", *counts, "result", "flash", *parts, "instructions")
    rows = [
        (
            target["target"],
            *(number(target[key]) for key in counts),
            "equal" if target["equal"] else "DIFFERS",
            number(target["flash"]),
            *(number((target["ram"] or {}).get(part)) for part in parts),
            number(target["instructions"]),
        )
        for target in report["targets"]
    ]
    title = "bytes compared with the simulator; flash and RAM (arena, stack, static) in bytes"
    yield table(title, names, rows, left=(0, 4), gap=1)
    for target in report["targets"]:
        if target.get("difference"):
            yield Text(f"{target['target']}: {target['difference']}")


def classified(report: Document) -> Iterable[RenderableType]:
    """Class, probability and time of each picture, and the stack."""
    rows = [
        (
            short(entry["name"]),
            _class(entry),
            f"{entry['probability']:.1%}",
            number(entry["cycles"]),
            f"{entry['milliseconds']:.1f}",
        )
        for entry in report["images"]
    ]
    names = ("picture", "class", "probability", "cycles", "ms")
    yield table(f"on {report['target']}", names, rows, left=(0, 1))
    yield Text(f"{report['clock_hz'] / 1e6:g} MHz, {report['stack']} bytes of stack used at most")


def simulated(report: Document) -> Iterable[RenderableType]:
    """Class and probability of the first pictures."""
    pictures = report["images"]
    rows = [
        (short(entry["name"]), _class(entry), f"{entry['probability']:.1%}")
        for entry in pictures[:_PICTURES]
    ]
    yield table("", ("picture", "class", "probability"), rows, left=(0, 1))
    if len(pictures) > _PICTURES:
        yield Text(f"and {number(len(pictures) - _PICTURES)} pictures more, all with --json or -o")


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
            *(percent(report[name][key]) for key in keys),
            _between(between[name]),
        )
        for name in ("float", "int8")
    ]
    names = ("network", *(f"top-{key[3]} %" for key in keys), "95 % of top-1")
    if report["float"]["top1"] is not None:
        yield table("", names, rows, left=(0,))
        yield Text(f"int8 - float: {_between(between['difference'], '+')} points of top-1 (95 %)")
    yield Text(
        f"{number(report['images'])} pictures, {report['images_per_second']:.1f} a second; the "
        f"two agree on {percent(report['agreement'])} % ({_between(between['agreement'])}); "
        f"outputs differ by {report['output_error']:.4g} on average"
    )
    if report["confusions"]:
        confused = [
            (short(c["class"]), short(c["taken_for"]), number(c["int8"]), number(c["float"]))
            for c in report["confusions"]
        ]
        names = ("class", "taken for", "by int8", "by float")
        yield table("most frequent mistakes", names, confused, left=(0, 1))


def _between(ends: Sequence[float] | None, sign: str = "") -> str:
    return "-" if ends is None else f"{ends[0]:{sign}.1f} to {ends[1]:{sign}.1f}"


def profiled(report: Document) -> Iterable[RenderableType]:
    """Instructions and cycles of layers, of functions if there are any, and of the whole."""
    cycles = report["cycles"]
    names = ("#", "layer", "op", "multiply-adds", "instructions", "cycles", "cycles/mac", "share %")
    rows = [
        (
            number(index),
            short(layer["name"]),
            layer["op"],
            *(number(layer[key]) for key in ("macs", "instructions", "cycles")),
            percent(layer["cycles_per_mac"]),
            _share(layer["cycles"], cycles),
        )
        for index, layer in enumerate(report["layers"])
    ]
    yield table("layers", names, rows, left=(1, 2), gap=1)
    if report.get("functions"):
        rows = [
            (
                function["name"],
                *(number(function[key]) for key in ("instructions", "cycles")),
                _share(function["cycles"], cycles),
            )
            for function in report["functions"]
        ]
        title = "functions, each without those it calls"
        columns = ("function", "instructions", "cycles", "share %")
        yield table(title, columns, rows, left=(0,), gap=1)
    total = f"{report['core']}: {number(report['instructions'])} instructions"
    if cycles is None:
        yield Text(f"{total} for {number(report['macs'])} multiply-adds")
        return
    yield Text(
        f"{total}, {number(cycles)} cycles, {percent(report['cycles_per_mac'])} cycles per "
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
    return percent(100 * part / whole if part is not None and whole else None)
