"""Thumb instructions as objdump prints them, sorted by what their cycles depend on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

from codegen.toolchain import find_tool, run

_TIMEOUT = 120.0
_LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(\S+)\s*([^@;]*)")
_REGISTER = re.compile(r"\b(?:r\d+|sl|fp|ip|sp|lr|pc|[sdq]\d+)\b")
_NUMBERS = {"sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}
_BRANCH = re.compile(r"b(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al)?\Z")


class Kind(Enum):
    """Instructions that a cycle table tells apart."""

    ALU = auto()
    LOAD = auto()
    STORE = auto()
    STORE_REGISTER_OFFSET = auto()
    LOAD_MULTIPLE = auto()
    STORE_MULTIPLE = auto()
    LOAD_DOUBLE = auto()
    STORE_DOUBLE = auto()
    MULTIPLY = auto()
    MULTIPLY_ADD = auto()
    MULTIPLY_LONG = auto()
    MULTIPLY_ADD_LONG = auto()
    DSP = auto()
    DIVIDE = auto()
    BRANCH = auto()
    CALL = auto()
    BRANCH_REGISTER = auto()
    TABLE_BRANCH = auto()
    IT = auto()
    SYSTEM = auto()
    FLOAT = auto()
    FLOAT_MULTIPLY_ADD = auto()
    FLOAT_DIVIDE = auto()


_BY_PATTERN = tuple(
    (re.compile(pattern + r"\Z"), kind)
    for pattern, kind in (
        (r"it[te]{0,3}", Kind.IT),
        (r"bl", Kind.CALL),
        (r"bx|blx|bxns|blxns", Kind.BRANCH_REGISTER),
        (r"tbb|tbh", Kind.TABLE_BRANCH),
        (r"cbn?z", Kind.BRANCH),
        (r"pop|ldm\w*|vpop|vldm\w*", Kind.LOAD_MULTIPLE),
        (r"push|stm\w*|vpush|vstm\w*", Kind.STORE_MULTIPLE),
        (r"ldrd", Kind.LOAD_DOUBLE),
        (r"strd", Kind.STORE_DOUBLE),
        (r"ldr\w*|ldaex\w*|lda[bh]?|vldr|pld", Kind.LOAD),
        (r"str\w*|stl\w*|vstr", Kind.STORE),
        (r"[su]div", Kind.DIVIDE),
        (r"muls?", Kind.MULTIPLY),
        (r"ml[as]", Kind.MULTIPLY_ADD),
        (r"[su]mull", Kind.MULTIPLY_LONG),
        (r"[su]mlal|umaal", Kind.MULTIPLY_ADD_LONG),
        (r"sml[as]\w*|smm\w+|smu[al]\w+|smus\w+|usada?8|[su]sat16|pkh\w+|sel", Kind.DSP),
        (r"(s|u|q|sh|uh|uq)(add|sub)(8|16)|(s|u|q|sh|uh|uq)(asx|sax)|qd?(add|sub)", Kind.DSP),
        (r"v(fn?m[as]|n?ml[as])", Kind.FLOAT_MULTIPLY_ADD),
        (r"vdiv|vsqrt", Kind.FLOAT_DIVIDE),
        (r"v\w+", Kind.FLOAT),
        (r"mrs|msr|dmb|dsb|isb|cps\w*|svc|bkpt|wf[ei]|sev|udf", Kind.SYSTEM),
    )
)


@dataclass(frozen=True)
class Instruction:
    """A decoded instruction.

    Attributes:
        address: Where it is.
        size: 2 or 4 bytes.
        kind: What it is for a cycle table.
        text: As objdump prints it.
        words: 32-bit words that it moves between memory and registers.
        address_registers: Registers that form the address of a load or store.
        reads: Registers that it may read; more than it does read where that is simpler.
        writes: Registers that it writes.
    """

    address: int
    size: int
    kind: Kind
    text: str
    words: int = 0
    address_registers: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    @property
    def end(self) -> int:
        """Address of the instruction behind it."""
        return self.address + self.size

    @property
    def always_jumps(self) -> bool:
        """It jumps whenever it is executed."""
        return self.text.split()[0] in ("b", "b.n", "b.w", "bl", "bx", "blx", "tbb", "tbh")


Code = dict[int, Instruction]
"""Instructions by address, in ascending order."""


def disassemble(elf: Path) -> Code:
    """All instructions of the executable sections of an ELF file.

    Raises:
        ThumbnetError: objdump is missing or fails.
    """
    text = run([find_tool("arm-none-eabi-objdump"), "-d", str(elf)], _TIMEOUT).text
    return {instruction.address: instruction for instruction in decode(text)}


def decode(listing: str) -> Iterator[Instruction]:
    """The instructions of a listing of ``objdump -d``; data between them is left out."""
    conditional = 0
    for line in listing.splitlines():
        match = _LINE.match(line)
        if match is None or match[3].startswith("."):
            continue
        mnemonic = match[3].split(".", 1)[0]
        if conditional:
            mnemonic = mnemonic[:-2]  # inside an IT block every mnemonic ends in a condition
            conditional -= 1
        instruction = _instruction(
            int(match[1], 16), len(match[2].replace(" ", "")) // 2, mnemonic, match[3], match[4]
        )
        if instruction.kind is Kind.IT:
            conditional = len(mnemonic) - 1
        yield instruction


def _instruction(
    address: int, size: int, mnemonic: str, printed: str, operands: str
) -> Instruction:
    kind = _kind(mnemonic)
    text = f"{printed} {operands.strip()}".strip()
    plain = Instruction(address, size, kind, text)
    if kind in (Kind.LOAD, Kind.STORE, Kind.LOAD_DOUBLE, Kind.STORE_DOUBLE):
        return _with_address(plain, operands)
    if kind in (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE):
        return _with_list(plain, mnemonic, operands)
    return _with_registers(plain, mnemonic, operands)


def _kind(mnemonic: str) -> Kind:
    if _BRANCH.match(mnemonic):
        return Kind.BRANCH
    return next((kind for pattern, kind in _BY_PATTERN if pattern.match(mnemonic)), Kind.ALU)


def _with_address(plain: Instruction, operands: str) -> Instruction:
    """Splits ``r0, [r1, r2, lsl #2]`` into data and address registers."""
    before, _, inside = operands.partition("[")
    inside, _, after = inside.partition("]")
    data, base = _registers(before), _registers(inside)
    kind = plain.kind
    if kind is Kind.STORE and len(base) > 1:
        kind = Kind.STORE_REGISTER_OFFSET
    is_load = kind in (Kind.LOAD, Kind.LOAD_DOUBLE)
    write_back = base[:1] if after.strip() else []
    return replace(
        plain,
        kind=kind,
        words=sum(2 if name[0] == "d" else 1 for name in data) or 1,
        address_registers=frozenset(base),
        reads=frozenset(base if is_load else base + data),
        writes=frozenset(write_back + data if is_load else write_back),
    )


def _with_list(plain: Instruction, mnemonic: str, operands: str) -> Instruction:
    """Counts the words of ``r0!, {r1-r3, pc}``."""
    before, _, listed = operands.partition("{")
    base = _registers(before) or ["sp"]
    names = [name for part in listed.strip("} \t").split(",") for name in _expand(part.strip())]
    is_load = plain.kind is Kind.LOAD_MULTIPLE
    writes_back = "!" in before or mnemonic.endswith(("push", "pop"))
    changed = set(base) if writes_back else set()
    return replace(
        plain,
        words=sum(2 if name[0] == "d" else 1 for name in names),
        address_registers=frozenset(base),
        reads=frozenset(base if is_load else {*base, *names}),
        writes=frozenset(changed | set(names) if is_load else changed),
    )


def _expand(part: str) -> list[str]:
    first, _, last = part.partition("-")
    if not last:
        return [first] if first else []
    prefix = first[0] if first[0] in "rsdq" and first not in _NUMBERS else "r"
    return [f"{prefix}{n}" for n in range(_number(first), _number(last) + 1)]


def _number(name: str) -> int:
    return _NUMBERS.get(name) or int(name[1:])


def _with_registers(plain: Instruction, mnemonic: str, operands: str) -> Instruction:
    """The first register is written, but by comparisons and branches; long products write two."""
    names = _registers(operands)
    compares = mnemonic in ("cmp", "cmn", "tst", "teq")
    jumps = plain.kind in (Kind.BRANCH, Kind.CALL, Kind.BRANCH_REGISTER, Kind.TABLE_BRANCH)
    long = plain.kind in (Kind.MULTIPLY_LONG, Kind.MULTIPLY_ADD_LONG)
    written = 0 if compares or jumps else 2 if long else 1
    return replace(plain, reads=frozenset(names), writes=frozenset(names[:written]))


def _registers(text: str) -> list[str]:
    return _REGISTER.findall(text)
