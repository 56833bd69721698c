"""How well int8 agrees with float, model by model and method by method, as docs/accuracy.md.

    python -m benchmarks.accuracy --models DIR --pictures PICTURES.zip -o docs/accuracy.md

Every fifth picture calibrates, the others are evaluated, with the simulator (the same bytes as the
C). ``--ort`` adds onnxruntime's static quantizer, ``--only`` names models. Each run is a process of
its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.markdown import table
from codegen import simulate
from codegen.images import load_images
from codegen.ir import Graph
from codegen.onnx_import import ImportedModel, import_onnx
from codegen.onnx_runtime import FloatModel
from codegen.passes import simplify
from codegen.preprocess import Pixels, for_channels, parse_preprocess, to_float, to_int8
from codegen.quant.pipeline import QuantOptions, quantize_model

EVERY = 5
"""One picture in so many calibrates."""

MODELS = {
    "mobilenet_v1_0.25_224_imagenet_nchw_op18": "signed",
    "mobilenet_v1_0.5_160_imagenet_deq_nchw_op18": "signed",
    "mobilenet_v1_1.0_224_imagenet_deq_nchw_op13": "signed",
    "mobilenet_v2_1.0_224_imagenet_deq_nchw_op17": "signed",
    "vww_96_float_nchw_op13": "unit",
}
"""Models and how they see a pixel."""

NAIVE = QuantOptions(equalize="none", bias_correction="none", rounding="nearest")
METHODS = {
    "default": QuantOptions(),
    "nothing": NAIVE,
    "bias correction": replace(NAIVE, bias_correction="empirical"),
    "equalisation": replace(NAIVE, equalize="full"),
    "both": replace(NAIVE, equalize="full", bias_correction="empirical"),
    "all, nearest rounding": QuantOptions(rounding="nearest"),
    "wide depthwise": QuantOptions(wide_depthwise=True),
    "equalisation full": QuantOptions(equalize="full"),
    "ranges average": QuantOptions(estimator="average"),
    "ranges percentile": QuantOptions(estimator="percentile"),
    "ranges mse": QuantOptions(estimator="mse"),
    "ranges entropy": QuantOptions(estimator="entropy"),
    "per tensor: nothing": replace(NAIVE, weights="per-tensor"),
    "per tensor: equalisation, bias correction": QuantOptions(
        weights="per-tensor", rounding="nearest"
    ),
    "per tensor: default": QuantOptions(weights="per-tensor"),
}
ORT = "onnxruntime static, per channel"


@dataclass(frozen=True)
class Row:
    """One model quantized one way; shares in percent, ``error`` of the last output, real."""

    model: str
    method: str
    images: int
    agreement: float
    float_top1: float | None
    int8_top1: float | None
    error: float
    seconds: float | None
    gigabytes: float


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of ONNX files")
    parser.add_argument("--pictures", type=Path, required=True, help="zip with labels.csv")
    parser.add_argument("--only", default="", help="only models whose name contains this")
    parser.add_argument("--methods", default="|".join(METHODS), help="names, separated by |")
    parser.add_argument("--ort", action="store_true", help="onnxruntime's quantizer too")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # MODEL|METHOD: a row as JSON
    parser.add_argument("-o", "--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    if arguments.one:
        model, method = arguments.one.split("|")
        print(json.dumps(asdict(measure(arguments.models, arguments.pictures, model, method))))
        return
    rows = []
    for model in MODELS:
        if arguments.only in model:
            for method in [*arguments.methods.split("|"), *([ORT] if arguments.ort else [])]:
                rows.append(_apart(arguments, model, method))
                print(json.dumps(asdict(rows[-1])), flush=True)
                if arguments.out:
                    arguments.out.write_text(page(rows), encoding="utf-8")


def _apart(arguments: argparse.Namespace, model: str, method: str) -> Row:
    command = [sys.executable, "-m", "benchmarks.accuracy", "--one", f"{model}|{method}"]
    command += ["--models", str(arguments.models), "--pictures", str(arguments.pictures)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def measure(models: Path, pictures: Path, model: str, method: str) -> Row:
    """Quantizes on every fifth picture and compares on the others."""
    imported = import_onnx(models / f"{model}.onnx")
    preprocess = for_channels(parse_preprocess(f"{MODELS[model]};resize=crop"), 3)
    graph = simplify(replace(imported.graph, preprocess=preprocess))
    images = load_images(pictures, graph.input_tensor.shape, preprocess)
    held_out = np.arange(len(images.names)) % EVERY != 0
    started = time.process_time()
    if method == ORT:
        with tempfile.TemporaryDirectory(prefix="thumbnet-") as folder:
            file = _ort(imported, graph, images.pixels[~held_out], Path(folder))
            seconds = time.process_time() - started
            peak = _peak()
            got = _float_outputs(import_onnx_as(imported, file), graph, images.pixels[held_out])
    else:
        made = quantize_model(imported, graph, images.pixels[~held_out], METHODS[method])
        seconds = time.process_time() - started
        peak = _peak()
        got = _int8_outputs(made.graph, images.pixels[held_out])
    want = _float_outputs(imported, graph, images.pixels[held_out])
    labels = _labels(pictures, images.names, want.shape[1])
    same = got.argmax(axis=1) == want.argmax(axis=1)
    return Row(
        model,
        method,
        len(want),
        100.0 * float(same.mean()),
        _top1(want, labels, held_out),
        _top1(got, labels, held_out),
        float(np.abs(got - want)[:, -1].mean()),
        seconds,
        peak,
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _int8_outputs(graph: Graph, pixels: Pixels) -> NDArray[np.float64]:
    q, out = graph.input_tensor.q, graph.output_tensor.q
    assert q is not None and out is not None
    parts = [
        simulate.run(graph, to_int8(pixels[i : i + 32], graph.preprocess, q))
        for i in range(0, len(pixels), 32)
    ]
    values = np.concatenate(parts).reshape(len(pixels), -1).astype(np.float64)
    return np.asarray((values - out.zero_point) * out.scale)


def _float_outputs(model: ImportedModel, graph: Graph, pixels: Pixels) -> NDArray[np.float64]:
    session = FloatModel(model, threads=2)
    parts = [
        session.run(to_float(pixels[i : i + 32], graph.preprocess))
        for i in range(0, len(pixels), 32)
    ]
    return np.concatenate(parts).reshape(len(pixels), -1).astype(np.float64)


def _labels(source: Path, names: tuple[str, ...], outputs: int) -> NDArray[np.int64] | None:
    """Classes of the pictures; None for a network of other classes than ImageNet's."""
    if outputs < 1000:
        return None
    with zipfile.ZipFile(source) as archive:
        member = next(name for name in archive.namelist() if name.endswith("labels.csv"))
        rows = csv.DictReader(io.StringIO(archive.read(member).decode()))
        classes = {row["file"]: int(row["class_0_999"]) for row in rows}
    return np.array([classes[Path(name).name] + outputs - 1000 for name in names])


