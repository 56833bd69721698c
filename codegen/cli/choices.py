"""Options that take one of a few words."""

from __future__ import annotations

from enum import Enum


class Objective(str, Enum):
    """What the plan aims at."""

    balanced = "balanced"
    ram = "ram"
    cycles = "cycles"
    whole = "whole"


class Kernels(str, Enum):
    """Kernel families."""

    dsp = "dsp"
    portable = "portable"


class Engine(str, Enum):
    """What computes the int8 outputs."""

    host = "host"
    simulator = "simulator"


class Estimator(str, Enum):
    """How activation ranges are taken from the calibration images."""

    minmax = "minmax"
    average = "average"
    percentile = "percentile"
    mse = "mse"
    entropy = "entropy"


class Weights(str, Enum):
    """How many scales the weights of a layer have."""

    channel = "per-channel"
    tensor = "per-tensor"


class Equalization(str, Enum):
    """Cross-layer equalisation."""

    auto = "auto"
    exact = "exact"
    full = "full"
    none = "none"


class BiasCorrection(str, Enum):
    """What makes up for the mean error of quantized weights."""

    empirical = "empirical"
    analytic = "analytic"
    none = "none"


class Rounding(str, Enum):
    """How weights get to their steps."""

    adaptive = "adaptive"
    nearest = "nearest"


class FlashLine(str, Enum):
    """Bytes that a flash gives in one read."""

    narrow = "8"
    wide = "16"
    widest = "32"


class Exporter(str, Enum):
    """What writes a network of the zoo as ONNX."""

    direct = "direct"
    keras = "keras"


class LibraryKind(str, Enum):
    """Build systems that an output folder becomes a library of."""

    cmake = "cmake"
    arduino = "arduino"
    platformio = "platformio"
    zephyr = "zephyr"


class Program(str, Enum):
    """Programs for a board at a serial port."""

    serial = "serial"
    mlperf = "mlperf"
