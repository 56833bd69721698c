"""What a user of the command sees while it runs and when it ends: progress, messages, exit status.

Results go to stdout, everything else to stderr. Exit status: 0 when the thing was done, 1 for an
error or a difference found, 2 for wrong usage (typer's), 130 when interrupted.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from codegen.errors import ThumbnetError

WIDTH = 100
INTERRUPTED = 130
_PATIENCE = 1.0
"""Seconds before a progress bar shows."""

P = ParamSpec("P")


@dataclass
class _State:
    """What holds for the whole process: how it was called."""

    debug: bool = False
    json: bool = False


state = _State()


def output() -> Console:
    """Where results go: 100 columns wide and without colour when it is no terminal."""
    return _console(sys.stdout)


def messages() -> Console:
    """Where progress, warnings and errors go."""
    return _console(sys.stderr)


def _console(file: Any) -> Console:
    terminal = bool(getattr(file, "isatty", lambda: False)())
    return Console(file=file, width=None if terminal else WIDTH, highlight=False)


def print_json(document: Mapping[str, Any]) -> None:
    """Prints the one JSON document of a run on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def warn(text: str) -> None:
    """Prints a warning on stderr."""
    _say("warning", text, "yellow")


def _say(kind: str, text: str, style: str) -> None:
    console = messages()
    console.print(f"{kind}: ", style=style, end="", markup=False)
    console.print(text, markup=False, soft_wrap=True)


class ProgressBar:
    """A ``codegen.flow.Progress`` that shows on stderr after a second, if that is a terminal."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Shows how far a stage is.

        Args:
            stage: What is being done.
            done: Steps that are finished.
            total: Steps in all; 0 if unknown.
        """
        if self._bar is None:
            console = messages()
            if not console.is_terminal or time.monotonic() - self._started < _PATIENCE:
                return
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._bar.add_task(stage, total=None)
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, description=stage, completed=done, total=total or None)


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Makes a function a command: every way it can end becomes a message and an exit status."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        state.json = bool(kwargs.get("as_json", False))
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon_stdout()  # The reader has seen enough, for example `| head`.
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            messages().print("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except (ThumbnetError, OSError, MemoryError) as error:
            _fail(_explain(error))
        except Exception as error:
            if isinstance(error, typer.Exit) or _is_usage(error):
                raise
            _fail(
                f"internal error: {type(error).__name__}: {error}. This is a defect of thumbnet; "
                "please report it with the output of the same command with `thumbnet --debug`"
            )

    return run


def end_like_ctrl_c() -> None:
    """Lets SIGTERM end like Ctrl-C, so that child processes and half-made folders go too."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _is_usage(error: Exception) -> bool:
    """True for what typer itself reports, as typer.BadParameter, with exit status 2."""
    return isinstance(error, typer.BadParameter)


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = error.filename if error.filename is not None else "input or output"
        return f"{where}: {error.strerror}"
    if isinstance(error, MemoryError):
        return "out of memory; use fewer images or close other programs"
    return str(error)


def _fail(text: str) -> None:
    line = " ".join(text.split("\n"))
    if state.debug:
        traceback.print_exc()
    _say("error", line, "bold red")
    if state.json:
        try:
            print_json({"error": line})
            sys.stdout.flush()
        except OSError:
            pass  # The error is said on stderr; stdout may be what is broken.
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_stdout()
    raise typer.Exit(1)


def _abandon_stdout() -> None:
    """Nothing more is written to stdout, not by the interpreter's last flush either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
