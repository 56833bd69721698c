"""Quantization: ranges, scales, the one requantization rule, and what it makes superfluous."""
