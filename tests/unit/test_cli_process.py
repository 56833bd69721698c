"""The command as a process: streams, signals, and its help."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import thumbnet_command

import codegen
from codegen import __version__
from tests.unit.test_cli import COMMANDS


class TestProcess:
    def test_version(self) -> None:
        ended = thumbnet_command("--version")
        assert (ended.returncode, ended.stdout) == (0, f"thumbnet {__version__}\n")

    @pytest.mark.parametrize("command", ["", *COMMANDS, "boards"])
    def test_help_has_an_example(self, command: str) -> None:
        ended = thumbnet_command(*command.split(), "--help")
        assert ended.returncode == 0
        assert "Example: thumbnet " + command in ended.stdout

    def test_full_disk_on_stdout(self) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        with open("/dev/full", "w") as full:
            process = subprocess.run(
                [sys.executable, "-m", "codegen.cli", "boards"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                cwd=Path(codegen.__file__).parent.parent,
            )
        assert process.returncode == 1
        assert process.stderr == "error: input or output: No space left on device\n"

    def test_closed_pipe_is_quiet(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "codegen.cli", "boards", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(codegen.__file__).parent.parent,
        )
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (1, "")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signals_end_with_one_line(self, number: signal.Signals) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", _WAITING],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(codegen.__file__).parent.parent,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (130, "", "interrupted\n")


_WAITING = """
import sys, time, types
import codegen
from codegen import cli
def info_model(*words):
    print("working", flush=True)
    time.sleep(30)
codegen.runs = sys.modules["codegen.runs"] = types.ModuleType("codegen.runs")
codegen.runs.info_model = info_model
sys.argv = ["thumbnet", "info", "x"]
cli.main()
"""
