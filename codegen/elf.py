"""What an ELF file says: sizes of its parts, and the function at an address."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

from codegen.errors import ThumbnetError

_SHF_WRITE = 1
_SHF_ALLOC = 2
_SHF_EXECINSTR = 4
_WEIGHTS = (".weights", ".rodata.thumbnet_weights")
_HOT = ".hot_weights"
_ARRAY = re.compile(r"\.rodata\.thumbnet_weights\.(\d+)\.(\w+)")
_ARENA = (".arena", ".bss.thumbnet_arena")
_STACKS = (".process_stack", ".main_stack")


@dataclass(frozen=True)
class Sizes:
    """Bytes of an ELF or object file by purpose.

    Attributes:
        code: Instructions and exception vectors.
        weights: Constants of the model (sections .rodata.thumbnet_weights*).
        hot: Constants of the model that are copied: they count in flash and in RAM.
        rodata: Other constants and tables.
        data: Variables with an initial value: they count in flash and in RAM.
        bss: Other variables, without arena and stacks.
        arena: The model's working memory.
        stack: Process and main stack as reserved by the linker script.
    """

    code: int
    weights: int
    hot: int
    rodata: int
    data: int
    bss: int
    arena: int
    stack: int

    @property
    def flash(self) -> int:
        """Bytes of flash: code, weights, tables and initial values."""
        return self.code + self.weights + self.hot + self.rodata + self.data

    @property
    def ram(self) -> int:
        """Bytes of RAM: variables, copied weights, arena and stacks."""
        return self.data + self.bss + self.hot + self.arena + self.stack


def elf_sizes(elf: Path) -> Sizes:
    """Sizes of a linked program, or of an object file.

    Raises:
        ThumbnetError: The file is no ELF file.
    """
    total = dict.fromkeys((part.name for part in fields(Sizes)), 0)
    with elf.open("rb") as file:
        for section in _open(elf, file).iter_sections():
            if section["sh_flags"] & _SHF_ALLOC:
                total[_purpose(section)] += section["sh_size"]
    return Sizes(**total)


@dataclass(frozen=True)
class WeightArray:
    """An array of weights: name, bytes, and how often an inference reads each byte, at most."""

    name: str
    bytes: int
    reads: int


def weight_arrays(objects: Iterable[Path]) -> tuple[WeightArray, ...]:
    """The arrays of weights in object files, each of which has a section of its own.

    Raises:
        ThumbnetError: A file is no ELF file.
    """
    arrays = []
    for path in objects:
        with path.open("rb") as file:
            for section in _open(path, file).iter_sections():
                if named := _ARRAY.fullmatch(section.name):
                    reads, name = named.groups()
                    arrays.append(WeightArray(name, section["sh_size"], int(reads)))
    return tuple(arrays)


def _purpose(section: Section) -> str:
    name: str = section.name
    if name.startswith(_WEIGHTS):
        return "weights"
    if name == _HOT:
        return "hot"
    if name.startswith(_ARENA):
        return "arena"
    if name in _STACKS:
        return "stack"
    if section["sh_flags"] & _SHF_EXECINSTR or name == ".vectors":
        return "code"
    if section["sh_type"] == "SHT_NOBITS":
        return "bss"
    return "data" if section["sh_flags"] & _SHF_WRITE else "rodata"


@dataclass(frozen=True)
class Segment:
    """Bytes that are to be written to an address."""

    address: int
    data: bytes


def load_segments(elf: Path) -> tuple[Segment, ...]:
    """What has to be written to a board: code, constants, initial values, sorted by address.

    Raises:
        ThumbnetError: The file is no ELF file.
    """
    with elf.open("rb") as file:
        found = [
            Segment(part["p_paddr"], part.data())
            for part in _open(elf, file).iter_segments()
            if part["p_type"] == "PT_LOAD" and part["p_filesz"]
        ]
    return tuple(sorted(found, key=lambda segment: segment.address))


def function_at(elf: Path, address: int) -> str | None:
    """Name of the function that holds a code address, or None."""
    with elf.open("rb") as file:
        for table in _open(elf, file).iter_sections():
            if not isinstance(table, SymbolTableSection):
                continue
            for symbol in table.iter_symbols():
                start = symbol["st_value"] & ~1  # bit 0 says Thumb
                is_function = symbol["st_info"]["type"] == "STT_FUNC"
                if is_function and start <= address & ~1 < start + max(symbol["st_size"], 2):
                    return str(symbol.name)
    return None


def _open(path: Path, file: IO[bytes]) -> ELFFile:
    try:
        return ELFFile(file)
    except ELFError as error:
        raise ThumbnetError(f"{path} is no ELF file: {error}") from error
