"""The command with the real work behind it: examples of --help, and mistakes that leave nothing."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

import codegen
from codegen.zoo.defaults import default_model

COMMANDS = (
    "",
    "compile",
    "verify",
    "export",
    "run",
    "flash",
    "simulate",
    "evaluate",
    "info",
    "zoo",
    "sweep",
    "boards",
)
SIGNED = {"mean": [127.5] * 3, "std": [127.5] * 3, "channels": "RGB", "resize": "stretch"}
ROOT = Path(codegen.__file__).parent.parent


def thumbnet(words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codegen.cli", *shlex.split(words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name: model.onnx and labelled photos."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(default_model(), folder / "model.onnx")
    rng = np.random.default_rng(0)
    for name in ("bird/1.png", "bird/2.png", "cat/1.png"):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (80, 100, 3), np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def helps(place: Path) -> dict[str, str]:
    """The example of each command's --help."""
    found = {}
    for command in COMMANDS:
        text = thumbnet(f"{command} --help", place).stdout
        (found[command],) = (
            line.partition("Example: thumbnet ")[2].strip()
            for line in text.splitlines()
            if "Example: thumbnet " in line
        )
    return found


def test_examples_of_help_work_in_order(helps: dict[str, str], place: Path) -> None:
    for command, example in helps.items():
        ended = thumbnet(example, place)
        assert ended.returncode == 0, f"{example}\n{ended.stdout}{ended.stderr}"
        assert ended.stdout, command
        assert "Traceback" not in ended.stderr
    assert (place / "result.npz").exists()
    document = json.loads(thumbnet("evaluate build/demo --data photos --json", place).stdout)
    assert document["images"] == 3
    assert {"top1", "top5"} == document["int8"].keys() == document["float"].keys()
    assert document["int8"]["top1"] is not None


MISTAKES = {
    "no such model": ("compile lost.onnx --calibrate photos -o out", "lost.onnx"),
    "a picture as model": ("compile photos/cat/1.png --calibrate photos -o out", "1.png"),
    "an empty model": ("compile empty.onnx --calibrate photos -o out", "empty.onnx"),
    "a truncated model": ("compile cut.onnx --calibrate photos -o out", "cut.onnx"),
    "no calibration": ("compile model.onnx -o out", "--calibrate"),
    "no such calibration": ("compile --calibrate lost -o out", "lost"),
    "no pictures": ("compile --calibrate bare -o out", "no pictures"),
    "a broken picture": ("compile --calibrate broken -o out", "1.png"),
    "unknown core": ("compile --core cortex-m99 -o out", "cortex-m99"),
    "unknown board": ("compile --board arduino -o out", "arduino"),
    "a board that is too small": (
        "compile big.onnx --calibrate photos --board microbit -o out",
        "flash",
    ),
    "a folder that is not ours": ("compile -o photos --force", "photos"),
    "a file in the way": ("compile -o model.onnx", "model.onnx"),
    "no output folder": ("verify lost", "lost"),
    "not an output folder": ("verify photos", "photos"),
    "simulate without pictures": ("simulate photos --images bare", "photos"),
    "info of nothing": ("info lost.onnx", "lost.onnx"),
}


def too_big_for_256_kb() -> onnx.ModelProto:
    """Two pointwise convolutions with 362 thousand weights, preprocessing declared."""
    sizes, nodes, weights = (3, 600, 600), [], []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        values = np.random.default_rng(index).normal(0, 0.1, (outputs, inputs, 1, 1))
        weights.append(onnx.numpy_helper.from_array(values.astype(np.float32), f"w{index}"))
        nodes.append(helper.make_node("Conv", [f"x{index}", f"w{index}"], [f"x{index + 1}"]))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, 8, 8])
        for name, channels in (("x0", 3), ("x2", 600))
    ]
    graph = helper.make_graph(nodes, "big", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, {"thumbnet.preprocess": json.dumps(SIGNED)})
    return model


@pytest.fixture
def poor(place: Path, tmp_path: Path) -> Path:
    """The user's folder with all that is wrong in it."""
    folder = tmp_path / "user"
    shutil.copytree(place, folder, ignore=shutil.ignore_patterns("build"))
    (folder / "empty.onnx").write_bytes(b"")
    whole = (folder / "model.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    onnx.save(too_big_for_256_kb(), folder / "big.onnx")
    (folder / "bare").mkdir()
    (folder / "broken").mkdir()
    picture = (folder / "photos" / "cat" / "1.png").read_bytes()
    (folder / "broken" / "1.png").write_bytes(picture[:1000])
    return folder


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_cost_one_message_and_leave_nothing(mistake: str, poor: Path) -> None:
    words, text = MISTAKES[mistake]
    before = listing(poor)
    ended = thumbnet(words, poor)
    assert (ended.returncode, ended.stdout) == (1, "")
    lines = ended.stderr.splitlines()
    assert lines[-1].startswith("error: ")
    assert text in lines[-1]
    assert "internal error" not in ended.stderr
    assert len(lines) == 1
    assert listing(poor) == before


def test_compiling_twice_gives_the_same_bytes_and_needs_force(poor: Path) -> None:
    words = "compile --no-build --images 8 -o"
    assert thumbnet(f"{words} a", poor).returncode == 0
    assert thumbnet(f"{words} b", poor).returncode == 0
    for path in (poor / "a").rglob("*"):
        if path.is_file():
            twin = poor / "b" / path.relative_to(poor / "a")
            assert path.read_bytes() == twin.read_bytes(), path.name
    ended = thumbnet(f"{words} a", poor)
    assert ended.returncode == 1
    assert "--force" in ended.stderr
    assert thumbnet(f"{words} a --force", poor).returncode == 0


@pytest.fixture
def compiling(poor: Path) -> Iterator[subprocess.Popen[str]]:
    """A compilation that has begun to write."""
    process = subprocess.Popen(
        [sys.executable, "-m", "codegen.cli", "compile", "-o", "out"],
        cwd=poor,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not list(poor.glob(".out*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "compile never began to write"
        time.sleep(0.001)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_compile_leaves_nothing(
    compiling: subprocess.Popen[str], poor: Path, number: signal.Signals
) -> None:
    compiling.send_signal(number)
    out, err = compiling.communicate(timeout=60)
    assert (compiling.returncode, out, err) == (130, "", "interrupted\n")
    assert not list(poor.glob("*out*"))
    assert not list(poor.glob(".*"))
