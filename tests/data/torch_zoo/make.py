"""Makes the ONNX files of this folder: torchvision's networks in small, by both PyTorch exporters.

The modules are put together as torchvision's are (the same layers in the same order, the same ways
to pool, flatten and drop), at a fraction of the width. Needs the extra `torch`; run it in this
folder: `python make.py`. The numbers are seeded.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import nn

HERE = Path(__file__).parent
CLASSES = 10
OPSET = 17
"""Of the TorchScript exporter; the dynamo exporter has a newer one of its own."""


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int, act: type[nn.Module] | None
) -> nn.Sequential:
    """torchvision's Conv2dNormActivation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    acts = [act(inplace=True)] if act else []
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *acts)


class InvertedResidual(nn.Module):
    """Of MobileNetV2."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers = [conv_norm(inputs, hidden, 1, 1, 1, nn.ReLU6)] if expand != 1 else []
        self.conv = nn.Sequential(
            *layers,
            conv_norm(hidden, hidden, 3, stride, hidden, nn.ReLU6),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Expansion, channels, repeats and stride of each stage as published; channels a twelfth."""

    STAGES = ((1, 4, 1, 1), (6, 4, 2, 2), (6, 4, 2, 2), (6, 6, 2, 2), (6, 8, 1, 1), (6, 8, 2, 2))

    def __init__(self) -> None:
        super().__init__()
        layers, inputs = [conv_norm(3, 4, 3, 2, 1, nn.ReLU6)], 4
        for expand, outputs, repeats, stride in self.STAGES:
            for index in range(repeats):
                step = stride if index == 0 else 1
                layers.append(InvertedResidual(inputs, outputs, step, expand))
                inputs = outputs
        layers.append(conv_norm(inputs, 64, 1, 1, 1, nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class SqueezeExcitation(nn.Module):
    """With a hard sigmoid, as in MobileNetV3."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation, self.scale = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale(scale) * x


class BlockV3(nn.Module):
    """Of MobileNetV3."""

    def __init__(
        self,
        inputs: int,
        kernel: int,
        wide: int,
        outputs: int,
        excite: bool,
        swish: bool,
        stride: int,
    ) -> None:
        super().__init__()
        act = nn.Hardswish if swish else nn.ReLU
        layers: list[nn.Module] = []
        if wide != inputs:
            layers.append(conv_norm(inputs, wide, 1, 1, 1, act))
        layers.append(conv_norm(wide, wide, kernel, stride, wide, act))
        if excite:
            layers.append(SqueezeExcitation(wide, max(4, wide // 4)))
        layers.append(conv_norm(wide, outputs, 1, 1, 1, None))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class MobileNetV3(nn.Module):
    """The small version: kernels, excitations, activations and strides; not its width."""

    BLOCKS = (
        (3, 8, 8, True, False, 2), (3, 20, 8, False, False, 2), (3, 24, 8, False, False, 1),
        (5, 24, 8, True, True, 2), (5, 32, 8, True, True, 1), (5, 24, 8, True, True, 1),
        (5, 32, 12, True, True, 2), (5, 40, 12, True, True, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(3, 8, 3, 2, 1, nn.Hardswish)]
        inputs = 8
        for kernel, wide, outputs, excite, swish, stride in self.BLOCKS:
            layers.append(BlockV3(inputs, kernel, wide, outputs, excite, swish, stride))
            inputs = outputs
        layers.append(conv_norm(inputs, 48, 1, 1, 1, nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(48, 64),
            nn.Hardswish(inplace=True),
            nn.Dropout(0.2, True),
            nn.Linear(64, CLASSES),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(self.avgpool(self.features(x)), 1)
        return self.classifier(x)


class Fire(nn.Module):
    """Of SqueezeNet."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1; pools that round up."""

    def __init__(self) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(inplace=True), pool,
            Fire(8, 2, 8), Fire(16, 2, 8), pool,
            Fire(16, 4, 12), Fire(24, 4, 12), pool,
            Fire(24, 4, 12), Fire(24, 4, 16), Fire(32, 4, 16), Fire(32, 6, 16),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Conv2d(32, CLASSES, 1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


def basic(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """GoogLeNet's BasicConv2d: batch normalization with an epsilon of its own."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=0.001), nn.ReLU(inplace=True))


class Inception(nn.Module):
    """Of GoogLeNet; torchvision's third branch has a kernel of 3, not of 5."""

    def __init__(
        self, inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int
    ):
        super().__init__()
        self.branch1 = basic(inputs, one, 1)
        self.branch2 = nn.Sequential(basic(inputs, three[0], 1), basic(*three, 3))
        self.branch3 = nn.Sequential(basic(inputs, five[0], 1), basic(*five, 3))
        maxpool = nn.MaxPool2d(3, 1, 1, ceil_mode=True)
        self.branch4 = nn.Sequential(maxpool, basic(inputs, pool, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    """Without the side classifiers; the input is transformed inside, as for published weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.maxpool1 = basic(3, 6, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.conv3 = basic(6, 6, 1), basic(6, 12, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = Inception(12, 4, (6, 8), (2, 4), 4)
        self.inception3b = Inception(20, 6, (6, 8), (2, 6), 4)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = Inception(24, 8, (6, 10), (2, 4), 4)
        self.inception4e = Inception(26, 8, (8, 12), (2, 6), 6)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.inception5b = Inception(32, 10, (8, 12), (4, 6), 6)
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d((1, 1)), nn.Dropout(0.2)
        self.fc = nn.Linear(34, CLASSES)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        parts = [
            torch.unsqueeze(x[:, c], 1) * (std[c] / 0.5) + (mean[c] - 0.5) / 0.5 for c in range(3)
        ]
        return torch.cat(parts, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool1(self.conv1(self.transform(x)))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.maxpool4(self.inception4e(self.inception4a(x)))
        x = torch.flatten(self.avgpool(self.inception5b(x)), 1)
        return self.fc(self.dropout(x))


class AlexNet(nn.Module):
    """torchvision's: no groups and no normalization; pooled to a map of fixed size."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(8, 12, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(48, 40), nn.ReLU(inplace=True),
            nn.Dropout(0.5), nn.Linear(40, 40), nn.ReLU(inplace=True), nn.Linear(40, CLASSES),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Vgg16(nn.Module):
    """Configuration D; pooled to a map of fixed size."""

    PARTS = ((2, 4), (2, 6), (3, 8), (3, 10), (3, 10))

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for count, outputs in self.PARTS:
            for _ in range(count):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
            layers.append(nn.MaxPool2d(2, 2))
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(40, 40), nn.ReLU(True), nn.Dropout(0.5),
            nn.Linear(40, 40), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(40, CLASSES),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "mobilenet_v2": (MobileNetV2, 64),
    "mobilenet_v3_small": (MobileNetV3, 64),
    "squeezenet1_1": (SqueezeNet, 64),
    "googlenet": (GoogLeNet, 64),
    "alexnet": (AlexNet, 96),  # leaves the map of 2x2 that it pools to
    "vgg16": (Vgg16, 64),
}
"""Each network and the rows and columns of its input."""


def alive(model: nn.Module, seed: int) -> nn.Module:
    """Weights that keep the activations' size, and statistics unlike those of a new network."""
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: torch.Size, std: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * std

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            shape = module.weight.shape
            module.weight.data = normal(shape, (2 / module.weight[0].numel()) ** 0.5)
            if module.bias is not None:
                module.bias.data = normal(module.bias.shape, 0.1)
        elif isinstance(module, nn.BatchNorm2d):
            size = module.weight.shape
            module.weight.data = torch.rand(size, generator=generator) + 0.5
            module.bias.data, module.running_mean = normal(size, 0.3), normal(size, 0.2)
            module.running_var = torch.rand(size, generator=generator) + 0.5
    return model.eval()


def without_sources(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without the source files and line numbers that exporters note, of the machine they run on."""
    nodes = [*proto.graph.node, *(node for f in proto.functions for node in f.node)]
    values = [*proto.graph.value_info, *proto.graph.input, *proto.graph.output]
    for part in (*nodes, *values, *proto.graph.initializer, proto.graph, *proto.functions):
        del part.metadata_props[:]
    for node in nodes:
        node.doc_string = ""
    return proto


def export(name: str, build: Callable[[], nn.Module], size: int) -> None:
    """Writes NAME_torchscript.onnx and NAME_dynamo.onnx."""
    model, picture = alive(build(), len(name)), torch.zeros(1, 3, size, size)
    path = HERE / f"{name}_torchscript.onnx"
    torch.onnx.export(
        model, (picture,), path, dynamo=False, opset_version=OPSET,
        input_names=["input"], output_names=["output"], dynamic_axes={"input": {0: "batch"}},
    )  # fmt: skip
    onnx.save(without_sources(onnx.load(path)), path)
    batch = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(
        model, (picture.repeat(2, 1, 1, 1),), dynamo=True, dynamic_shapes=(batch,), verbose=False
    )
    onnx.save(without_sources(program.model_proto), HERE / f"{name}_dynamo.onnx")


def main() -> None:
    """Makes all files, or those of the networks named."""
    warnings.filterwarnings("ignore")
    for name in sys.argv[1:] or NETWORKS:
        export(name, *NETWORKS[name])


if __name__ == "__main__":
    main()
