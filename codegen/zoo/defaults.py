"""Where the trained default model and its calibration pictures are."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "default"


def default_model() -> Path:
    """The ONNX file that is used when no model is named."""
    return _FOLDER / "mobilenet_v1_025_64_cifar10.onnx"


def default_calibration() -> Path:
    """Free photographs to calibrate the default model with: an .npz with ``images``."""
    return _FOLDER / "calibration.npz"
