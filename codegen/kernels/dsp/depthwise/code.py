"""The instructions of a depthwise function, as the template places them, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

REACH_AHEAD = 4095
REACH_BACK = 255
"""Offsets of loads and stores; the latter is that of post-indexed ones, too."""
INSTRUCTION_BYTES = 4
"""Estimate."""
_BYTES_PER_CYCLES = 20_000
"""As many bytes of code cost as much as all cycles; 200 are worth a hundredth of them."""


@dataclass(frozen=True)
class Load:
    """LDR or LDRB.

    Attributes:
        target: Register.
        base: Register.
        offset: Bytes added to the base.
        step: Added to the base afterwards.
        byte: A byte instead of a word.
        index: Register added to the base.
        advances: ``offset`` is added to the base register itself.
    """

    kind: ClassVar[str] = "load"
    target: str
    base: str
    offset: int
    step: int = 0
    byte: bool = False
    index: str = ""
    advances: bool = False


@dataclass(frozen=True)
class Save:
    """STR of a pointer to the frame."""

    kind: ClassVar[str] = "save"
    source: str
    slot: int


@dataclass(frozen=True)
class Unpack:
    """UXTB16: two pixels of a word, rotated right."""

    kind: ClassVar[str] = "unpack"
    target: str
    source: str
    rotate: int


@dataclass(frozen=True)
class Pack:
    """PKHBT of the lower halves of two words, or PKHTB of the upper ones."""

    kind: ClassVar[str] = "pack"
    upper: bool
    target: str
    low: str
    high: str


@dataclass(frozen=True)
class MultiplyAdd:
    """SMLAD or SMLAxy."""

    kind: ClassVar[str] = "multiply_add"
    halves: str
    target: str
    pixels: str
    weights: str
    addend: str


@dataclass(frozen=True)
class Constant:
    """MOV of a number below 256."""

    kind: ClassVar[str] = "constant"
    target: str
    value: int


@dataclass(frozen=True)
class Requantize:
    """Shift and SMMULR, or SMMLAR with the zero point."""

    kind: ClassVar[str] = "requantize"
    target: str
    multiplier: str
    zero: str


@dataclass(frozen=True)
class Clamp:
    """USAT to a byte, and what is narrower."""

    kind: ClassVar[str] = "clamp"
    target: str


@dataclass(frozen=True)
class Store:
    """STRH of an output."""

    kind: ClassVar[str] = "store"
    source: str
    base: str
    offset: int
    step: int = 0


@dataclass(frozen=True)
class Advance:
    """ADD of an encodable number to ``source``, or to the register itself."""

    kind: ClassVar[str] = "advance"
    target: str
    amount: int
    source: str = ""


Instruction = (
    Load | Save | Unpack | Pack | MultiplyAdd | Constant | Requantize | Clamp | Store | Advance
)


def cycles(code: Iterable[Instruction]) -> int:
    """Cycles on a Cortex-M4: a load takes two, but one behind a load of something else."""
    total, before = 0, ""
    for op in code:
        total += 1
        if isinstance(op, Load):
            total += not before or before in (op.base, op.index)
            before = op.target
        else:
            before = ""
    return total


def encodable(amount: int) -> list[int]:
    """``amount`` as a sum of numbers that ADD and SUB can hold."""
    parts, sign, rest = [], 1 if amount > 0 else -1, abs(amount)
    while rest > REACH_AHEAD:
        shift = rest.bit_length() - 8
        parts.append(sign * (rest >> shift << shift))
        rest -= abs(parts[-1])
    return [*parts, sign * rest] if rest else parts


def merit(cycles: int, code_bytes: int, limit: int) -> tuple[bool, float]:
    """What to choose of several codes for the same row: the least.

    Args:
        cycles: Of a call.
        code_bytes: Size of the code.
        limit: The most that it should have; if none has less, the smallest is chosen.
    """
    if code_bytes > limit:
        return True, code_bytes
    return False, cycles * (1 + code_bytes / _BYTES_PER_CYCLES)


@dataclass(frozen=True)
class Epilogue:
    """How a sum becomes an output, all values 0 to 255.

    Attributes:
        shift: Left shift of the sum.
        zero: Zero point.
        lo: Smallest output.
        hi: Largest output.
    """

    shift: int
    zero: int
    lo: int
    hi: int

    @property
    def clips_lo(self) -> bool:
        """True if saturation to a byte leaves values below ``lo``."""
        return self.lo > 0

    @property
    def clips_hi(self) -> bool:
        """True if saturation to a byte leaves values above ``hi``."""
        return self.hi < 255

    @property
    def cycles(self) -> int:
        """Cycles an output beside those that every requantization has."""
        return (self.shift > 0) + 3 * self.clips_lo + 3 * self.clips_hi


@dataclass(frozen=True)
class Section:
    """Instructions with one purpose.

    Attributes:
        channel: Channel of the body.
        outputs: First and last pixel.
        what: The rows of the kernel, or the requantization.
        code: The instructions.
    """

    channel: int
    outputs: tuple[int, int]
    what: str
    code: tuple[Instruction, ...]

    @property
    def cycles(self) -> int:
        """Cycles on a Cortex-M4."""
        return cycles(self.code)
