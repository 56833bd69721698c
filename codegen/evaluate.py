"""Accuracy: the float network and the int8 program on the same labelled pictures.

Pictures are handed out in parts, so that none has to wait for all of them to be read; a part goes
to a thread of this computer, whose work is done by onnxruntime and by a process of the compiled
C, or to a worker of a Dask cluster. A worker needs nothing but an installed thumbnet and a C
compiler: the quantized network and the ONNX file come with the first part.
"""

from __future__ import annotations

import functools
import math
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray

from codegen import __version__, simulate
from codegen.build import build_host
from codegen.cluster import map_on_cluster
from codegen.errors import ThumbnetError
from codegen.evaluate_report import TOP, EvaluateReport
from codegen.images import Encoded, LabelOptions, Pictures, decode, open_pictures
from codegen.ir import FloatArray, Graph, Int8Array
from codegen.onnx_import import ImportedModel, import_onnx
from codegen.onnx_runtime import FloatModel
from codegen.output import Output, file_digest, read_output
from codegen.preprocess import Pixels, to_float, to_int8
from codegen.progress import Progress, silent
from codegen.qemu import run_host
from codegen.zoo.defaults import default_model

ENGINES = ("host", "simulator")
"""What computes the int8 outputs: compiled C, or NumPy; the bytes are the same."""
PART = 64
"""Pictures that are handed out together, at most."""
_SOURCES = (".c", ".h", ".S", ".bin")
_PART_MACS = 4e9
"""Multiply-adds of a part at most: a few seconds, so that progress shows."""
_SLOWEST = 5e7
"""Multiply-adds a second that any computer surely reaches, for the time limit."""
_LEAST_SECONDS = 120.0
_BUILD_SECONDS = 600.0


@dataclass(frozen=True, eq=False)
class Job:
    """What is the same for all parts.

    Attributes:
        where: The source of the pictures, for messages.
        name: Of the network.
        graph: The quantized network.
        imported: The float network.
        sources: Names and contents of the generated C; none if the simulator is to run.
        version: Of the thumbnet that made this.
    """

    where: str
    name: str
    graph: Graph
    imported: ImportedModel
    sources: tuple[tuple[str, bytes], ...]
    version: str = __version__

    def seconds(self, pictures: int) -> float:
        """How long so many pictures may take."""
        return _LEAST_SECONDS + pictures * self.graph.macs() / _SLOWEST


@dataclass(frozen=True, eq=False)
class Part:
    """Results of some pictures.

    Attributes:
        index: Of the first picture.
        real: int64 [n, 5], the largest outputs of the float network, the largest first.
        integer: int64 [n, 5], those of the int8 program.
        error: Sum of the absolute differences of the outputs.
    """

    index: int
    real: NDArray[np.int64]
    integer: NDArray[np.int64]
    error: float


def evaluate_model(
    out: Path,
    model: Path | None,
    data: Path,
    labels: LabelOptions | None = None,
    limit: int | None = None,
    progress: Progress = silent,
    engine: str = "host",
    jobs: int | None = None,
    cluster: str | None = None,
) -> EvaluateReport:
    """Float network (onnxruntime) and int8 program on the same pictures.

    Args:
        out: Folder made by ``compile``.
        model: The ONNX file it was made from; None for the default model.
        data: Pictures, with labels for an accuracy.
        labels: Where the labels are.
        limit: Pictures at most.
        progress: Told the images done.
        engine: One of ``ENGINES``.
        jobs: Parts that are computed at once; None for one a core.
        cluster: Address of a Dask scheduler; None to compute here.

    Raises:
        ThumbnetError: The folder or a picture does not do, the file is of another network, there
            is no C compiler, or no scheduler answers.
    """
    output = read_output(out)
    graph, imported = output.graph, import_onnx(model or default_model())
    notes = _check_same(imported, output)
    with open_pictures(data, graph.input_tensor.shape, graph.preprocess, limit, labels) as pictures:
        _check_labels(pictures, graph.output_tensor.size)
        files = sorted(out.iterdir()) if engine == "host" else []
        sources = tuple((f.name, f.read_bytes()) for f in files if f.suffix in _SOURCES)
        job = Job(pictures.where, output.name, graph, imported, sources)
        jobs = jobs or joblib.cpu_count()
        total, done = len(pictures.names), 0
        size = _part_size(graph, total, jobs)
        parts = []
        progress("preparing", 0, 1)
        if cluster is None:
            _networks(job)  # here, so that compiling is not counted
        began = time.monotonic()
        for part in _run(job, _pieces(pictures, size), size, jobs, cluster):
            parts.append(part)
            done += len(part.real)
            progress("evaluating", done, total)
        parts.sort(key=lambda part: part.index)
    return EvaluateReport(
        engine,
        time.monotonic() - began,
        pictures.names,
        pictures.labels,
        np.concatenate([part.real for part in parts]),
        np.concatenate([part.integer for part in parts]),
        sum(part.error for part in parts) / (total * graph.output_tensor.size),
        graph.output_tensor.size,
        graph.classes,
        notes,
    )


