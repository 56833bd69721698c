"""Accuracy: the float network and the int8 program on the same labelled pictures.

Pictures are handed out in parts, so that none has to wait for all of them to be read; a part goes
to a thread of this computer, whose work is done by onnxruntime and by a process of the compiled
C, or to a worker of a Dask cluster. A worker needs nothing but an installed thumbnet and a C
compiler: the quantized network and the ONNX file come with the first part.
"""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from codegen import simulate
from codegen.build import build_host
from codegen.confidence import Interval, difference_interval, share_interval
from codegen.errors import ThumbnetError
from codegen.graph_file import FILE_NAME, load_graph
from codegen.images import Encoded, LabelOptions, Pictures, decode, open_pictures
from codegen.ir import FloatArray, Graph, Int8Array
from codegen.onnx_import import ImportedModel, import_onnx
from codegen.onnx_runtime import FloatModel
from codegen.output import read_output
from codegen.preprocess import Pixels, to_float, to_int8
from codegen.progress import Progress, silent
from codegen.qemu import run_host
from codegen.zoo.defaults import default_model

ENGINES = ("host", "simulator")
"""What computes the int8 outputs: compiled C, or NumPy; the bytes are the same."""
PART = 32
"""Pictures that are handed out together."""
TOP = 5
_SOURCES = (".c", ".h", ".S", ".bin")
_SECONDS_A_PICTURE = 20.0
_CONNECT_SECONDS = 20


@dataclass(frozen=True)
class Job:
    """What is the same for all parts.

    Attributes:
        where: The source of the pictures, for messages.
        name: Of the network.
        files: Names and contents of the quantized network and of the generated C.
        model: Name and content of the ONNX file.
        engine: One of ``ENGINES``.
    """

    where: str
    name: str
    files: tuple[tuple[str, bytes], ...]
    model: tuple[str, bytes]
    engine: str


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


@dataclass(frozen=True)
class Accuracy:
    """Shares in percent; None without labels, top-5 also where there are few classes."""

    top1: float | None
    top5: float | None


@dataclass(frozen=True)
class Confusion:
    """A class that the int8 program often takes for another one."""

    label: int
    predicted: int
    int8: int
    float_: int


