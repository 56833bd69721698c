"""Prints pip constraints that pin each dependency to its lower bound in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

BOUND = re.compile(r'"([\w.-]+)>=([\w.]+)')


def main() -> None:
    """Reads [project] dependencies; extras are left alone."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    dependencies = text.split("\ndependencies = [")[1].split("\n]")[0]
    for name, version in BOUND.findall(dependencies):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