def _check_same(imported: ImportedModel, output: Output) -> tuple[str, ...]:
    """What is to be said if the file is not the one that the folder was made from.

    Raises:
        ThumbnetError: It cannot be, for its shapes are others.
    """
    graph = output.graph
    shapes = (imported.graph.input_tensor.shape, imported.graph.output_tensor.shape)
    if shapes != (graph.input_tensor.shape, graph.output_tensor.shape):
        raise ThumbnetError(
            f"{imported.path} is not the model that {output.folder} was made from: its input and "
            f"output are {shapes[0]} and {shapes[1]}. Name the right file with --model."
        )
    if output.report.get("model_sha256") in (None, file_digest(imported.path)):
        return ()
    return (
        f"{imported.path} is not the file that {output.folder} was made from. If it is another "
        "network, the comparison is worth nothing: name the right file with --model.",
    )


def _check_labels(pictures: Pictures, outputs: int) -> None:
    labels = pictures.labels
    if labels is not None and not 0 <= labels.min() <= labels.max() < outputs:
        raise ThumbnetError(
            f"{pictures.where} has labels from {labels.min()} to {labels.max()}, but the "
            f"network has the classes 0 to {outputs - 1}. Is a --class-offset needed?"
        )


Piece = tuple[int, tuple[str, ...], tuple[Encoded | ThumbnetError, ...]]
"""Index of the first picture, names, and pictures as they are stored."""


def _part_size(graph: Graph, total: int, jobs: int) -> int:
    """Pictures of a part: as many as are quick, and few enough for every thread to get some."""
    return max(1, min(PART, int(_PART_MACS / max(graph.macs(), 1)), math.ceil(total / (4 * jobs))))


def _pieces(pictures: Pictures, size: int) -> Iterator[Piece]:
    for start in range(0, len(pictures.names), size):
        part = range(start, min(start + size, len(pictures.names)))
        yield start, pictures.names[start : part.stop], pictures.encoded(part)


def _run(
    job: Job, pieces: Iterable[Piece], size: int, jobs: int, cluster: str | None
) -> Iterator[Part]:
    """The parts, in any order."""
    if cluster is not None:
        limit = _BUILD_SECONDS + 2 * job.seconds(size)
        yield from map_on_cluster(cluster, evaluate_part, job, pieces, limit)
    else:
        # Threads suffice: the work is done by other processes and outside Python's lock.
        parallel = joblib.Parallel(jobs, backend="threading", return_as="generator")
        yield from parallel(joblib.delayed(evaluate_part)(job, *piece) for piece in pieces)


def evaluate_part(
    job: Job,
    index: int,
    names: Sequence[str],
    encoded: Sequence[Encoded | ThumbnetError],
) -> Part:
    """Both networks on some pictures.

    Args:
        job: What is to be evaluated.
        index: Of the first picture.
        names: Of the pictures.
        encoded: The pictures as they are stored.

    Raises:
        ThumbnetError: A picture cannot be read, or the program fails.
    """
    networks = _networks(job)
    graph = networks.graph
    pixels = decode(job.where, names, encoded, graph.input_tensor.shape, graph.preprocess)
    real = networks.real.run(to_float(pixels, graph.preprocess)).reshape(len(names), -1)
    integer = networks.integer(pixels).reshape(len(names), -1)
    found = graph.q(graph.output).real(integer)
    error = float(np.abs(found - real).sum(dtype=np.float64))
    return Part(index, _largest(real), _largest(integer), error)


def _largest(outputs: FloatArray | Int8Array) -> NDArray[np.int64]:
    """Indices of the five largest outputs; of equal ones the first counts as the larger."""
    return np.argsort(-outputs.astype(np.float64), axis=1, kind="stable")[:, :TOP]


class _Networks:
    """The two networks, made ready once in each process."""

    def __init__(self, job: Job) -> None:
        if job.version != __version__:
            raise ThumbnetError(
                f"The work comes from thumbnet {job.version}, and this worker has {__version__}: "
                "install the same on both."
            )
        self._job = job
        self._folder = tempfile.TemporaryDirectory(prefix="thumbnet-")
        folder = Path(self._folder.name)
        for name, content in job.sources:
            (folder / name).write_bytes(content)
        self.graph = job.graph
        self.real = FloatModel(job.imported)
        self._program = None
        if job.sources:
            build = folder / "build"
            self._program = build_host(folder, job.name, build, check=False, optimize="-O3")

    def integer(self, pixels: Pixels) -> Int8Array:
        """int8 [N, ...], the outputs for uint8 [N, H, W, C] pictures."""
        images = to_int8(pixels, self.graph.preprocess, self.graph.q(self.graph.input))
        if self._program is None:
            return simulate.run(self.graph, images)
        with tempfile.TemporaryDirectory(prefix="thumbnet-") as folder:
            flat = images.reshape(len(images), -1)
            return run_host(
                self._program, flat, Path(folder), self._job.seconds(len(images))
            ).output


_LOCK = threading.Lock()


def _networks(job: Job) -> _Networks:
    with _LOCK:  # the first of the threads makes them, the others wait
        return _made(job)


@functools.lru_cache(maxsize=1)
def _made(job: Job) -> _Networks:
    return _Networks(job)
