"""How long-running stages tell that they are alive."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the stage's text, units done and units in total."""


def silent(stage: str, done: int, total: int) -> None:
    """A Progress that says nothing."""