def _top1(
    outputs: NDArray[np.float64], labels: NDArray[np.int64] | None, held_out: NDArray[Any]
) -> float | None:
    if labels is None:
        return None
    return 100.0 * float((outputs.argmax(axis=1) == labels[held_out]).mean())


def import_onnx_as(imported: ImportedModel, file: Path) -> ImportedModel:
    """``imported`` with another file of the same inputs and outputs to be run."""
    import onnx

    return replace(imported, path=file, model=onnx.load(file))


def _ort(imported: ImportedModel, graph: Graph, pixels: Pixels, folder: Path) -> Path:
    """The file that onnxruntime's static quantizer makes: QDQ, int8, per channel, min-max."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images: Iterator[Any] = iter(to_float(pixels, graph.preprocess))

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._images, None)
            if image is None:
                return None
            return {imported.input_name: imported.input_view.from_nhwc(image[None])}

    made = folder / "quantized.onnx"
    quantize_static(
        str(imported.path),
        str(made),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    return made


def interval(percent: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a share, in percent."""
    z, p = 1.96, percent / 100.0
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return 100.0 * (middle - half), 100.0 * (middle + half)


def page(rows: list[Row]) -> str:
    """The Markdown text."""
    head: tuple[str, ...] = (
        "method",
        "agreement %",
        "95 % interval",
        "top-1 float",
        "top-1 int8",
        "error",
    )
    head += ("CPU seconds", "peak GB")
    text = (
        "# Accuracy\n\nMade by `python -m benchmarks.accuracy --models DIR --pictures ZIP --ort "
        "-o docs/accuracy.md`. Every fifth of 500 ImageNet pictures calibrates; on the other 400 "
        "the largest output of the int8 program (simulated: the same bytes as the C) is compared "
        "with that of the float network. `error` is the mean absolute error of the last output's "
        "probability (for vww, that of a person). Seconds are CPU time of "
        "calibration and quantization, all threads together.\n\n"
        "**Read it with care.** The methods, their constants and the default were chosen by "
        "comparing a few dozen variants on these same 400 pictures, so that the figures of the "
        "default are somewhat better than on pictures that had no say. Calibration never saw them. "
        "Differences within the intervals mean little. `deq` models lie on an 8-bit grid already "
        "and lose less than others.\n"
    )
    if {(row.model, row.method) for row in rows} < {
        (m, n) for m in MODELS for n in [*METHODS, ORT]
    }:
        text += "\nRows that are missing were not run, nor was time taken where there is a dash.\n"
    for model in MODELS:
        cells = [_cells(row) for row in rows if row.model == model]
        if not cells:
            continue
        text += f"\n## {model}\n\n{table(head, cells)}"
    return text


def _cells(row: Row) -> tuple[str, ...]:
    low, high = interval(row.agreement, row.images)
    tops = ("-" if t is None else f"{t:.2f}" for t in (row.float_top1, row.int8_top1))
    return (
        row.method,
        f"{row.agreement:.2f}",
        f"{low:.1f} - {high:.1f}",
        *tops,
        f"{row.error:.4f}",
        "-" if row.seconds is None else f"{row.seconds:.1f}",
        f"{row.gigabytes:.2f}",
    )


if __name__ == "__main__":
    main()
