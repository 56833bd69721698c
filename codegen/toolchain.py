"""Finds compilers and QEMU, and runs child processes so that none outlives the command."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codegen.errors import ThumbnetError

_MESSAGE_LINES = 20
_VERSION_TIMEOUT = 30.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class _Tool:
    """How to find a program: environment variable, oldest version that works, Debian package."""

    variable: str | None
    minimum: tuple[int, int]
    package: str


_TOOLS = {
    "gcc": _Tool("CC", (7, 0), "gcc"),
    "clang": _Tool(None, (7, 0), "clang"),
    # The first to know the Cortex-M55.
    "arm-none-eabi-gcc": _Tool("THUMBNET_ARM_GCC", (10, 0), "gcc-arm-none-eabi"),
    "arm-none-eabi-objdump": _Tool(None, (2, 30), "binutils-arm-none-eabi"),
    # The first to emulate the vector extension of the Cortex-M55.
    "qemu-system-arm": _Tool("THUMBNET_QEMU", (6, 2), "qemu-system-arm"),
}


def find_tool(name: str) -> str:
    """Finds a program and checks that it is new enough.

    Args:
        name: The program, for example `gcc`, `arm-none-eabi-gcc` or `qemu-system-arm`, for which
            the environment variables CC, THUMBNET_ARM_GCC and THUMBNET_QEMU name another one.

    Returns:
        The path of the program.

    Raises:
        ThumbnetError: It is missing, does not run or is too old; says how to install it.
    """
    variable = _TOOLS[name].variable if name in _TOOLS else None
    return _find(name, os.environ.get(variable) if variable else None, os.environ.get("PATH"))


@functools.cache
def _find(name: str, override: str | None, path_variable: str | None) -> str:
    tool = _TOOLS.get(name, _Tool(None, (0, 0), name))
    how = f"install it with: sudo apt-get install {tool.package}"
    if tool.variable:
        how += f" (or name another one in the environment variable {tool.variable})"
    path = shutil.which(override or name, path=path_variable)
    if path is None:
        wanted = f"{override} (from {tool.variable})" if override else name
        raise ThumbnetError(f"the program {wanted} was not found; {how}")
    text = run([path, "--version"], timeout=_VERSION_TIMEOUT).text
    version = _version(text)
    if version is None:
        raise ThumbnetError(f"{path} --version gives no version: {text[:200]!r}; {how}")
    if version < tool.minimum:
        least = ".".join(map(str, tool.minimum))
        raise ThumbnetError(f"{path} is version {version[0]}.{version[1]}, needs {least}; {how}")
    return path


def _version(text: str) -> tuple[int, int] | None:
    # Distributions put their package version in brackets: "gcc (15:12.2.rel1-1) 12.2.1 2022".
    plain = re.sub(r"\([^)]*\)", "", text)
    match = re.search(r"(\d+)\.(\d+)", plain)
    return (int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True)
class Finished:
    """Status (negative: ended by that signal) and output, both streams, of a child process."""

    status: int
    text: str


class Children:
    """The child processes of one job, so that they can be ended together from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def start(self, cmd: Sequence[str], cwd: Path | None) -> subprocess.Popen[bytes]:
        """Starts a process in a group of its own that dies with this thread."""
        with self._lock:
            if self._ended:
                raise ThumbnetError("the job was ended")
            wrapped, in_child = _die_with_parent(cmd)
            process = subprocess.Popen(
                wrapped,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=in_child,
            )
            self._live.add(process)
            return process

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Ends a process and its group if it still runs, and waits for it."""
        _kill_group(process)
        process.wait()
        if process.stdout:
            process.stdout.close()
        with self._lock:
            self._live.discard(process)

    def end(self) -> None:
        """Ends all, now and in future."""
        with self._lock:
            self._ended = True
            for process in self._live:
                _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Not after poll() has reaped the leader: the number could be another group's by then.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@functools.cache
def _setpriv() -> str | None:
    """util-linux's setpriv, which needs no Python code between fork and exec; busybox's cannot."""
    path = shutil.which("setpriv")
    if path is None:
        return None
    trial = subprocess.run([path, "--pdeathsig", "KILL", "--", "true"], capture_output=True)
    return path if trial.returncode == 0 else None


def _die_with_parent(cmd: Sequence[str]) -> tuple[list[str], Callable[[], None] | None]:
    """The command changed so that the kernel kills it when we die, where the kernel can."""
    if not sys.platform.startswith("linux"):
        return list(cmd), None
    # The request counts from when it is made: a parent that died before is found by its number.
    parent = os.getpid()
    setpriv = _setpriv()
    if setpriv:
        still_there = ["/bin/sh", "-c", 'test "$PPID" = "$0" && exec "$@"', str(parent)]
        return [setpriv, "--pdeathsig", "KILL", "--", *still_there, *cmd], None
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return list(cmd), in_child


def run(
    cmd: Sequence[str],
    timeout: float,
    cwd: Path | None = None,
    *,
    check: bool = True,
    children: Children | None = None,
) -> Finished:
    """Runs a program to its end; its processes end with this call whatever happens.

    Args:
        cmd: Program and arguments. Standard input is empty.
        timeout: Time limit in seconds.
        cwd: The folder to run in.
        check: A status other than 0 is an error.
        children: The job that the process belongs to.

    Raises:
        ThumbnetError: It cannot be started, exceeds the time limit, or (with check) fails; has
            the last lines of its output.
    """
    children = children or Children()
    name = Path(cmd[0]).name
    if shutil.which(cmd[0]) is None:
        raise ThumbnetError(f"{cmd[0]} cannot be started: there is no such program")
    try:
        process = children.start(cmd, cwd)
    except OSError as error:
        raise ThumbnetError(f"{cmd[0]} cannot be started: {error.strerror}") from error
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        text = (error.output or b"").decode("utf-8", "replace")
        raise ThumbnetError(
            f"{name} was ended at its time limit of {timeout:g} s{_last_lines(text)}"
        ) from error
    finally:
        children.finish(process)
    text = output.decode("utf-8", "replace")
    if check and process.returncode != 0:
        raise ThumbnetError(f"{name} {_how_ended(process.returncode)}{_last_lines(text)}")
    return Finished(process.returncode, text)


def _how_ended(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"failed with status {status}"


def _last_lines(text: str) -> str:
    lines = text.strip().splitlines()[-_MESSAGE_LINES:]
    return ":\n" + "\n".join(lines) if lines else ""
