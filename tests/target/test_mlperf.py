"""The MLPerf Tiny firmware over an emulated serial port."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import SHARED_MODELS

from codegen import simulate
from codegen.boards import CORES, load_board
from codegen.build import build_target
from codegen.device.emulated import emulated
from codegen.device.flash import plan_flash, write_flash
from codegen.device.port import SerialPort
from codegen.emit import write_model
from codegen.flow import CompileOptions, compile_model
from codegen.images import load_images
from codegen.ir import Graph, Int8Array
from codegen.output import Output, read_output
from codegen.plan import make_plan
from codegen.preprocess import parse_preprocess, to_int8
from tests.target.test_firmware import TINY, needs_qemu
from tests.target.test_flash import free_port, wait_for
from tests.tiny_graphs import TINY as GRAPHS

BOARD = "mps2_an386"
TIMEOUT = 60.0
Lines = list[str]


class Monitor:
    """The benchmark's side."""

    def __init__(self, port: SerialPort) -> None:
        self._port = port

    def answer(self) -> Lines:
        """Lines up to m-ready, which is left out."""
        text, end = b"", time.monotonic() + TIMEOUT
        while not text.endswith(b"m-ready\r\n"):
            assert time.monotonic() < end, f"no m-ready after {text!r}"
            text += self._port.read(1.0)
        assert text.count(b"\n") == text.count(b"\r\n")
        return text.decode("ascii").split("\r\n")[:-2]

    def ask(self, command: str) -> Lines:
        self._port.write(f"{command}%".encode())
        return self.answer()

    def load(self, pixels: bytes) -> None:
        assert self.ask(f"db load {len(pixels)}") == [f"m-[Expecting {len(pixels)} bytes]"]
        for start in range(0, len(pixels), 31):
            piece = pixels[start : start + 31]
            is_last = start + 31 >= len(pixels)
            assert self.ask(f"db {piece.hex()}") == (["m-load-done"] if is_last else [])


@contextmanager
def monitor(sources: Path, name: str, folder: Path, *defines: str) -> Iterator[Monitor]:
    board = load_board(BOARD)
    core = CORES[board.core]
    elf = build_target(
        sources, name, board, core, folder, False, program="mlperf", werror=True, defines=defines
    )
    with emulated(board, elf) as path, SerialPort(path) as port:
        asked = Monitor(port)
        # What it says after its reset may come before QEMU's pseudo-terminal is connected, or not.
        port.write(b"begin%")
        while "e-[Unknown command: begin]" not in asked.answer():
            pass
        yield asked


def results(line: str) -> list[float]:
    found = re.fullmatch(r"m-results-\[(-?\d+\.\d{3}(?:,-?\d+\.\d{3})*)\]", line)
    assert found, line
    return [float(value) for value in found[1].split(",")]


@needs_qemu
def test_what_it_says_after_a_reset(tmp_path: Path) -> None:
    board = load_board(BOARD)
    core = CORES[board.core]
    elf = build_target(TINY, "tiny", board, core, tmp_path, False, program="mlperf", werror=True)
    gdb = free_port()
    server = ("-S", "-gdb", f"tcp:127.0.0.1:{gdb}")
    with emulated(board, None, server) as path, SerialPort(path) as port:
        wait_for(gdb)
        time.sleep(2.0)  # QEMU looks once a second whether its pseudo-terminal was opened
        write_flash(plan_flash(board, elf, "gdb", f"127.0.0.1:{gdb}"))
        assert Monitor(port).answer() == ["m-init-done"]


@needs_qemu
def test_what_it_says_of_itself(tmp_path: Path) -> None:
    with monitor(TINY, "tiny", tmp_path) as tiny:
        assert tiny.ask("name") == ["m-name-dut-[thumbnet]"]
        assert tiny.ask("\r\n profile ") == [
            "m-profile-[ULPMark for tinyML Firmware V0.0.1]",
            "m-model-[vww01]",
        ]
        assert all(re.fullmatch(r"m-\[.+\]", line) for line in tiny.ask("help"))
        times = [int(tiny.ask("timestamp")[0].removeprefix("m-lap-us-")) for _ in range(3)]
        assert times == sorted(times) and times[0] > 0


@needs_qemu
def test_the_benchmark_can_be_named(tmp_path: Path) -> None:
    with monitor(TINY, "tiny", tmp_path, "THUMBNET_MLPERF_MODEL=ic01") as tiny:
        assert tiny.ask("profile")[1] == "m-model-[ic01]"


