"""The portable kernel of convolutions in groups or with a dilated kernel."""

from __future__ import annotations

import numpy as np

from codegen.ir import Graph, Node
from codegen.kernels.base import CArray, Kernel, KernelCall, RowPlan
from codegen.kernels.portable import (
    Portable,
    channel_tiles,
    epilogue,
    pack_channels,
    shapes_of,
    sizes,
    tables,
    weight_type,
    window,
)
from codegen.ops import GroupedConv


class GroupedKernel(Portable):
    """Any groups, dilation, stride and padding: 1 pixel x 4 channels of a group a tile."""

    name = "grouped"
    op = GroupedConv.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return self._window_distance(graph, node)

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, GroupedConv) and node.requant is not None
        outputs = len(node.weight) // node.groups
        weight = node.weight.reshape(node.groups, outputs, -1)
        parameters = {
            **sizes(*shapes_of(graph, node), rows),
            **window(node),
            "groups": node.groups,
            "group_inputs": node.weight.shape[3],
            "group_outputs": outputs,
            "dilation_y": node.dilation[0],
            "dilation_x": node.dilation[1],
            "channel_tiles": channel_tiles(outputs),
            "weight_type": weight_type(weight),
            "input_zero": graph.q(node.inputs[0]).zero_point,
            **epilogue(node.requant),
        }
        packed = np.stack([pack_channels(group) for group in weight])
        return KernelCall(parameters, (CArray("weight", packed), *tables(node.bias, node.requant)))


KERNELS: tuple[Kernel, ...] = (GroupedKernel(),)
