"""The operators, one file each: shape rule, float reference, integer semantics.

``OPS`` is the registry that the importer's output, the simulator, the kernels, the file format and
the tests are all held against: an operator that is not listed here does not exist.
"""

from __future__ import annotations

from codegen.ir import Node
from codegen.ops.activation import Activation
from codegen.ops.add import Add, AddRequant
from codegen.ops.affine import Affine
from codegen.ops.clip import Clip
from codegen.ops.concat import Concat
from codegen.ops.conv import Conv
from codegen.ops.convolution import Convolution
from codegen.ops.depthwise import Depthwise
from codegen.ops.grouped import GroupedConv
from codegen.ops.lookup import Lookup
from codegen.ops.lrn import Lrn
from codegen.ops.mul import Mul
from codegen.ops.pad import Pad
from codegen.ops.pool import AvgPool, MaxPool
from codegen.ops.prelu import PRelu
from codegen.ops.softmax import Softmax

OPS: dict[str, type[Node]] = {
    cls.op: cls
    for cls in (
        Conv,
        Depthwise,
        GroupedConv,
        Add,
        Mul,
        Concat,
        AvgPool,
        MaxPool,
        Pad,
        Lookup,
        PRelu,
        Lrn,
        Softmax,
        Activation,
        Affine,
        Clip,
    )
}

__all__ = [
    "OPS",
    "Activation",
    "Add",
    "AddRequant",
    "Affine",
    "AvgPool",
    "Clip",
    "Concat",
    "Conv",
    "Convolution",
    "Depthwise",
    "GroupedConv",
    "Lookup",
    "Lrn",
    "MaxPool",
    "Mul",
    "PRelu",
    "Pad",
    "Softmax",
]
