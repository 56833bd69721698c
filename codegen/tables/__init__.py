"""Reports as tables for people. Each function turns the JSON document of a command into tables."""

from __future__ import annotations

from codegen.tables.cells import show
from codegen.tables.of_boards import boards, boards_json, exported, flashed, flashing
from codegen.tables.of_compile import compiled
from codegen.tables.of_networks import described, swept, zoo
from codegen.tables.of_runs import classified, evaluated, profiled, simulated, verified

__all__ = [
    "boards",
    "boards_json",
    "classified",
    "compiled",
    "described",
    "evaluated",
    "exported",
    "flashed",
    "flashing",
    "profiled",
    "show",
    "simulated",
    "swept",
    "verified",
    "zoo",
]
