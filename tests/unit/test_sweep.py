"""`thumbnet sweep`, and what compile advises when a network does not fit."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from codegen import parallel
from codegen.advice import nearest_that_fits, recognised
from codegen.boards import load_board
from codegen.errors import ThumbnetError
from codegen.flow import CompileOptions, compile_model
from codegen.onnx_import import import_onnx
from codegen.passes import simplify
from codegen.profile import profile_model
from codegen.sweep import Row, SweepOptions, _marked, plotted, sweep
from codegen.zoo.defaults import default_calibration
from codegen.zoo.make import ZooOptions, make_model
from tests.helpers import has, thumbnet_command

pytest.importorskip("unicorn", reason="extra 'sweep' is not installed")
pytest.importorskip("joblib", reason="extra 'sweep' is not installed")

SMALL = SweepOptions("mobilenet_v1", (0.25, 0.5), (32, 64), ("mps2_an386", "microbit"), 10)


@pytest.mark.slow
@has("arm-none-eabi-gcc")
def test_rows_are_what_compile_and_profile_find(tmp_path: Path) -> None:
    report = sweep(replace(SMALL, alphas=(0.25,), resolutions=(64,), boards=("mps2_an386",)))
    (row,) = report.rows
    model = tmp_path / "net.onnx"
    make_model(ZooOptions("mobilenet_v1", model, 0.25, 64, 10))
    options = CompileOptions(
        tmp_path / "out", model, default_calibration(), "cortex-m4", name="net", limit=2
    )
    document = compile_model(options).to_json()
    assert (row.flash, row.ram) == (document["flash"]["total"], document["ram"]["total"])
    assert (row.macs, row.parameters) == (document["macs"], document["parameters"])
    assert row.cycles == profile_model(options.out).to_json()["cycles"]
    assert row.counted
    board = load_board("mps2_an386")
    assert row.milliseconds == pytest.approx(1000 * row.cycles / board.clock_hz)


@pytest.mark.slow
@has("arm-none-eabi-gcc")
def test_grid_in_processes_is_complete_ordered_and_plotted(tmp_path: Path) -> None:
    report = sweep(replace(SMALL, jobs=2))
    keys = [(row.board, row.alpha, row.resolution) for row in report.rows]
    grid = [(alpha, resolution) for alpha in (0.5, 0.25) for resolution in (64, 32)]
    assert keys == [(board, *key) for board in ("mps2_an386", "microbit") for key in grid]
    by_key = dict(zip(keys, report.rows, strict=True))
    assert all(row.fits for row in report.rows if row.board == "mps2_an386")
    assert not by_key["microbit", 0.5, 64].fits
    assert all(row.cycles and row.milliseconds for row in report.rows)
    assert not any(row.front for row in report.rows if not row.fits)
    svg = ElementTree.fromstring(plotted(report))
    circles = [x for x in svg.iter() if x.tag.endswith("circle")]
    assert len(circles) == len(report.rows)


@pytest.mark.slow
@has("arm-none-eabi-gcc")
def test_scaled_cycles_are_near_those_that_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = replace(SMALL, alphas=(0.25,), resolutions=(64, 128), boards=("mps2_an386",), jobs=1)
    (exact, _) = sweep(replace(grid, exact=True)).rows
    monkeypatch.setattr("codegen.sweep._COUNTED_MACS", 0)
    (scaled, smallest) = sweep(grid).rows
    assert (exact.counted, scaled.counted, smallest.counted) == (True, False, True)
    assert scaled.cycles == pytest.approx(exact.cycles, rel=0.1)
    assert scaled.cycles != exact.cycles


def _row(alpha: float, macs: int, milliseconds: float, ram: int, fits: bool = True) -> Row:
    return Row(alpha, 96, "mps2_an386", "cortex-m4", macs, 1, 1, ram, 1, True, milliseconds, fits)


def test_front_holds_what_nothing_that_fits_beats_in_everything() -> None:
    rows = [
        _row(1.0, 100, 10, 50),
        _row(0.8, 90, 11, 50),  # slower and smaller than the first
        _row(0.7, 90, 9, 60),
        _row(0.5, 100, 10, 50),  # as good as the first
        _row(0.3, 300, 5, 10, fits=False),
        _row(0.2, 50, 10, 10),
    ]
    assert [row.front for row in _marked(rows)] == [True, False, True, True, False, True]


def _square(number: int) -> int:
    if number == 3:
        raise ThumbnetError("three is refused")
    return number * number


def test_jobs_run_in_processes_and_errors_come_back() -> None:
    assert sorted(parallel.run_all(_square, [0, 1, 2, 4], 2)) == [0, 1, 4, 16]
    with pytest.raises(ThumbnetError, match="three is refused"):
        list(parallel.run_all(_square, [1, 2, 3, 4], 2))


def test_dask_runs_the_jobs(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="extra 'dask' is not installed")
    with distributed.LocalCluster(1, threads_per_worker=1, dashboard_address=None) as cluster:
        found = parallel.run_all(_square, [0, 1, 2], dask=cluster.scheduler_address)
        assert sorted(found) == [0, 1, 4]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--alphas", "0", "--resolutions", "96"], "alpha must be above 0"),
        (["--alphas", "1", "--resolutions", "97"], "near are 96 and 128"),
        (["--alphas", "1", "--resolutions", "96", "--boards", "microbt"], "did you mean microbit"),
        (["--alphas", "1", "--resolutions", "96", "--network", "mobilenet"], "did you mean"),
        (["--alphas", "", "--resolutions", "96"], "name at least one alpha"),
    ],
)
def test_sweep_refuses_before_anything_is_built(words: list[str], message: str) -> None:
    boards = [] if "--boards" in words else ["--boards", "microbit"]
    finished = thumbnet_command("sweep", *words, *boards, "--json")
    assert finished.returncode == 1
    assert message in json.loads(finished.stdout)["error"]
    assert "Traceback" not in finished.stderr


def test_words_that_are_no_numbers_are_a_wrong_usage() -> None:
    finished = thumbnet_command("sweep", "--alphas", "x", "--resolutions", "96", "--boards", "y")
    assert finished.returncode == 2
    assert "--alphas" in finished.stderr


def test_compile_that_does_not_fit_names_the_nearest_that_does(tmp_path: Path) -> None:
    model, out = tmp_path / "net.onnx", tmp_path / "out"
    make_model(ZooOptions("mobilenet_v1", model, 0.5, 96, 10))
    options = CompileOptions(out, model, default_calibration(), board="microbit", limit=2)
    with pytest.raises(ThumbnetError) as caught:
        compile_model(options)
    assert not out.exists()
    words = str(caught.value).split("mobilenet_v1 with alpha ")[1].split()
    alpha, resolution = float(words[0]), int(words[3])
    make_model(ZooOptions("mobilenet_v1", model, alpha, resolution, 10))
    assert compile_model(replace(options, build=False)).to_json()["board"] == "microbit"


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_family_is_recognised_whatever_its_width(name: str, tmp_path: Path) -> None:
    make_model(ZooOptions(name, tmp_path / "net.onnx", 0.35, 96, 7))
    graph = simplify(import_onnx(tmp_path / "net.onnx").graph)
    assert recognised(graph) == name
    # Three layers less are no MobileNet any more, and nothing is advised.
    cut = replace(graph, nodes=graph.nodes[3:])
    assert recognised(cut) is None
    assert nearest_that_fits(cut, load_board("microbit"), "cortex-m0") == ""
