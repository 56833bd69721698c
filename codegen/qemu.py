"""Runs a built program on the host or in QEMU and reads back what it did."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codegen.boards import Board
from codegen.elf import function_at
from codegen.errors import ThumbnetError
from codegen.toolchain import Finished, find_tool, run

Int8Array = npt.NDArray[np.int8]

_LINE = re.compile(r"^thumbnet images=(\d+) stack=(\d+) instructions=(\d+)$", re.MULTILINE)
_ERROR = re.compile(r"^thumbnet error: (.*)$", re.MULTILINE)
_FAULT = re.compile(r"^thumbnet fault (.*)$", re.MULTILINE)
_RECORD = struct.Struct("<III")
_LAST_CHARACTERS = 2000

_EXCEPTIONS = {
    2: "NMI",
    3: "HardFault",
    4: "MemManage fault",
    5: "BusFault",
    6: "UsageFault",
    7: "SecureFault",
    11: "SVCall",
    12: "DebugMonitor",
    14: "PendSV",
}
# Bits of CFSR (ARMv7-M Architecture Reference Manual B3.2.15; STKOF: ARMv8-M).
_CFSR = {
    0: "instruction fetch not allowed",
    1: "data access not allowed",
    3: "memory fault on exception return",
    4: "stack overflow: no room for the exception frame",
    8: "bus error on instruction fetch",
    9: "bus error on data access",
    10: "imprecise bus error",
    11: "bus error on exception return",
    12: "stack overflow: no room for the exception frame",
    16: "undefined instruction",
    17: "invalid state (jump to an even address?)",
    18: "invalid exception return",
    19: "coprocessor (FPU or MVE) not enabled",
    20: "stack overflow: stack limit reached",
    24: "unaligned access",
    25: "division by zero",
}
_CFSR_MMFAR_VALID = 1 << 7
_CFSR_BFAR_VALID = 1 << 15


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Attributes:
        output: int8 [N, bytes], one row an image.
        trace: The file of all rows of all layers, in a checking build; see `read_trace`.
        stack: Bytes of stack that the model used at most, or None when not known.
        instructions: Instructions of the last image's inference, or None when not counted.
        text: All text output.
    """

    output: Int8Array
    trace: Path | None
    stack: int | None
    instructions: int | None
    text: str


def run_host(exe: Path, inputs: Int8Array, workdir: Path, timeout: float) -> RunResult:
    """Runs a program of `build_host`.

    Args:
        exe: The program.
        inputs: int8 [N, bytes], one row an image.
        workdir: Where input.bin, output.bin and trace.bin go; is made.
        timeout: Time limit in seconds.

    Raises:
        ThumbnetError: The program fails, exceeds the time limit, or its output is too short.
    """
    _prepare(inputs, workdir)
    finished = run([str(exe.resolve())], timeout, workdir, check=False)
    return _result(finished, finished.text, inputs, workdir, exe)


def run_qemu(
    elf: Path,
    board: Board,
    inputs: Int8Array,
    workdir: Path,
    timeout: float,
    count: bool = False,
) -> RunResult:
    """Runs a program of `build_target` on an emulated board.

    Args:
        elf: The program.
        board: The board it was built for.
        inputs: int8 [N, bytes], one row an image.
        workdir: Where input.bin, output.bin and trace.bin go; is made.
        timeout: Time limit in seconds.
        count: Count the instructions of the last image. The stack is measured on the other
            images only, so with one image it stays unknown.

    Raises:
        ThumbnetError: QEMU is missing, the program ends with a fault (says exception, PC, LR and
            their functions) or an error, exceeds the time limit, or its output is too short.
    """
    command = _qemu_command(elf, board, count)
    _prepare(inputs, workdir)
    uart = workdir / "serial.txt"
    uart.write_bytes(b"")
    finished = run(command, timeout, workdir, check=False)
    text = finished.text + uart.read_bytes().decode("utf-8", "replace")
    return _result(finished, text, inputs, workdir, elf)


def qemu_machine(board: Board) -> list[str]:
    """The beginning of a command line that runs QEMU as this board.

    Raises:
        ThumbnetError: QEMU is missing or does not emulate the board.
    """
    if board.qemu_machine is None:
        raise ThumbnetError(f"QEMU does not emulate {board.title}; run it on the board itself")
    qemu = find_tool("qemu-system-arm")
    return [qemu, "-M", board.qemu_machine, "-display", "none", "-monitor", "none"]


