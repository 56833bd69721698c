"""The command: what it prints, how it ends, and that a mistake costs one clear message."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import codegen
from codegen import console
from codegen.cli import app
from codegen.errors import ThumbnetError
from codegen.quant.pipeline import QuantOptions

RAM = {"arena": 16384, "stack": 512, "static": 64, "total": 16960}
FLASH = {"weights": 219000, "code": 8432, "tables": 1234, "total": 228666}
LAYER = {
    "index": 0,
    "name": "functional_1/very/long/name/of/a/layer/as/tf2onnx/writes/it/conv_dw_13/Relu6",
    "op": "Depthwise",
    "kernel": "portable/depthwise_3x3",
    "input": [32, 32, 16],
    "output": [32, 32, 16],
    "macs": 1234567,
    "parameters": 160,
    "ram_live": 24576,
    "input_bytes": 16384,
    "output_bytes": 16384,
}
STAGE = {
    "stage": 3,
    "layers": [5, 6],
    "names": ["a", "b"],
    "ops": ["depthwise", "conv"],
    "kernel": "portable/depthwise",
    "variant": "product_chain",
    "segment": 1,
    "streamed": True,
    "output": [32, 32, 16],
    "rows": 32,
    "rows_kept": 3,
    "row_bytes": 512,
    "bytes": 1536,
    "offset": 64,
    "scratch": 0,
    "ram_live": 24576,
    "refused": ["dsp/depthwise: its input is not made by a matrix product"],
}
COMPILED = {
    "name": "net",
    "core": "cortex-m4",
    "board": None,
    "out": "build/net",
    "macs": 3612000,
    "parameters": 219000,
    "flash": FLASH,
    "ram": RAM,
    "layers": [LAYER],
    "plan": [STAGE],
    "quantization": {
        "estimator": "minmax",
        "weights": "per-channel",
        "equalize": "exact",
        "bias_correction": "empirical",
        "rounding": "adaptive",
        "wide_depthwise": False,
        "images": 100,
    },
    "errors": [
        {"layer": "conv1", "op": "conv", "sqnr": 31.25, "mean": 0.01, "largest": 0.5},
        {"layer": "pool", "op": "maxpool", "sqnr": None, "mean": 0.0, "largest": 0.0},
    ],
    "sensitivity": [{"layer": "conv1", "sqnr": 28.5}],
    "warnings": ["the calibration images are few"],
}


@dataclass
class Report:
    """A report of the work behind a command."""

    document: dict[str, Any]
    equal: bool = True
    names: tuple[str, ...] = ("a.png", "b.png")
    tensors: dict[str, Any] = field(default_factory=lambda: {"tensor:a/b": np.ones(3, np.int8)})

    def arrays(self) -> dict[str, Any]:
        return {"names": np.array(self.names), **self.tensors}

    def to_json(self) -> dict[str, Any]:
        return self.document


def verified(equal: bool) -> Report:
    target = {"images": 10, "layers": 29, "bytes": 2345678, "equal": True}
    host = {**target, "target": "host", "instructions": None, "flash": None, "ram": None}
    chip = {**target, "target": "qemu:cortex-m0plus", "instructions": 109876543, "flash": 228666}
    chip |= {"ram": RAM, "equal": equal}
    chip |= {"difference": None if equal else "layer 'conv1' at [0, 3, 4, 5]: 7, not 8"}
    return Report({"equal": equal, "targets": [host, chip]}, equal)


SIMULATED = Report({"images": [{"name": "a.png", "class": 3, "label": "cat", "probability": 0.75}]})
EVALUATED = Report(
    {
        "images": 1234,
        "images_per_second": 21.5,
        "float": {"top1": 81.25, "top5": 99.0},
        "int8": {"top1": 81.0, "top5": 98.75},
        "agreement": 97.5,
        "output_error": 0.0123,
        "intervals": {
            "float": [79.0, 83.3],
            "int8": [78.7, 83.1],
            "difference": [-1.1, 0.6],
            "agreement": [96.5, 98.2],
        },
        "confusions": [{"class": "cat", "taken_for": "dog", "int8": 31, "float": 28}],
    }
)


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process."""
    monkeypatch.setattr(console, "state", console._State())

    def call(*words: object) -> Ended:
        with pytest.raises(SystemExit) as caught:
            app([str(word) for word in words], prog_name="thumbnet")
        out, err = capsys.readouterr()
        return Ended(int(caught.value.code or 0), out, err)

    return call


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands for what does the work: each function gives a report or raises what it is told to."""
    does = SimpleNamespace(
        compile=Report(COMPILED),
        verify=verified(True),
        simulate=SIMULATED,
        evaluate=EVALUATED,
        info=Report({**COMPILED, "compiled": True}),
        calls=[],
    )

    def function(what: str) -> Callable[..., Report]:
        def called(*args: Any, **kwargs: Any) -> Report:
            does.calls.append((what, args or kwargs))
            result = getattr(does, what)
            if isinstance(result, BaseException):
                raise result
            return result

        return called

    names = ("evaluate", "flow", "runs", "verify")
    modules = {name: types.ModuleType(f"codegen.{name}") for name in names}
    modules["flow"].CompileOptions = SimpleNamespace
    modules["flow"].compile_model = function("compile")
    modules["verify"].verify_model = function("verify")
    modules["evaluate"].evaluate_model = function("evaluate")
    for what in ("simulate", "info"):
        setattr(modules["runs"], f"{what}_model", function(what))
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"codegen.{name}", module)
        monkeypatch.setattr(codegen, name, module, raising=False)
    return does


COMMANDS = {
    "compile": ("compile", "-o", "out"),
    "verify": ("verify", "out"),
    "simulate": ("simulate", "out", "--images", "photos"),
    "evaluate": ("evaluate", "out", "--data", "photos"),
    "info": ("info", "out"),
}


class TestResults:
    @pytest.mark.parametrize("command", [*COMMANDS, "boards"])
    def test_json_is_one_document_and_nothing_else(
        self, run: Run, work: SimpleNamespace, command: str
    ) -> None:
        ended = run(*COMMANDS.get(command, (command,)), "--json")
        assert ended.status == 0
        document = json.loads(ended.out)
        assert ended.err == ""
        if command != "boards":
            assert document == getattr(work, command).document

    @pytest.mark.parametrize("command", [*COMMANDS, "boards"])
    def test_tables_fit_100_columns_without_colour(
        self, run: Run, work: SimpleNamespace, command: str
    ) -> None:
        ended = run(*COMMANDS.get(command, (command,)))
        assert ended.status == 0
        assert max(map(len, ended.out.splitlines())) <= 100
        assert "\x1b" not in ended.out

    def test_compile_says_what_it_costs(self, run: Run, work: SimpleNamespace) -> None:
        ended = run("compile", "m.onnx", "-o", "out", "--core", "cortex-m4")
        for text in ("228,666", "16,960", "3,612,000", "5+6", "32x32x16", "3 of 32", "24,576"):
            assert text in ended.out
        assert "stage 3: not dsp/depthwise: its input is not made" in ended.out
        assert ended.err == "warning: the calibration images are few\n"

    def test_unmeasured_is_a_dash(self, run: Run, work: SimpleNamespace) -> None:
        work.compile.document = {**COMPILED, "flash": {**FLASH, "code": None}}
        assert " - " in run("compile", "-o", "out", "--no-build").out

    def test_verify_is_one_table(self, run: Run, work: SimpleNamespace) -> None:
        ended = run("verify", "out")
        for text in ("qemu:cortex-m0plus", "2,345,678", "equal", "109,876,543", "16,384", "512"):
            assert text in ended.out

    @pytest.mark.parametrize("js", [[], ["--json"]])
    def test_a_difference_is_status_1(self, run: Run, work: SimpleNamespace, js: list[str]) -> None:
        work.verify = verified(False)
        ended = run("verify", "out", *js)
        assert ended.status == 1
        assert "layer 'conv1' at [0, 3, 4, 5]" in ended.out
        assert js or "DIFFERS" in ended.out

    def test_options_arrive(self, run: Run, work: SimpleNamespace) -> None:
        words = "m.onnx --calibrate pics --board b --name n --preprocess torch --images 7"
        words += " --estimator percentile --weights per-tensor --equalize none"
        words += " --bias-correction analytic --rounding nearest --no-build --no-simplify"
        words += " --force -o out"
        run("compile", *words.split())
        run("verify", "out", "--on", "host, qemu:all", "--random", 3)
        run("verify", "out", "--images", "pics", "--limit", 4)
        (_, (options, _)), (_, random), (_, pictures) = work.calls
        assert (options.model, options.calibrate) == (Path("m.onnx"), Path("pics"))
        assert (options.board, options.name, options.limit) == ("b", "n", 7)
        assert options.preprocess.resize == "crop"
        assert (options.build, options.force) == (False, True)
        assert options.quantization == QuantOptions(
            "percentile", "per-tensor", "none", "analytic", "nearest"
        )
        assert not options.simplify
        assert random[:4] == (Path("out"), ("host", "qemu:all"), None, 3)
        assert pictures[1:3] == (("host", "qemu"), Path("pics"))
        assert pictures[5] == 4

    def test_label_options_arrive(self, run: Run, work: SimpleNamespace) -> None:
        words = "--class-column class_0_999 --file-column picture --class-offset 1 --limit 5"
        run("evaluate", "out", "--data", "pics", *words.split())
        labels, limit = work.calls[0][1][3:5]
        assert (labels.class_column, labels.file_column, labels.offset) == (
            "class_0_999",
            "picture",
            1,
        )
        assert limit == 5

    def test_simulate_writes_arrays(self, run: Run, work: SimpleNamespace, tmp_path: Path) -> None:
        path = tmp_path / "r"
        run("simulate", "out", "--images", "pics", "-o", path, "--tensor", "a/b")
        with np.load(path) as result:
            assert result["names"].tolist() == ["a.png", "b.png"]
            assert result["tensor:a/b"].tolist() == [1, 1, 1]
        assert [p.name for p in tmp_path.iterdir()] == ["r"]
        assert work.calls[0][1][3] == ("a/b",)

    def test_simulate_that_cannot_write_leaves_nothing(
        self, run: Run, work: SimpleNamespace, tmp_path: Path
    ) -> None:
        work.simulate = Report(SIMULATED.document, tensors={"x": _Unwritable()})
        ended = run("simulate", "out", "--images", "pics", "-o", tmp_path / "r.npz")
        assert (ended.status, ended.out) == (1, "")
        assert "No space left on device" in ended.err
        assert list(tmp_path.iterdir()) == []
        ended = run("simulate", "out", "--images", "pics", "-o", tmp_path / "no" / "r.npz")
        assert ended.status == 1
        assert "No such file or directory" in ended.err


class _Unwritable:
    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        raise OSError(28, "No space left on device")


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["compile"], "--out"),
            (["compile", "-o", "x", "--core", "a", "--board", "b"], "not both"),
            (["compile", "-o", "x", "--images", "0"], "--images"),
            (["compile", "-o", "x", "--estimator", "best"], "best"),
            (["compile", "a", "b", "-o", "x"], "b"),
            (["verify"], "OUT"),
            (["verify", "x", "--on", ","], "--on"),
            (["verify", "x", "--random", "many"], "--random"),
            (["simulate", "x"], "--images"),
            (["simulate", "x", "--images", "p", "--tensor", "t"], "RESULT.npz"),
            (["fly"], "fly"),
            (["--wrong"], "--wrong"),
        ],
    )
    def test_wrong_usage_is_status_2(
        self, run: Run, work: SimpleNamespace, words: list[str], text: str
    ) -> None:
        ended = run(*words)
        assert (ended.status, ended.out) == (2, "")
        assert text in ended.err
        assert "Traceback" not in ended.err
        assert work.calls == []

    @pytest.mark.parametrize(
        ("error", "want"),
        [
            (ThumbnetError("node 'a': no\nway [red]x[/red]"), "node 'a': no way [red]x[/red]"),
            (OSError(28, "No space left on device", "out/net.c"), "out/net.c: No space left"),
            (OSError(28, "No space left on device"), "input or output: No space left"),
            (MemoryError(), "out of memory"),
            (KeyError("q"), "internal error: KeyError: 'q'"),
            (RecursionError("deep"), "internal error: RecursionError: deep"),
        ],
    )
    @pytest.mark.parametrize("command", list(COMMANDS))
    def test_errors_are_one_line_and_status_1(
        self, run: Run, work: SimpleNamespace, command: str, error: Exception, want: str
    ) -> None:
        setattr(work, command, error)
        ended = run(*COMMANDS[command])
        assert (ended.status, ended.out) == (1, "")
        assert ended.err.startswith(f"error: {want}")
        assert ended.err.count("\n") == 1
        ended = run(*COMMANDS[command], "--json")
        assert ended.status == 1
        assert json.loads(ended.out)["error"].startswith(want)

    def test_a_long_message_is_not_broken(self, run: Run, work: SimpleNamespace) -> None:
        work.info = ThumbnetError("word " * 100 + "end")
        assert run("info", "x").err == "error: " + "word " * 100 + "end\n"

    def test_debug_shows_the_traceback(
        self, run: Run, work: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work.info = KeyError("q")
        assert "Traceback" in run("--debug", "info", "x").err
        assert "Traceback" not in run("info", "x").err
        monkeypatch.setenv("THUMBNET_DEBUG", "1")
        assert "Traceback" in run("info", "x").err

    def test_interrupted_is_status_130(self, run: Run, work: SimpleNamespace) -> None:
        work.compile = KeyboardInterrupt()
        ended = run("compile", "-o", "out")
        assert (ended.status, ended.out, ended.err) == (130, "", "interrupted\n")

    def test_wrong_preprocessing(self, run: Run, work: SimpleNamespace) -> None:
        ended = run("compile", "-o", "out", "--preprocess", "tensorflow")
        assert ended.status == 1
        assert "'tensorflow' is not understood; write unit, signed, raw, torch" in ended.err
        assert work.calls == []


class TestProgress:
    def test_shows_after_a_second_on_a_terminal_only(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with console.ProgressBar() as bar:
            bar("quantize", 1, 2)
            assert bar._bar is None
            monkeypatch.setattr(console, "_PATIENCE", 0.0)
            bar("quantize", 1, 2)
            assert bar._bar is None  # stderr is no terminal here
            monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
            bar("[quantize]", 1, 2)
            assert bar._bar is not None
        out, err = capsys.readouterr()
        assert out == ""
        assert "[quantize]" in err
        assert "1/2" in err
