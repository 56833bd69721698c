"""thumbnet: a trained MobileNet in ONNX goes in, verified int8 C for Cortex-M comes out."""

__version__ = "0.1.0"