@dataclass(frozen=True, eq=False)
class EvaluateReport:
    """Float network and int8 program on the same pictures; shares in percent.

    Attributes:
        engine: What computed the int8 outputs.
        seconds: Of the whole evaluation.
        names: Of the pictures.
        labels: int64 [N], or None.
        real: int64 [N, 5], the largest float outputs.
        integer: int64 [N, 5], the largest int8 outputs.
        error: Mean absolute difference of the outputs.
        outputs: Number of outputs.
        classes: Their names, or empty.
    """

    engine: str
    seconds: float
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None
    real: NDArray[np.int64]
    integer: NDArray[np.int64]
    error: float
    outputs: int
    classes: tuple[str, ...]

    @property
    def images(self) -> int:
        """Number of pictures."""
        return len(self.names)

    @property
    def float_(self) -> Accuracy:
        """Of the float network."""
        return self._accuracy(self.real)

    @property
    def int8(self) -> Accuracy:
        """Of the int8 program."""
        return self._accuracy(self.integer)

    @property
    def agreement(self) -> float:
        """Pictures for which both have the same largest output."""
        return 100.0 * float(self._agree.mean())

    def confusion(self, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pictures by class and by largest output: int64 [outputs, outputs]."""
        assert self.labels is not None
        matrix = np.zeros((self.outputs, self.outputs), np.int64)
        np.add.at(matrix, (self.labels, predicted[:, 0]), 1)
        return matrix

    def confusions(self, most: int = 10) -> tuple[Confusion, ...]:
        """Mistakes that the int8 program makes more than once, with those of the float network."""
        if self.labels is None:
            return ()
        integer, real = self.confusion(self.integer), self.confusion(self.real)
        np.fill_diagonal(integer, 0)
        order = np.argsort(-integer, axis=None, kind="stable")[:most]
        pairs = [divmod(int(place), self.outputs) for place in order]
        return tuple(
            Confusion(a, b, int(integer[a, b]), int(real[a, b]))
            for a, b in pairs
            if integer[a, b] > 1
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every picture's outcome and, with labels, the matrices of confusion."""
        arrays: dict[str, NDArray[Any]] = {
            "names": np.array(self.names),
            "float_top5": self.real,
            "int8_top5": self.integer,
        }
        if self.labels is not None:
            arrays["labels"] = self.labels
            arrays["float_confusion"] = self.confusion(self.real)
            arrays["int8_confusion"] = self.confusion(self.integer)
        return arrays

    def to_json(self) -> dict[str, Any]:
        """The document of ``evaluate --json``."""
        return {
            "images": self.images,
            "engine": self.engine,
            "seconds": self.seconds,
            "images_per_second": self.images / self.seconds,
            "float": vars(self.float_),
            "int8": vars(self.int8),
            "agreement": self.agreement,
            "output_error": self.error,
            "intervals": self._intervals(),
            "confusions": [
                {
                    "class": self._title(found.label),
                    "taken_for": self._title(found.predicted),
                    "int8": found.int8,
                    "float": found.float_,
                }
                for found in self.confusions()
            ],
        }

    @property
    def _agree(self) -> NDArray[np.bool_]:
        return np.asarray(self.real[:, 0] == self.integer[:, 0])

    def _hits(self, found: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
        assert self.labels is not None
        return np.asarray((found[:, :most] == self.labels[:, None]).any(axis=1))

    def _accuracy(self, found: NDArray[np.int64]) -> Accuracy:
        if self.labels is None:
            return Accuracy(None, None)
        top5 = 100.0 * float(self._hits(found, TOP).mean()) if self.outputs > TOP else None
        return Accuracy(100.0 * float(self._hits(found, 1).mean()), top5)

    def _intervals(self) -> dict[str, list[float] | None]:
        """95 % intervals, in percent; of the difference int8 minus float in points."""
        found: dict[str, Interval | None] = dict.fromkeys(("float", "int8", "difference"))
        found["agreement"] = share_interval(int(self._agree.sum()), self.images)
        if self.labels is not None:
            real, integer = self._hits(self.real, 1), self._hits(self.integer, 1)
            gained, lost = int((integer & ~real).sum()), int((real & ~integer).sum())
            found["float"] = share_interval(int(real.sum()), self.images)
            found["int8"] = share_interval(int(integer.sum()), self.images)
            found["difference"] = difference_interval(gained, lost, self.images)
        return {
            name: None if ends is None else [100.0 * end for end in ends]
            for name, ends in found.items()
        }

    def _title(self, number: int) -> str:
        return self.classes[number] if number < len(self.classes) else str(number)


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
    began = time.monotonic()
    output = read_output(out)
    graph, path = output.graph, model or default_model()
    _check_same(import_onnx(path), graph, out)
    with open_pictures(data, graph.input_tensor.shape, graph.preprocess, limit, labels) as pictures:
        _check_labels(pictures, graph.output_tensor.size)
        files = [out / FILE_NAME]
        if engine == "host":
            files += [file for file in sorted(out.iterdir()) if file.suffix in _SOURCES]
        contents = tuple((file.name, file.read_bytes()) for file in files)
        job = Job(pictures.where, output.name, contents, (path.name, path.read_bytes()), engine)
        total, done = len(pictures.names), 0
        parts = []
        run = _on_cluster(cluster) if cluster else _on_threads(jobs or os.cpu_count() or 1)
        for part in run(job, _pieces(pictures)):
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
    )


def _check_same(imported: ImportedModel, graph: Graph, out: Path) -> None:
    shapes = (imported.graph.input_tensor.shape, imported.graph.output_tensor.shape)
    if shapes != (graph.input_tensor.shape, graph.output_tensor.shape):
        raise ThumbnetError(
            f"{imported.path} is not the model that {out} was made from: its input and output are "
            f"{shapes[0]} and {shapes[1]}. Name the right file with --model."
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
Runner = Callable[[Job, Iterable[Piece]], Iterator[Part]]


def _pieces(pictures: Pictures) -> Iterator[Piece]:
    for start in range(0, len(pictures.names), PART):
        part = range(start, min(start + PART, len(pictures.names)))
        yield start, pictures.names[start : part.stop], pictures.encoded(part)


def _on_threads(jobs: int) -> Runner:
    """Threads suffice: the work is done by other processes and outside Python's lock."""

    def run(job: Job, pieces: Iterable[Piece]) -> Iterator[Part]:
        parallel = joblib.Parallel(jobs, backend="threading", return_as="generator")
        yield from parallel(joblib.delayed(evaluate_part)(job, *piece) for piece in pieces)

    return run


def _on_cluster(address: str) -> Runner:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise ThumbnetError(
            "Dask is not installed; install thumbnet[dask], or leave --dask out."
        ) from None

    def run(job: Job, pieces: Iterable[Piece]) -> Iterator[Part]:
        try:
            client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ThumbnetError(f"No Dask scheduler answers at {address} ({error}).") from error
        with client:
            threads = sum(client.nthreads().values())
            if not threads:
                raise ThumbnetError(f"The Dask scheduler at {address} has no workers.")
            shared = client.scatter(job, broadcast=True)
            waiting = (client.submit(evaluate_part, shared, *piece, pure=False) for piece in pieces)
            first = itertools.islice(waiting, 2 * threads)
            running = as_completed(first, loop=client.loop, with_results=True)
            for _, part in running:
                yield part
                if (following := next(waiting, None)) is not None:
                    running.add(following)

    return run


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
    with _LOCK:
        networks = _networks(job)
    graph = networks.graph
    pixels = decode(job.where, names, encoded, graph.input_tensor.shape, graph.preprocess)
    real = networks.real.run(to_float(pixels, graph.preprocess)).reshape(len(names), -1)
    integer = networks.integer(pixels).reshape(len(names), -1)
    q = graph.output_tensor.q
    assert q is not None
    values = (integer.astype(np.float32) - q.zero_point) * np.float32(q.scale)
    error = float(np.abs(values - real).sum(dtype=np.float64))
    return Part(index, _largest(real), _largest(integer), error)


def _largest(outputs: FloatArray | Int8Array) -> NDArray[np.int64]:
    """Indices of the five largest outputs; of equal ones the first counts as the larger."""
    return np.argsort(-outputs.astype(np.float64), axis=1, kind="stable")[:, :TOP]


class _Networks:
    """The two networks, made ready once in each process."""

    def __init__(self, job: Job) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="thumbnet-")
        folder = Path(self._folder.name)
        for name, content in (*job.files, job.model):
            (folder / name).write_bytes(content)
        self.graph = load_graph(folder / FILE_NAME)
        self.real = FloatModel(import_onnx(folder / job.model[0]))
        self._program = None
        if job.engine == "host":
            self._program = build_host(folder, job.name, folder / "build", check=False)

    def integer(self, pixels: Pixels) -> Int8Array:
        """int8 [N, ...], the outputs for uint8 [N, H, W, C] pictures."""
        q = self.graph.input_tensor.q
        assert q is not None
        images = to_int8(pixels, self.graph.preprocess, q)
        if self._program is None:
            return simulate.run(self.graph, images)
        with tempfile.TemporaryDirectory(prefix="thumbnet-") as folder:
            flat = images.reshape(len(images), -1)
            limit = 60.0 + _SECONDS_A_PICTURE * len(images)
            return run_host(self._program, flat, Path(folder), limit).output


_LOCK = threading.Lock()


@functools.lru_cache(maxsize=1)
def _networks(job: Job) -> _Networks:
    return _Networks(job)
