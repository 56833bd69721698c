"""Pictures on a device: what ``thumbnet run`` does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codegen.device.session import open_device
from codegen.images import load_images, to_int8
from codegen.output import read_output
from codegen.progress import Progress, silent


@dataclass(frozen=True)
class Picture:
    """A picture and what the device makes of it; the probability is 0 to 1."""

    name: str
    class_: int
    label: str | None
    probability: float
    output: tuple[int, ...]
    cycles: int


@dataclass(frozen=True)
class ClassifyReport:
    """All pictures.

    Attributes:
        target: Where they were run.
        clock_hz: Cycles a second.
        stack: Bytes of stack used at most.
        pictures: In order.
    """

    target: str
    clock_hz: int
    stack: int
    pictures: tuple[Picture, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of ``run --json``: stack in bytes, clock in Hz."""
        images = [
            {
                "name": picture.name,
                "class": picture.class_,
                "label": picture.label,
                "probability": picture.probability,
                "output": list(picture.output),
                "cycles": picture.cycles,
                "milliseconds": picture.cycles / self.clock_hz * 1e3,
            }
            for picture in self.pictures
        ]
        return {
            "target": self.target,
            "clock_hz": self.clock_hz,
            "stack": self.stack,
            "images": images,
        }


def classify(
    out: Path, source: Path, target: str, limit: int | None = None, progress: Progress = silent
) -> ClassifyReport:
    """Classifies pictures on a device.

    Args:
        out: Folder made by ``compile``.
        source: Pictures: a file, folder, .zip or .npz.
        target: As in ``codegen.device.session.open_device``.
        limit: Pictures at most.
        progress: Told the pictures done.

    Raises:
        ThumbnetError: The folder, the pictures or the device does not do.
    """
    output = read_output(out)
    graph = output.graph
    q, out_q = graph.q(graph.input), graph.q(graph.output)
    images = load_images(source, graph.input_tensor.shape, graph.preprocess, limit)
    inputs = to_int8(images.pixels, graph.preprocess, q)
    pictures, stack = [], 0
    with (
        tempfile.TemporaryDirectory(prefix="thumbnet-") as work,
        open_device(output, target, Path(work), check=False) as device,
    ):
        for index, image in enumerate(inputs):
            progress("running", index, len(inputs))
            run = device.run(image)
            stack = max(stack, run.stack)
            best = int(np.argmax(run.output))
            pictures.append(
                Picture(
                    name=images.names[index],
                    class_=best,
                    label=graph.classes[best] if best < len(graph.classes) else None,
                    probability=out_q.scale * (int(run.output[best]) - out_q.zero_point),
                    output=tuple(int(value) for value in run.output),
                    cycles=run.cycles,
                )
            )
        clock = device.hello.clock_hz
    return ClassifyReport(target, clock, stack, tuple(pictures))
