"""Child processes end with the command; tools are found and checked; results are read strictly."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from codegen.build import build_host
from codegen.elf import elf_sizes
from codegen.errors import ThumbnetError
from codegen.qemu import read_trace, run_host
from codegen.toolchain import Children, find_tool, run

TINY = Path(__file__).parents[1] / "target" / "tiny_model"
ROOT = Path(__file__).parents[2]


def fake_tool(folder: Path, name: str, version: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
    return path


def processes_with(word: str) -> list[int]:
    """Process numbers whose command line holds a word, zombies not among them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def wait_until_gone(word: str, seconds: float = 5.0) -> list[int]:
    end = time.monotonic() + seconds
    while (left := processes_with(word)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def test_missing_tool_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("THUMBNET_QEMU", raising=False)
    with pytest.raises(ThumbnetError, match=r"(?s)qemu-system-arm .*apt-get install qemu-system-a"):
        find_tool("qemu-system-arm")


def test_wrong_override_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBNET_ARM_GCC", "/nowhere/gcc")
    with pytest.raises(ThumbnetError, match=r"/nowhere/gcc \(from THUMBNET_ARM_GCC\)"):
        find_tool("arm-none-eabi-gcc")


def test_override_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake_tool(tmp_path, "mygcc", "mygcc (Distribution 99:1.2) 12.2.1 20221205")
    monkeypatch.setenv("THUMBNET_ARM_GCC", str(path))
    assert find_tool("arm-none-eabi-gcc") == str(path)


def test_old_tool_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake_tool(tmp_path, "old-qemu", "QEMU emulator version 5.2.0 (Debian 1:5.2+dfsg)")
    monkeypatch.setenv("THUMBNET_QEMU", str(path))
    with pytest.raises(ThumbnetError, match=r"is version 5\.2, needs 6\.2"):
        find_tool("qemu-system-arm")


def test_tool_without_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBNET_QEMU", str(fake_tool(tmp_path, "odd-qemu", "hello")))
    with pytest.raises(ThumbnetError, match="gives no version"):
        find_tool("qemu-system-arm")


def test_run_gives_status_and_both_streams() -> None:
    finished = run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], 10, check=False)
    assert (finished.status, finished.text) == (3, "out\nerr\n")


def test_run_reports_failure_with_the_last_lines() -> None:
    with pytest.raises(ThumbnetError, match=r"(?s)sh failed with status 4:.*line30$") as error:
        run(["/bin/sh", "-c", "for i in $(seq 30); do echo line$i; done; exit 4"], 10)
    assert "line11" in str(error.value) and "line10" not in str(error.value)


def test_run_names_the_signal() -> None:
    with pytest.raises(ThumbnetError, match="was ended by SIGABRT"):
        run(["/bin/sh", "-c", "kill -ABRT $$"], 10)


def test_run_of_a_program_that_is_not_there() -> None:
    with pytest.raises(ThumbnetError, match="no such program"):
        run(["/nowhere/program"], 10)


def test_time_limit_ends_the_whole_family(tmp_path: Path) -> None:
    script = tmp_path / "family.sh"
    script.write_text("echo before\n/bin/sh -c 'sleep 1000; : $0' " + str(tmp_path) + "/child\n")
    start = time.monotonic()
    with pytest.raises(ThumbnetError, match=r"(?s)at its time limit of 0\.5 s:.*before"):
        run(["/bin/sh", str(script)], 0.5)
    assert time.monotonic() - start < 5
    assert wait_until_gone(str(tmp_path)) == []


def test_a_job_that_was_ended_starts_nothing() -> None:
    children = Children()
    children.end()
    with pytest.raises(ThumbnetError, match="was ended"):
        run(["/bin/sh", "-c", "true"], 10, children=children)


def start_command(marker: str, path: str) -> subprocess.Popen[bytes]:
    """A process that runs a child of long life, once the child is there."""
    code = (
        "from codegen.toolchain import run\n"
        f"run([{sys.executable!r}, '-c', 'import time; time.sleep(1000)  # {marker}'], 900)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 20
    while len(processes_with(marker)) < 2:
        assert time.monotonic() < end and parent.poll() is None, "the child did not start"
        time.sleep(0.02)
    return parent


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_the_command(tmp_path: Path, sig: signal.Signals) -> None:
    marker = str(tmp_path / "marker")
    parent = start_command(marker, os.environ["PATH"])
    parent.send_signal(sig)
    assert parent.wait(timeout=10) != 0
    assert wait_until_gone(marker) == []


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_no_child_outlives_a_command_that_dies_while_it_starts_it(tmp_path: Path) -> None:
    marker = str(tmp_path / "marker")
    # Asks the kernel to be ended with its parent only when the parent has died already.
    late = tmp_path / "bin" / "setpriv"
    late.parent.mkdir()
    late.write_text(f'#!/bin/sh\n[ "$4" = true ] || sleep 1\nexec {shutil.which("setpriv")} "$@"\n')
    late.chmod(0o755)
    parent = start_command(marker, f"{late.parent}:{os.environ['PATH']}")
    parent.kill()
    parent.wait(timeout=10)
    assert wait_until_gone(marker) == []


def test_compiler_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "broken.c").write_text("int f(void) { return g; }\n")
    with pytest.raises(ThumbnetError, match=r"(?s)broken\.c does not compile:.*undeclared"):
        build_host(tmp_path, "broken", tmp_path / "build", check=False)


def test_a_folder_without_c_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ThumbnetError, match="holds no C files"):
        build_host(tmp_path, "none", tmp_path / "build", check=False)


def write_trace(path: Path, *records: tuple[int, int, bytes]) -> bytes:
    data = b"".join(struct.pack("<III", a, b, len(row)) + row for a, b, row in records)
    path.write_bytes(data)
    return data


def test_trace_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "trace.bin"
    write_trace(path, (3, 0, b"\x01\xff"), (4, 7, b"\x80"))
    rows = [(layer, row, data.tolist()) for layer, row, data in read_trace(path)]
    assert rows == [(3, 0, [1, -1]), (4, 7, [-128])]


@pytest.mark.parametrize(
    ("cut", "message"), [(1, "layer 4, row 7: 4 of 5 bytes"), (9, "in the middle of a record")]
)
def test_truncated_trace_is_refused(tmp_path: Path, cut: int, message: str) -> None:
    path = tmp_path / "trace.bin"
    path.write_bytes(write_trace(path, (3, 0, b"\x01\x02"), (4, 7, b"abcde"))[:-cut])
    with pytest.raises(ThumbnetError, match=message):
        list(read_trace(path))


def test_sizes_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "no.elf"
    path.write_text("hello")
    with pytest.raises(ThumbnetError, match="is no ELF file"):
        elf_sizes(path)


@pytest.mark.parametrize("inputs", [np.zeros((1, 5), np.uint8), np.zeros(5, np.int8)])
def test_wrong_inputs_are_refused(tmp_path: Path, inputs: np.ndarray) -> None:
    with pytest.raises(ThumbnetError, match=r"must be int8 \[N, bytes\]"):
        run_host(Path("/bin/true"), inputs, tmp_path, 10)


def test_a_program_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ThumbnetError, match="status 0 and without a result"):
        run_host(Path("/bin/true"), np.zeros((1, 5), np.int8), tmp_path, 10)
