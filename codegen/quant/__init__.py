"""Quantization: ranges, scales, and the one requantization rule."""
