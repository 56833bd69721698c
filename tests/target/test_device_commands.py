"""`verify` and `run` over an emulated serial port, as a user gives the commands."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import thumbnet_command

from codegen.boards import load_board
from codegen.device.emulated import emulated
from codegen.flow import CompileOptions, compile_model
from codegen.output import read_output
from codegen.runs import simulate_model
from tests.target.test_firmware import needs_qemu
from tests.target.test_flash import free_port, wait_for

NAME = "mobilenet_v1_025_64_cifar10"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device") / "out"
    compile_model(CompileOptions(folder, limit=8, build=False))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "pictures.npz"
    np.savez(path, images=np.random.default_rng(6).integers(0, 256, (2, 64, 64, 3), np.uint8))
    return path


@needs_qemu
def test_verify_over_the_serial_port_compares_every_layer(out: Path, pictures: Path) -> None:
    done = thumbnet_command("verify", out, "--on", "qemu-serial", "--images", pictures, "--json")
    assert done.returncode == 0, done.stderr
    (target,) = json.loads(done.stdout)["targets"]
    graph = read_output(out).graph
    made = sum(graph.tensors[node.output].size for node in graph.nodes)
    assert target["bytes"] == 2 * (made + graph.output_tensor.size)
    assert target["layers"] == len(graph.nodes)
    assert len(target["stage_cycles"]) == len(read_output(out).plan("cortex-m4").steps)
    assert 0 < sum(target["stage_cycles"]) <= target["cycles"]


@needs_qemu
def test_verify_over_the_serial_port_finds_a_wrong_byte(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    weights = copy / f"{NAME}_weights.c"
    text, count = re.subn(
        r"(_4_table\[\d+\] TABLES = \{\s+)", r"\g<1>1000000 + ", weights.read_text("ascii"), count=1
    )
    assert count == 1
    weights.write_text(text, encoding="ascii")
    done = thumbnet_command("verify", copy, "--on", "qemu-serial", "--random", 1)
    assert done.returncode == 1
    assert re.search(r"qemu-serial: layer 4 .*expected\s+CRC-32", done.stdout)


@needs_qemu
def test_run_gives_what_the_simulator_gives(out: Path, pictures: Path) -> None:
    done = thumbnet_command("run", out, pictures, "--on", "qemu-serial:microbit", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    wanted = simulate_model(out, pictures)
    for index, image in enumerate(report["images"]):
        assert image["output"] == wanted.outputs[index].tolist()
        assert image["class"] == wanted.classes[index]
        assert image["milliseconds"] > 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("serial:/dev/ttyNOWHERE", "is the board plugged in"),
        ("serial:/dev/ttyNOWHERE@fast", "'fast' is no speed"),
        ("serial", "Unknown target 'serial'"),
        ("qemu-serial:nowhere", "unknown core nowhere"),
    ],
)
def test_a_wrong_device_is_told(out: Path, pictures: Path, target: str, message: str) -> None:
    done = thumbnet_command("run", out, pictures, "--on", target)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@needs_qemu
def test_flashed_by_gdb_and_verified_over_a_serial_port_that_has_a_path(
    out: Path, pictures: Path
) -> None:
    port = free_port()
    server = ("-S", "-gdb", f"tcp:127.0.0.1:{port}")
    with emulated(load_board("mps2_an386"), None, server) as path:
        wait_for(port)
        to = ("--method", "gdb", "--to", f"127.0.0.1:{port}", "--yes")
        done = thumbnet_command("flash", out, "--board", "mps2_an386", *to)
        assert done.returncode == 0, done.stderr
        assert "bytes written and verified; the program runs" in done.stdout
        target = f"serial:{path}@115200"
        done = thumbnet_command("verify", out, "--on", target, "--images", pictures, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["equal"]
    assert report["targets"][0]["layers"] == len(read_output(out).graph.nodes)


def test_flash_shows_what_it_would_do(out: Path) -> None:
    words = ("flash", out, "--board", "nucleo_l4r5zi", "--dry-run")
    report = json.loads(thumbnet_command(*words, "--json").stdout)
    assert (report["method"], report["written"]) == ("pyocd", False)
    assert report["segments"][0]["address"] == 0x08000000
    assert report["bytes"] == sum(part["bytes"] for part in report["segments"])
    shown = thumbnet_command(*words).stdout
    assert "untested on hardware" in shown
    assert "pyocd load --target stm32l4r5zitx" in shown


def test_flash_does_nothing_when_the_answer_is_no(out: Path) -> None:
    words = ("flash", out, "--board", "nucleo_l4r5zi", "--method", "gdb", "--to", "localhost:1")
    done = thumbnet_command(*words, input="n\n")
    assert done.returncode == 1
    assert "Write this?" in done.stdout
    assert "GDB server" not in done.stderr
