"""A linked program as the counter needs it: memory images, symbols, functions, code."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from codegen.errors import ThumbnetError
from codegen.profile.decode import Code, disassemble

_WRITABLE = 2  # PF_W of a segment's flags


@dataclass(frozen=True)
class Image:
    """Bytes of a memory before the program starts."""

    address: int
    data: bytes
    read_only: bool


@dataclass(frozen=True)
class Function:
    """A function: name, first address and the address behind it."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Program:
    """An ELF file, read.

    Attributes:
        path: The file.
        images: What its loader copies into memory.
        symbols: Address by name, without the Thumb bit.
        functions: In ascending order.
        code: Its instructions.
    """

    path: Path
    images: tuple[Image, ...]
    symbols: Mapping[str, int]
    functions: tuple[Function, ...]
    code: Code

    def symbol(self, name: str) -> int:
        """Address of a symbol.

        Raises:
            ThumbnetError: There is none.
        """
        if name not in self.symbols:
            raise ThumbnetError(f"{self.path.name} has no symbol {name}; was it stripped?")
        return self.symbols[name]

    def function_at(self, address: int) -> Function | None:
        """The function that holds a code address."""
        index = bisect_right(self.functions, address, key=lambda function: function.start) - 1
        if index < 0 or address >= self.functions[index].end:
            return None
        return self.functions[index]

    def name_at(self, address: int) -> str:
        """Name of the function that holds a code address, or the address in words."""
        function = self.function_at(address)
        return function.name if function else f"0x{address:08x}"


def read_program(elf: Path) -> Program:
    """Reads and disassembles a linked program.

    Raises:
        ThumbnetError: The file is no ELF file, or objdump fails.
    """
    with elf.open("rb") as file:
        try:
            parsed = ELFFile(file)
        except ELFError as error:
            raise ThumbnetError(f"{elf} is no ELF file: {error}") from error
        images = tuple(
            Image(segment["p_vaddr"], segment.data(), not segment["p_flags"] & _WRITABLE)
            for segment in parsed.iter_segments()
            if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]
        )
        symbols, functions = _symbols(parsed)
    return Program(elf, images, symbols, functions, disassemble(elf))


def _symbols(parsed: ELFFile) -> tuple[dict[str, int], tuple[Function, ...]]:
    addresses: dict[str, int] = {}
    functions: dict[int, Function] = {}
    for table in parsed.iter_sections():
        if not isinstance(table, SymbolTableSection):
            continue
        for symbol in table.iter_symbols():
            name, value, kind = symbol.name, symbol["st_value"], symbol["st_info"]["type"]
            if kind == "STT_FUNC":
                value &= ~1
                if symbol["st_size"]:
                    functions[value] = Function(name, value, value + symbol["st_size"])
            if name and not name.startswith("$"):
                addresses[name] = value
    return addresses, tuple(functions[start] for start in sorted(functions))
