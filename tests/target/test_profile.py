"""Profiles of a small compiled network: instructions as QEMU counts them, layer by layer."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from codegen.boards import load_board, load_core
from codegen.build import build_target
from codegen.cli import app
from codegen.emit import write_model
from codegen.errors import ThumbnetError
from codegen.flow import CompileOptions, compile_model
from codegen.output import read_output
from codegen.preprocess import parse_preprocess
from codegen.profile import ProfileOptions, ProfileReport, WaitStates, counter, profile_model
from codegen.qemu import run_qemu

MODEL = Path(__file__).parents[1] / "data" / "exporters" / "torch_v1_op9.onnx"
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
CALL = 8
"""Instructions that the runner adds to each call, at most; it calls for each row."""

Profile = Callable[[str], ProfileReport]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network, compiled for a Cortex-M4."""
    folder = tmp_path_factory.mktemp("profile")
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    np.savez(folder / "pictures.npz", images=pictures)
    compile_model(
        CompileOptions(
            model=MODEL,
            out=folder / "out",
            calibrate=folder / "pictures.npz",
            preprocess=parse_preprocess("unit"),
            name="net",
            build=False,
        )
    )
    return folder / "out"


@pytest.fixture(scope="module")
def profile(out: Path) -> Profile:
    """The profile for a core, made once."""
    made: dict[str, ProfileReport] = {}

    def make(core: str) -> ProfileReport:
        if core not in made:
            made[core] = profile_model(out, core, ProfileOptions(functions=True))
        return made[core]

    return make


def counted_by_qemu(out: Path, core_name: str, folder: Path) -> int:
    output, core = read_output(out), load_core(core_name)
    board = load_board(core.qemu_board)
    write_model(output.plan(core.name), output.name, folder)
    elf = build_target(folder, output.name, board, core, folder / "build", check=False)
    shape = (1, output.graph.input_tensor.size)
    image = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    result = run_qemu(elf, board, image, folder / "run", 120, count=True)
    assert result.instructions is not None
    return result.instructions


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
def test_instructions_are_those_of_qemu(
    out: Path, profile: Profile, core: str, tmp_path: Path
) -> None:
    report = profile(core)
    assert report.core == core
    calls = read_output(out).graph.input_tensor.shape[0] + 2
    assert 0 <= counted_by_qemu(out, core, tmp_path) - report.instructions <= CALL * calls


@pytest.mark.parametrize("core", CORES)
def test_parts_add_up(out: Path, profile: Profile, core: str) -> None:
    report = profile(core)
    graph = read_output(out).graph
    assert [(layer.name, layer.op) for layer in report.layers] == [
        (node.name, node.op) for node in graph.nodes
    ]
    assert report.macs == graph.macs()
    assert report.functions is not None
    for parts in (report.layers, report.functions):
        assert sum(part.instructions or 0 for part in parts) == report.instructions
        assert sum(part.cycles or 0 for part in parts) == report.cycles
    for layer in report.layers:
        assert layer.instructions and layer.cycles
        assert layer.cycles > layer.macs / 2
    assert report.validated == (core == "cortex-m4")
    assert bool(report.warnings) != report.validated


@pytest.mark.qemu
def test_a_core_without_emulator_has_a_total_only(
    out: Path, profile: Profile, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counter.importlib.util, "find_spec", lambda name: None)
        report = profile("cortex-m55")
    assert report.instructions == counted_by_qemu(out, "cortex-m55", tmp_path)
    assert report.cycles is None
    assert {layer.instructions for layer in report.layers} == {None}
    assert "whole network only" in report.warnings[0]


def test_the_same_again(out: Path, profile: Profile) -> None:
    again = profile_model(out, options=ProfileOptions(functions=True))
    assert again == profile("cortex-m4")


@pytest.mark.slow
def test_options(out: Path, profile: Profile) -> None:
    fast = profile("cortex-m4").cycles
    flash = profile_model(out, None, ProfileOptions(waits=WaitStates(flash=4)))
    ahead = profile_model(out, None, ProfileOptions(waits=WaitStates(flash=4, prefetch=True)))
    ram = profile_model(out, None, ProfileOptions(waits=WaitStates(ram=1)))
    assert fast is not None and flash.cycles and ahead.cycles and ram.cycles
    assert fast < ahead.cycles < flash.cycles
    assert fast < ram.cycles
    assert not flash.validated
    slow = profile_model(out, "cortex-m0", ProfileOptions(slow_multiply=True))
    quick = profile_model(out, "cortex-m0")
    assert slow.cycles and quick.cycles and slow.cycles > quick.cycles + 31 * slow.macs / 2


def test_document(profile: Profile) -> None:
    document = profile("cortex-m4").to_json()
    assert {"core", "instructions", "cycles", "cycles_per_mac", "layers"} <= set(document)
    assert {"name", "op", "macs", "instructions", "cycles"} <= set(document["layers"][0])
    assert {"name", "instructions", "cycles"} == set(document["functions"][0])
    assert document["cycles_per_mac"] == pytest.approx(
        document["cycles"] / document["macs"], abs=1e-4
    )
    json.dumps(document)


def test_command(out: Path) -> None:
    words = ["profile", str(out), "--functions", "--flash-wait", "2", "--prefetch"]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.output
    assert max(map(len, ended.output.splitlines())) <= 100
    assert "cycles per multiply-add" in ended.output
    assert "wait states: flash 2 prefetched" in ended.output
    ended = CliRunner().invoke(app, ["profile", str(out), "--json"])
    assert json.loads(ended.output)["core"] == "cortex-m4"


class TestMistakes:
    @pytest.fixture
    def copy(self, out: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(out, tmp_path / "copy"))

    def test_a_wrong_program_has_no_profile(self, copy: Path) -> None:
        weights = copy / "net_weights.c"
        weights.write_text(re.sub(r"-(\d)", r"\1", weights.read_text()))
        with pytest.raises(ThumbnetError, match="something else than the simulator"):
            profile_model(copy)

    def test_damaged_folders(self, copy: Path, tmp_path: Path) -> None:
        (copy / "net.h").write_text("")
        with pytest.raises(ThumbnetError, match="does not compile"):
            profile_model(copy)
        (copy / "graph.npz").write_bytes(b"PK")
        with pytest.raises(ThumbnetError, match="compile"):
            profile_model(copy)
        with pytest.raises(ThumbnetError, match="no folder"):
            profile_model(tmp_path / "nothing")

    def test_unknown_core(self, out: Path) -> None:
        with pytest.raises(ThumbnetError, match="unknown core cortex-m5: did you mean"):
            profile_model(out, "cortex-m5")

    def test_without_the_emulator(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(counter.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ThumbnetError, match=r"pip install 'thumbnet\[profile\]'"):
            profile_model(out)

    def test_an_emulator_without_headers(
        self, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = SimpleNamespace(origin=str(tmp_path / "unicorn" / "__init__.py"))
        monkeypatch.setattr(counter.importlib.util, "find_spec", lambda name: package)
        with pytest.raises(ThumbnetError, match="lacks Unicorn's library or its headers"):
            profile_model(out)
