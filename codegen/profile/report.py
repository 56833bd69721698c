"""What ``profile`` is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from codegen.boards import Region
from codegen.profile.waits import WaitStates


@dataclass(frozen=True)
class ProfileOptions:
    """What the user asks of ``profile``.

    Attributes:
        functions: Also a flat profile by function.
        waits: Memory timing; None for what the board's file says, or zero wait states.
        worst: Instructions whose cycles depend on the data take the most, not the middle.
        slow_multiply: Cortex-M0 and M0+ with the multiplier of 32 cycles.
    """

    functions: bool = False
    waits: WaitStates | None = None
    worst: bool = False
    slow_multiply: bool = False


@dataclass(frozen=True)
class LayerProfile:
    """One layer; instructions and cycles are None where only the total is known."""

    name: str
    op: str
    macs: int
    instructions: int | None
    cycles: int | None


@dataclass(frozen=True)
class FunctionProfile:
    """One function, without those that it calls."""

    name: str
    instructions: int
    cycles: int


@dataclass(frozen=True)
class ProfileReport:
    """The cost of one inference.

    Attributes:
        core: Core that was emulated.
        instructions: Executed in NAME_run and what it calls.
        cycles: Estimated; None where there is no model.
        model: The cycle model in words.
        validated: Counts after this model, at these wait states, were compared with boards.
        memories: Those with wait states.
        layers: In the order of execution.
        functions: By cycles, most first; None if not asked for.
        warnings: What a reader of the numbers must know.
    """

    core: str
    instructions: int
    cycles: int | None
    model: str
    validated: bool
    memories: tuple[Region, ...]
    layers: tuple[LayerProfile, ...]
    functions: tuple[FunctionProfile, ...] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-adds of the network."""
        return sum(layer.macs for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """The document of ``profile --json``."""
        document: dict[str, Any] = {
            "core": self.core,
            "macs": self.macs,
            "instructions": self.instructions,
            "cycles": self.cycles,
            "cycles_per_mac": _per_mac(self.cycles, self.macs),
            "model": {"text": self.model, "validated": self.validated},
            "memories": [{"name": m.name, **vars(m.timing)} for m in self.memories],
            "layers": [
                {**vars(layer), "cycles_per_mac": _per_mac(layer.cycles, layer.macs)}
                for layer in self.layers
            ],
        }
        if self.functions is not None:
            document["functions"] = [vars(function) for function in self.functions]
        document["warnings"] = list(self.warnings)
        return document


def _per_mac(cycles: int | None, macs: int) -> float | None:
    return round(cycles / macs, 4) if cycles is not None and macs else None