@needs_qemu
def test_mistakes_are_told_and_change_nothing(tmp_path: Path) -> None:
    with monitor(TINY, "tiny", tmp_path) as tiny:
        assert tiny.ask("infer 1") == ["e-[The input is not loaded]"]
        assert tiny.ask("db 00") == ["e-[More bytes than expected]"]
        tiny.load(bytes([1, 2, 3, 4, 250]))
        mistakes = {
            "db load 0": r"e-\[The buffer size must be >0\]",
            "db load": r"e-\[The buffer size must be >0\]",
            "db load 6": r"e-\[The buffer size must be <=5\]",
            "db load 99999999999": r"e-\[The buffer size must be >0\]",
            "db": r"e-\[Command 'db' requires an argument\]",
            "infer 0": r"e-\[Inference iterations must be >0\]",
            "infer -1": r"e-\[Inference iterations must be >0\]",
            "infer": r"e-\[Inference iterations must be >0\]",
            "infer 1 x": r"e-\[Inference warmups must be >=0\]",
            "launch now": r"e-\[Unknown command: launch\]",
            "": r"e-\[Unknown command: \]",
            "db " + "0" * 100: r"e-\[Command too long\]",
        }
        for command, message in mistakes.items():
            (line,) = tiny.ask(command)
            assert re.fullmatch(message, line), command
        assert tiny.ask("db print") == ["m-buffer-01-02-03-04-fa"]
        tiny.ask("db load 5")
        assert tiny.ask("db 0g") == ["e-[Invalid hex digit: g]"]
        assert re.fullmatch(r"e-\[.*hex digits\]", tiny.ask("db 012")[0])
        assert tiny.ask("db 010203") == []
        assert tiny.ask("db 010203") == ["e-[More bytes than expected]"]
        assert tiny.ask("db 04FA") == ["m-load-done"]
        assert tiny.ask("db print") == ["m-buffer-01-02-03-04-fa"]


def expected(graph: Graph, pixels: np.ndarray) -> np.ndarray:
    """float [N, outputs] of the simulator for raw pixels."""
    q, out_q = graph.input_tensor.q, graph.output_tensor.q
    assert q is not None and out_q is not None
    images: Int8Array = to_int8(pixels, graph.preprocess, q)
    output = simulate.trace(graph, images)[graph.output]
    return out_q.scale * (output.reshape(len(pixels), -1).astype(float) - out_q.zero_point)


@needs_qemu
@pytest.mark.parametrize("name", ["v1", "pools"])
def test_inference_gives_what_the_simulator_gives(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    sources = tmp_path / "sources"
    sources.mkdir()
    write_model(make_plan(graph, "cortex-m4"), name, sources)
    shape = (4, *graph.input_tensor.shape)
    pixels = np.random.default_rng(7).integers(0, 256, shape).astype(np.uint8)
    wanted = expected(graph, pixels)
    with monitor(sources, name, tmp_path / "build") as board:
        for image, values in zip(pixels, wanted, strict=True):
            board.load(image.tobytes())
            lines = board.ask("infer 3 2")
            assert lines[:3] == ["m-warmup-start-2", "m-warmup-done", "m-infer-start-3"]
            before, after = (int(line.removeprefix("m-lap-us-")) for line in lines[3:5])
            assert after >= before
            assert lines[5] == "m-infer-done"
            assert results(lines[6]) == pytest.approx(values, abs=0.00051)
            assert board.ask("results") == [lines[6]]
        assert board.ask("infer 1")[0] == "m-warmup-start-10"


@pytest.fixture(scope="module")
def wake_words(tmp_path_factory: pytest.TempPathFactory) -> tuple[Output, np.ndarray]:
    """The benchmark's model for a board, and pictures: uint8 [500, 96, 96, 3]."""
    model = SHARED_MODELS / "vww_96_float_nhwc_op13.onnx"
    pictures = SHARED_MODELS.parent / "images" / "imagenet-sample-256.zip"
    for path in (model, pictures):
        if not path.is_file():
            pytest.skip(f"{path} is missing (THUMBNET_SHARED names the folder above models)")
    out = tmp_path_factory.mktemp("wake-words") / "out"
    preprocess = parse_preprocess("unit")
    compile_model(CompileOptions(out, model, pictures, name="vww", preprocess=preprocess, limit=20))
    output = read_output(out)
    images = load_images(pictures, output.graph.input_tensor.shape, output.graph.preprocess)
    return output, images.pixels


@needs_qemu
@pytest.mark.parametrize("count", [2, pytest.param(500, marks=pytest.mark.full)])
def test_accuracy_mode(count: int, wake_words: tuple[Output, np.ndarray], tmp_path: Path) -> None:
    output, pictures = wake_words
    pixels = pictures[:count]
    wanted = expected(output.graph, pixels)
    with monitor(output.folder, output.name, tmp_path / "build") as board:
        for image, values in zip(pixels, wanted, strict=True):
            board.load(image.tobytes())
            found = results(board.ask("infer 1 0")[-1])
            assert found == pytest.approx(values, abs=0.00051)
            assert np.argmax(found) == np.argmax(values)
