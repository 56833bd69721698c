"""Makes the torch_*.onnx files of this folder: small networks, as the PyTorch exporters write them.

Needs torch and onnxscript. Run it in this folder; the numbers are seeded.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

HERE = Path(__file__).parent


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Inverted(nn.Module):
    """MobileNetV2's block: expand, depthwise, project, and the residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        wide = 4 * inputs
        self.layers = nn.Sequential(
            *conv_bn(inputs, wide, 1, 1),
            nn.ReLU6(),
            *conv_bn(wide, wide, 3, stride, wide),
            nn.ReLU6(),
            *conv_bn(wide, outputs, 1, 1),
        )

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileV2(nn.Module):
    """Three inverted residuals; ``head`` is how the map becomes a vector."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.head = head
        self.features = nn.Sequential(
            *conv_bn(3, 8, 3, 2),
            nn.ReLU6(),
            Inverted(8, 8, 1),
            Inverted(8, 12, 2),
            Inverted(12, 12, 1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(12 * (64 if head == "map" else 1), 5)

    def forward(self, x):
        x = self.features(x)
        if self.head == "mean":
            x = x.mean([2, 3])
        elif self.head == "view":
            x = self.pool(x)
            x = x.view(x.size(0), -1)
        elif self.head == "flatten":
            x = torch.flatten(self.pool(x), 1)
        elif self.head == "functional":
            x = nn.functional.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], -1)
        elif self.head == "map":
            x = torch.flatten(x, 1)
        return self.classifier(self.dropout(x))


class MobileV1(nn.Module):
    """Depthwise-separable layers with Relu, an AvgPool with a kernel, and Softmax."""

    def __init__(self, squeeze: bool = True) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.features = nn.Sequential(
            *conv_bn(3, 8, 3, 2),
            nn.ReLU(),
            *conv_bn(8, 8, 3, 1, 8),
            nn.ReLU(),
            *conv_bn(8, 12, 1, 1),
            nn.ReLU(),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(12, 24, 3, 2, groups=12),
            nn.ReLU(),
            nn.MaxPool2d(3, 1, 1),
            nn.AvgPool2d(8),
        )
        self.classifier = nn.Conv2d(24, 5, 1)

    def forward(self, x):
        x = (x - 0.5) * 2.0
        x = self.classifier(self.features(x))
        return torch.softmax(x.squeeze(3).squeeze(2) if self.squeeze else x.flatten(1), 1)


def randomized(model: nn.Module, seed: int) -> nn.Module:
    """Statistics far from the ones of a new network, so that folding them shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for parameter in (p for p in module.parameters(recurse=False)):
            fan = max(parameter[0].numel(), 1)
            parameter.data = torch.randn(parameter.shape, generator=generator) / fan**0.5
        if isinstance(module, nn.BatchNorm2d):
            size = module.weight.shape
            module.weight.data = torch.rand(size, generator=generator) + 0.5
            module.running_mean = torch.randn(size, generator=generator) * 0.3
            module.running_var = torch.rand(size, generator=generator) + 0.2
    return model.eval()


def legacy(name: str, model: nn.Module, opset: int, **options) -> None:
    model = randomized(model, len(name))
    torch.onnx.export(
        model, torch.zeros(1, 3, 32, 32), HERE / name, opset_version=opset, dynamo=False,
        input_names=["input"], output_names=["output"], **options,
    )  # fmt: skip


def dynamo(name: str, model: nn.Module, *, batch: bool, **options) -> None:
    model = randomized(model, len(name))
    shapes = ({0: torch.export.Dim("batch")},) if batch else None
    example = torch.zeros(2 if batch else 1, 3, 32, 32)
    program = torch.onnx.export(
        model, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False, **options
    )
    proto = program.model_proto
    # The exporter notes source files and line numbers of the machine it runs on.
    for function in proto.functions:
        for node in function.node:
            del node.metadata_props[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    onnx.save(proto, HERE / name)


def main() -> None:
    warnings.filterwarnings("ignore")
    batch = {"dynamic_axes": {"input": {0: "batch"}, "output": {0: "batch"}}}
    unfused = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    legacy("torch_v2_mean_op9.onnx", MobileV2("mean"), 9)
    legacy("torch_v2_view_op11.onnx", MobileV2("view"), 11, **batch)
    legacy("torch_v2_view_unfused_op13.onnx", MobileV2("view"), 13, **batch, **unfused)
    legacy("torch_v2_flatten_op13.onnx", MobileV2("flatten"), 13)
    legacy("torch_v2_functional_op17.onnx", MobileV2("functional"), 17, **batch)
    legacy("torch_v2_map_unfused_op17.onnx", MobileV2("map"), 17, **unfused)
    legacy("torch_v1_op9.onnx", MobileV1(), 9)
    legacy("torch_v1_unfused_op17.onnx", MobileV1(squeeze=False), 17, **batch, **unfused)
    dynamo("torch_v2_dynamo.onnx", MobileV2("flatten"), batch=False)
    dynamo("torch_v2_dynamo_batch.onnx", MobileV2("view"), batch=True)
    dynamo("torch_v2_dynamo_unoptimized.onnx", MobileV2("mean"), batch=True, optimize=False)
    dynamo("torch_v1_dynamo_batch.onnx", MobileV1(), batch=True)


if __name__ == "__main__":
    main()
