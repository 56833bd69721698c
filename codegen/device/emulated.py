"""A program in QEMU whose serial port is a pseudo-terminal of this computer."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

from codegen.boards import Board
from codegen.errors import ThumbnetError
from codegen.qemu import qemu_machine
from codegen.toolchain import Children

_START_TIMEOUT = 60.0
_PTY = re.compile(rb"char device redirected to (\S+) ")


@contextmanager
def emulated(board: Board, elf: Path | None, options: Sequence[str] = ()) -> Iterator[str]:
    """Runs a program on an emulated board while the block lasts.

    Args:
        board: The board.
        elf: The program; None for an empty memory, to be filled by a debugger.
        options: More options of QEMU.

    Yields:
        Path of the pseudo-terminal that is the board's first serial port.

    Raises:
        ThumbnetError: QEMU is missing, does not emulate the board, or does not start.
    """
    command = [
        *qemu_machine(board),
        *("-serial", "pty", "-semihosting-config", "enable=on,target=native", *options),
        *(("-kernel", str(elf.resolve())) if elf else ()),
    ]
    children = Children()
    process = children.start(command, None)
    try:
        yield _pty_of(process)
    finally:
        children.finish(process)


def _pty_of(process: Popen[bytes]) -> str:
    """Waits for the line in which QEMU names its pseudo-terminal."""
    assert process.stdout is not None
    text, end = b"", time.monotonic() + _START_TIMEOUT
    while not (found := _PTY.search(text)):
        left = max(0.0, end - time.monotonic())
        ready, _, _ = select.select([process.stdout], [], [], left)
        data = os.read(process.stdout.fileno(), 4096) if ready else b""
        if not data:
            raise ThumbnetError(f"QEMU did not start: {text.decode('utf-8', 'replace').strip()}")
        text += data
    return found[1].decode()
