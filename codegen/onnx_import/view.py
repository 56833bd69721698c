"""How an ONNX value shows a tensor: which axes each of its dimensions runs over.

A tensor of the graph is always ``(H, W, C)``. An ONNX value that holds the same numbers may order
them as NCHW, flatten them to ``[N, C*H*W]`` or drop the dimensions of size 1. So Transpose,
Flatten, Reshape, Squeeze and Unsqueeze only make another view of the same tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Shape

AXES = "NHWC"


@dataclass(frozen=True)
class View:
    """An ONNX value as a view of a tensor.

    Attributes:
        tensor: Name of the tensor.
        shape: Of the tensor: ``(H, W, C)``.
        dims: For each ONNX dimension the axes it runs over, the outermost first: ``"C"``, ``"CHW"``
            for a flattened map, ``""`` for a dimension of size 1. Axes H, W and C of size 1 do not
            appear, for they can be anywhere; the batch N has size 1 in every computation here.
    """

    tensor: str
    shape: Shape
    dims: tuple[str, ...]

    @classmethod
    def of(cls, tensor: str, shape: Shape, dims: Iterable[str]) -> View:
        """A view from axes given in full, such as ``"NCHW"`` or ``("N", "CHW")``."""
        trivial = {axis for axis, size in zip("HWC", shape, strict=True) if size == 1}
        kept = tuple("".join(axis for axis in dim if axis not in trivial) for dim in dims)
        return cls(tensor, shape, kept)

    def size(self, axis: str) -> int:
        """Elements along ``axis``: 1 for the batch."""
        return 1 if axis == "N" else self.shape["HWC".index(axis)]

    @property
    def onnx_shape(self) -> tuple[int, ...]:
        """The shape of the ONNX value, for one image."""
        return tuple(prod(map(self.size, dim)) for dim in self.dims)

    @property
    def described(self) -> str:
        """The dimensions in words, for messages: ``[N, C*H*W]``."""
        return "[" + ", ".join("*".join(dim) or "1" for dim in self.dims) + "]"

    @property
    def images(self) -> tuple[str, ...]:
        """The dimensions without the batch, which one image does not have."""
        return tuple(dim.replace("N", "") for dim in self.dims)

    def has_layout(self, layout: str) -> bool:
        """True if the dimensions are those of ``layout``, such as ``"NCHW"`` or ``"NC"``."""
        return self.images == View.of(self.tensor, self.shape, layout).images

    def permuted(self, order: Sequence[int]) -> View:
        """The view with its dimensions in another order.

        Raises:
            ValueError: ``order`` is no permutation of the dimensions.
        """
        if sorted(order) != list(range(len(self.dims))):
            raise ValueError(f"{list(order)} is no permutation of {len(self.dims)} dimensions")
        return replace(self, dims=tuple(self.dims[i] for i in order))

    def regrouped(self, target: Sequence[int]) -> View:
        """The view that a reshape to ``target`` gives (batch 1).

        Raises:
            ValueError: The reshape is more than a regrouping: it would split an axis.
        """
        axes = list("".join(self.dims))
        dims = []
        for wanted in target:
            dim, have = "", 1
            # The batch has size 1 and joins the dimension that opens where it stands.
            while axes and (have < wanted or (axes[0] == "N" and not dim)):
                dim += axes.pop(0)
                have *= self.size(dim[-1])
            if have != wanted:
                raise ValueError(f"{self.described} does not regroup to {list(target)}")
            dims.append(dim)
        if axes == ["N"] and dims:
            dims[-1] += axes.pop()
        if axes:
            raise ValueError(f"{self.described} does not regroup to {list(target)}")
        return replace(self, dims=tuple(dims))

    def to_nhwc(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array as this view shows it -> ``[N, H, W, C]``; N is found from the size.

        Raises:
            ValueError: The array does not have the elements of whole images.
        """
        axes = "".join(self.dims)
        missing = "".join(axis for axis in AXES if axis not in axes)
        sizes = [-1 if axis == "N" else self.size(axis) for axis in axes] + [1] * len(missing)
        order = [(axes + missing).index(axis) for axis in AXES]
        return np.ascontiguousarray(array.reshape(sizes).transpose(order))

    def from_nhwc(self, images: NDArray[Any]) -> NDArray[Any]:
        """``[N, H, W, C]`` -> the array that this view shows."""
        axes = "".join(self.dims)
        missing = "".join(axis for axis in AXES if axis not in axes)
        moved = images.transpose([AXES.index(axis) for axis in axes + missing])
        count = len(images)
        shape = [prod(count if a == "N" else self.size(a) for a in dim) for dim in self.dims]
        return np.ascontiguousarray(moved.reshape(shape))