def _qemu_command(elf: Path, board: Board, count: bool) -> list[str]:
    semihosting = "enable=on,target=native"
    clock: list[str] = []
    if count:
        semihosting += f",arg=thumbnet,arg=count={board.icount_shift}"
        clock = ["-icount", f"shift={board.icount_shift},align=off,sleep=off"]
    return [
        *(*qemu_machine(board), "-serial", "file:serial.txt"),
        *("-semihosting-config", semihosting, *clock, "-kernel", str(elf.resolve())),
    ]


def _prepare(inputs: Int8Array, workdir: Path) -> None:
    if inputs.dtype != np.int8 or inputs.ndim != 2:
        raise ThumbnetError(
            f"inputs must be int8 [N, bytes], they are {inputs.dtype} {list(inputs.shape)}"
        )
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "input.bin").write_bytes(inputs.tobytes())
    for name in ("output.bin", "trace.bin"):
        (workdir / name).unlink(missing_ok=True)


def _result(
    finished: Finished, text: str, inputs: Int8Array, workdir: Path, program: Path
) -> RunResult:
    line = _LINE.search(text)
    if finished.status != 0 or line is None:
        raise ThumbnetError(f"{program.name}: {_why_failed(finished, text, program)}")
    images, stack, instructions = (int(group) for group in line.groups())
    output = np.fromfile(workdir / "output.bin", dtype=np.int8)
    if images != len(inputs) or output.size == 0 or output.size % images != 0:
        raise ThumbnetError(
            f"{program.name}: {len(inputs)} images went in, {images} were run and "
            f"{output.size} bytes came out; was it built for another model?"
        )
    trace = workdir / "trace.bin"
    return RunResult(
        output=output.reshape(images, -1),
        trace=trace if trace.exists() else None,
        stack=stack or None,
        instructions=instructions or None,
        text=text,
    )


def _why_failed(finished: Finished, text: str, program: Path) -> str:
    fault = _FAULT.search(text)
    if fault:
        return describe_fault(fault[1], program)
    error = _ERROR.search(text)
    if error:
        return error[1]
    tail = text.strip()[-_LAST_CHARACTERS:]
    if "Lockup" in text:
        return f"the processor locked up: a fault inside a fault handler\n{tail}"
    return f"ended with status {finished.status} and without a result\n{tail}"


def describe_fault(report: str, program: Path) -> str:
    """Turns the one line of faults.c into what a person needs.

    Args:
        report: The line's fields, NAME=HEX.
        program: The ELF file, for names of functions.
    """
    fields = dict(field.split("=", 1) for field in report.split() if "=" in field)
    number = int(fields.get("exception", "0"), 16)
    parts = [f"{_EXCEPTIONS.get(number, 'interrupt')} (exception {number})"]
    if "pc" in fields:
        parts += [f"{name.upper()} {_place(fields[name], program)}" for name in ("pc", "lr")]
    else:
        parts.append("PC and LR were not saved, the stack is full")
        stacked = fields.get("stacked", "")
        parts += [f"called from {_place(word, program)}" for word in stacked.split(",") if word]
    cfsr = int(fields.get("cfsr", "0"), 16)
    parts += [words for bit, words in _CFSR.items() if cfsr >> bit & 1]
    if cfsr & _CFSR_MMFAR_VALID:
        parts.append(f"address {fields.get('mmfar')}")
    if cfsr & _CFSR_BFAR_VALID:
        parts.append(f"address {fields.get('bfar')}")
    return ", ".join(parts) + f"\n{report}"


def _place(address: str, program: Path) -> str:
    function = function_at(program, int(address, 16))
    return f"{address} ({function})" if function else address


def read_trace(path: Path) -> Iterator[tuple[int, int, Int8Array]]:
    """Reads the trace of a checking build.

    Yields:
        Layer, row, and the row's bytes, in the order in which they were computed.

    Raises:
        ThumbnetError: The file ends in the middle of a record.
    """
    with path.open("rb") as file:
        while header := file.read(_RECORD.size):
            if len(header) < _RECORD.size:
                raise ThumbnetError(f"{path} ends in the middle of a record; was the run ended?")
            layer, row, size = _RECORD.unpack(header)
            data = file.read(size)
            if len(data) < size:
                raise ThumbnetError(
                    f"{path} ends in layer {layer}, row {row}: {len(data)} of {size} bytes"
                )
            yield layer, row, np.frombuffer(data, dtype=np.int8)
