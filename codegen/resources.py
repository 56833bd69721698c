"""Where templates/ and firmware/ are, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from codegen.errors import ThumbnetError

_PACKAGE = Path(__file__).resolve().parent
# The wheel first: beside it, in site-packages, may lie a folder of that name of someone else.
_ROOTS = (_PACKAGE / "_data", _PACKAGE.parent)


def resource(*parts: str) -> Path:
    """Finds a file or folder that belongs to thumbnet but is not Python.

    Args:
        parts: The path below the top level, for example `"firmware", "boards"`.

    Returns:
        The path: beside the package in a checkout, below `codegen/_data` in a wheel.

    Raises:
        ThumbnetError: The installation has no such file.
    """
    for root in _ROOTS:
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise ThumbnetError(
        f"this installation of thumbnet has no {'/'.join(parts)} (looked below "
        f"{' and '.join(str(root) for root in _ROOTS)}); install thumbnet again"
    )
