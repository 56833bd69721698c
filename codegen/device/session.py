"""Opens what ``serial:PATH`` and ``qemu-serial`` name, and compares it with the simulator."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codegen.device.client import Device, DeviceRun
from codegen.device.emulated import emulated
from codegen.device.firmware import build_firmware
from codegen.device.port import SerialPort
from codegen.errors import ThumbnetError
from codegen.ir import Graph, Int8Array
from codegen.output import Output
from codegen.qemu import describe_fault
from codegen.targets import board_and_core, emulated_place

DEFAULT_BAUD = 115200
KINDS = ("serial", "qemu-serial")


def is_device(target: str) -> bool:
    """Whether a target is a board at a serial port: ``serial:PATH[@BAUD]``, ``qemu-serial``..."""
    kind, _, place = target.partition(":")
    return kind == "qemu-serial" or (kind == "serial" and bool(place))


@contextmanager
def open_device(output: Output, target: str, work: Path, check: bool) -> Iterator[Device]:
    """Connects to a board with the `serial` firmware; builds and starts it if it is emulated.

    Args:
        output: The model; what a real board runs must be the same one.
        target: ``serial:PATH``, ``serial:PATH@BAUD``, ``qemu-serial``, ``qemu-serial:PLACE``.
        work: Folder for the build.
        check: Build the checking build.

    Raises:
        ThumbnetError: The target is unknown, cannot be opened, does not answer, or has another
            model.
    """
    kind, _, place = target.partition(":")
    if not is_device(target):
        raise ThumbnetError(
            f"Unknown target {target!r}: give serial:/dev/ttyACM0 (the port of your board) or "
            "qemu-serial"
        )
    if kind == "serial":
        path, _, baud = place.partition("@")
        if baud and not baud.isdecimal():
            raise ThumbnetError(f"{target}: {baud!r} is no speed; write for example @115200")
        with SerialPort(path, int(baud or DEFAULT_BAUD)) as port:
            yield _checked(Device(port), output)
        return
    place = place or emulated_place(output)
    elf = build_firmware(output, place, "serial", work / "build", check)
    board, _ = board_and_core(output, place)
    with emulated(board, elf) as path, SerialPort(path) as port:
        yield _checked(Device(port, explain_fault=lambda text: describe_fault(text, elf)), output)


def _checked(device: Device, output: Output) -> Device:
    hello, graph = device.hello, output.graph
    found = (hello.name, hello.rows * hello.row_bytes, hello.output_bytes, hello.layers)
    wanted = (output.name, graph.input_tensor.size, graph.output_tensor.size, len(graph.nodes))
    if found != wanted:
        raise ThumbnetError(
            f"the board runs another model: {found[0]} with {found[1]} bytes of input, {found[2]} "
            f"of output and {found[3]} layers; {output.folder} has {wanted[0]} with {wanted[1]}, "
            f"{wanted[2]} and {wanted[3]}. Flash it: thumbnet flash {output.folder} --board NAME"
        )
    return device


@dataclass(frozen=True)
class Comparison:
    """A device against the simulator.

    Attributes:
        layers: Layers compared: all of them by their CRC-32, or the output alone.
        bytes: Bytes compared.
        difference: The first difference in words, or None.
        last: The run of the last image.
    """

    layers: int
    bytes: int
    difference: str | None
    last: DeviceRun


def compare_device(
    device: Device, graph: Graph, images: Int8Array, tensors: Mapping[str, Int8Array]
) -> Comparison:
    """Runs images on a device and compares outputs byte by byte and layers by their CRC-32.

    Args:
        device: The board.
        graph: The int8 graph.
        images: int8 [N, H, W, C], N at least 1.
        tensors: int8 [N, H, W, C] of each node's output, by the simulator.
    """
    names = [node.output for node in graph.nodes]
    difference: str | None = None
    compared = 0
    for index, image in enumerate(images):
        run = device.run(image)
        compared += run.output.size
        if run.layer_crcs is not None:
            compared += sum(tensors[name][index].size for name in names)
        difference = difference or _difference(graph, tensors, index, run)
    layers = len(names) if run.layer_crcs is not None else 1
    return Comparison(layers, compared, difference, run)


def _difference(
    graph: Graph, tensors: Mapping[str, Int8Array], image: int, run: DeviceRun
) -> str | None:
    for layer, crc in enumerate(run.layer_crcs or ()):
        node = graph.nodes[layer]
        want = zlib.crc32(tensors[node.output][image].tobytes())
        if crc != want:
            return (
                f"layer {layer} {node.name!r} ({node.op}): image {image}: expected CRC-32 "
                f"{want:08x}, found {crc:08x}"
            )
    expected = tensors[graph.output][image].reshape(-1)
    where = np.flatnonzero(expected != run.output)
    if len(where):
        first = int(where[0])
        return (
            f"output: image {image}, byte {first}: expected {expected[first]}, "
            f"found {run.output[first]}"
        )
    return None
