"""The reference: the ONNX file itself, float or quantized, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from codegen.errors import ThumbnetError
from codegen.ir import FloatArray
from codegen.onnx_import import ImportedModel, View
from codegen.onnx_import.load import first_line
from codegen.onnx_import.quantized import OFFSETS

BATCH_BYTES = 64 << 20
"""Bound on the activations of one batch that are handed out."""

LARGEST_BATCH = 64

_SILENT = 4

WRONG_OPTIMIZERS = ["Pad_Fusion"]
"""Versions 1.20 to 1.24, at least, move the zeros of a Pad into pools that do not count them."""

onnxruntime.disable_telemetry_events()


class FloatModel:
    """An imported model in onnxruntime; the values of its tensors can be looked at."""

    def __init__(
        self, imported: ImportedModel, tensors: Sequence[str] | None = None, threads: int = 1
    ) -> None:
        """Prepares the model.

        Args:
            imported: The model.
            tensors: Names of the tensors of its graph that ``activations`` may be asked for.
                Naming many makes onnxruntime slower, for it cannot fuse over them.
            threads: Threads that onnxruntime uses.

        Raises:
            ThumbnetError: onnxruntime does not accept the model, or a tensor does not exist.
        """
        self.imported = imported
        self.tensors = tuple(dict.fromkeys(tensors or ()))
        views = imported.views
        unknown = [n for n in self.tensors if n not in views or views[n].tensor != n]
        if unknown:
            raise ThumbnetError(f"{imported.path} has no tensor {unknown[0]!r} to look at.")
        self._session = _session(imported, self.tensors, threads)
        # A file with a symbolic batch may still fix it inside; the first batch that fails shows.
        self._batched = imported.batch is None

    def run(self, images: FloatArray) -> FloatArray:
        """The output for a batch of images.

        Args:
            images: float32 [N, H, W, C], preprocessed.

        Returns:
            float32 [N, H, W, C], the shape of the graph's output.

        Raises:
            ThumbnetError: The images have another shape, or onnxruntime fails.
        """
        name = self.imported.output_name
        none = np.empty((0, *self.imported.graph.output_tensor.shape), np.float32)
        return np.concatenate([none, *(part[name] for part in self._batches(images, (name,)))])

    def activations(
        self, images: FloatArray, names: Sequence[str] | None = None
    ) -> Iterator[dict[str, FloatArray]]:
        """The values of tensors, a batch of images at a time so that memory stays bounded.

        Args:
            images: float32 [N, H, W, C], preprocessed.
            names: Tensors, among those given on construction or the graph's input; all of those
                given on construction if None.

        Yields:
            float32 [n, H, W, C] for each name, for the next ``n`` images.

        Raises:
            ThumbnetError: A tensor was not given on construction, or as ``run``.
        """
        chosen = tuple(names) if names is not None else self.tensors
        for name in chosen:
            if name not in self.tensors and name != self.imported.input_name:
                raise ThumbnetError(f"tensor {name!r} was not asked for when the model was loaded.")
        yield from self._batches(images, chosen)

    def _batches(
        self, images: FloatArray, names: tuple[str, ...]
    ) -> Iterator[dict[str, FloatArray]]:
        shape = self.imported.graph.input_tensor.shape
        if images.ndim != 4 or images.shape[1:] != shape:
            raise ThumbnetError(
                f"{self.imported.path} takes images of {shape} (rows, columns, channels), but got "
                f"an array of {images.shape}."
            )
        start = 0
        while start < len(images):
            count = self._batch_size(names) if self._batched else 1
            batch = np.asarray(images[start : start + count], np.float32)
            try:
                values = self._run(batch, names)
            except ThumbnetError:
                if len(batch) == 1:
                    raise
                self._batched = False
                continue
            yield values
            start += len(batch)

    def _batch_size(self, names: tuple[str, ...]) -> int:
        views = (self.imported.views[name] for name in names)
        size = self.imported.graph.input_tensor.size + sum(
            int(np.prod(view.shape)) for view in views
        )
        return int(min(max(1, BATCH_BYTES // (4 * size)), LARGEST_BATCH))

    def _run(self, batch: FloatArray, names: tuple[str, ...]) -> dict[str, FloatArray]:
        source = self.imported.input_name
        wanted = [name for name in names if name != source]
        feeds = {source: self.imported.input_view.from_nhwc(self._given(batch))}
        try:
            results = self._session.run(wanted, feeds) if wanted else []
        except Exception as error:  # onnxruntime has no common class for its exceptions
            raise ThumbnetError(
                f"{self.imported.path}: onnxruntime fails to run it ({first_line(error)})."
            ) from error
        values = {source: batch} if source in names else {}
        for name, result in zip(wanted, results, strict=True):
            view = self.imported.views[name]
            values[name] = self._as_nhwc(name, view, self._real(view, result), len(batch))
        return values

    def _given(self, batch: FloatArray) -> NDArray[Any]:
        """Real inputs as the file takes them: as they are, or as integers."""
        kind, q = self.imported.input_kind, self.imported.graph.input_tensor.q
        if kind == "float" or q is None:
            return batch
        dtype = np.dtype(kind)
        ends = np.iinfo(dtype)
        values = np.rint(batch / q.scale) + (q.zero_point + OFFSETS[dtype])
        return np.asarray(np.clip(values, ends.min, ends.max), dtype)

    def _real(self, view: View, result: NDArray[Any]) -> FloatArray:
        """What onnxruntime gives as real numbers."""
        q = self.imported.graph.tensors[view.tensor].q
        if result.dtype not in OFFSETS or q is None:
            return np.asarray(result, np.float32)
        zero = q.zero_point + OFFSETS[result.dtype]
        return np.asarray((result.astype(np.float32) - zero) * np.float32(q.scale))

    def _as_nhwc(self, name: str, view: View, result: FloatArray, count: int) -> FloatArray:
        """The value as ``[count, H, W, C]``.

        Raises:
            ThumbnetError: It is not that of ``count`` images.
        """
        if count > 1 and ("N" not in view.dims or result.shape[view.dims.index("N")] != count):
            raise ThumbnetError(f"{self.imported.path}: {name!r} is no batch of {count}.")
        try:
            values = view.to_nhwc(result)
        except ValueError:
            values = result
        if values.shape != (count, *view.shape):
            raise ThumbnetError(
                f"{self.imported.path}: onnxruntime gives {name!r} the shape {result.shape}, which "
                f"does not hold {count} images of {view.shape}. Please report it."
            )
        return values


def _session(
    imported: ImportedModel, tensors: Sequence[str], threads: int
) -> onnxruntime.InferenceSession:
    """A session for a copy of the model that has ``tensors`` as further outputs."""
    model = type(imported.model)()
    model.CopyFrom(imported.model)
    present = {value.name for value in (*model.graph.output, *model.graph.input)}
    for name in tensors:
        if name not in present:
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    # The shapes that a file declares for values may be wrong, or fix the batch; ours are known.
    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=WRONG_OPTIMIZERS,
        )
    except Exception as error:  # onnxruntime has no common class for its exceptions
        raise ThumbnetError(
            f"{imported.path}: onnxruntime does not accept the model ({first_line(error)}). "
            "Check it with onnx.checker, or export it with an older opset."
        ) from error
