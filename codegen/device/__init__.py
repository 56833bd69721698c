"""Talking to a board, real or emulated, over a serial port."""
