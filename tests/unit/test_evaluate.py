"""Evaluation: intervals, engines, clusters, and what is said of mistakes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import has, thumbnet_command
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codegen import cluster
from codegen.confidence import Z, difference_interval, share_interval
from codegen.errors import ThumbnetError
from codegen.evaluate import evaluate_model
from codegen.evaluate_report import EvaluateReport
from codegen.flow import CompileOptions, compile_model
from codegen.images import LabelOptions
from codegen.zoo.defaults import default_model

CLASSES = ("airplane", "automobile", "bird")


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_at_the_ends_of_a_share_the_observed_one_is_just_as_likely_as_it_may_be(
    observed: tuple[int, int],
) -> None:
    hits, count = observed
    low, high = share_interval(hits, count)
    assert 0.0 <= low < high <= 1.0
    assert low - 1e-9 <= hits / count <= high + 1e-9
    for end in (low, high):
        distance = abs(end - hits / count)
        assert distance == pytest.approx(Z * np.sqrt(end * (1 - end) / count), abs=1e-7)


def test_the_interval_of_a_difference_holds_it_95_times_of_100() -> None:
    rng = np.random.default_rng(0)
    only_first, only_second, count = 0.06, 0.03, 200
    held = 0
    for _ in range(4000):
        lost, gained, _ = rng.multinomial(count, [only_first, only_second, 0.91])
        low, high = difference_interval(gained, lost, count)
        held += low <= only_second - only_first <= high
    assert 0.94 < held / 4000 < 0.97
    assert difference_interval(3, 8, 100) == tuple(-x for x in difference_interval(8, 3, 100)[::-1])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, compiled."""
    folder = tmp_path_factory.mktemp("evaluate") / "out"
    compile_model(CompileOptions(folder, limit=8, build=False))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy random pictures of ten classes: more than two parts."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(70):
        path = folder / f"class {number % 10}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        small.resize((64, 64), Image.Resampling.BICUBIC).save(path)
    return folder


@pytest.fixture(scope="module")
def report(out: Path, pictures: Path) -> EvaluateReport:
    return evaluate_model(out, None, pictures, LabelOptions())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def same(report: EvaluateReport, other: EvaluateReport) -> bool:
    arrays, others = report.arrays(), other.arrays()
    return arrays.keys() == others.keys() and all(
        np.array_equal(arrays[name], others[name]) for name in arrays
    )


def test_labels_that_are_one_off_are_warned_of(report: EvaluateReport) -> None:
    assert report.to_json()["warnings"] == []
    off = replace(report, labels=report.real[:, 0] - 1)
    (warning,) = off.to_json()["warnings"]
    assert "70 pictures" in warning
    assert "--class-offset" in warning
    assert "higher" in warning


def test_a_model_with_its_weights_outside_and_of_another_name(
    report: EvaluateReport, out: Path, pictures: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    model = onnx.load(default_model())
    onnx.save(model, other, save_as_external_data=True, location="weights", size_threshold=100)
    found = evaluate_model(out, other, pictures, LabelOptions(), engine="simulator")
    assert same(found, report)
    (warning,) = found.to_json()["warnings"]
    assert "other.onnx is not the file" in warning


@has("gcc")
class TestEngines:
    def test_compiled_c_and_simulator_agree(
        self, report: EvaluateReport, out: Path, pictures: Path
    ) -> None:
        other = evaluate_model(out, None, pictures, LabelOptions(), engine="simulator", jobs=1)
        assert (report.engine, other.engine) == ("host", "simulator")
        assert same(report, other)
        assert report.error == pytest.approx(other.error)
        assert report.images == 70
        assert 0 < report.error < 0.1

    def test_a_cluster_gives_the_same_or_one_clear_error(
        self,
        report: EvaluateReport,
        out: Path,
        pictures: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        distributed = pytest.importorskip("distributed", reason="Dask is not installed")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as started:
            address = started.scheduler_address
            other = evaluate_model(out, None, pictures, LabelOptions(), cluster=address)
            assert same(report, other)

            broken = tmp_path / "broken"
            shutil.copytree(out, broken)
            next(broken.glob("*_weights.c")).write_text("#error broken\n")
            with pytest.raises(ThumbnetError, match="does not compile"):
                evaluate_model(broken, None, pictures, cluster=address)

            started.scale(0)
            wait_for(lambda: not started.scheduler_info["workers"])
            monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
            with pytest.raises(ThumbnetError, match="has no workers"):
                evaluate_model(out, None, pictures, cluster=address)

    def test_a_damaged_picture_ends_it_and_is_named(self, out: Path, tmp_path: Path) -> None:
        for number in range(40):
            Image.new("RGB", (8, 8)).save(tmp_path / f"{number:02}.png")
        (tmp_path / "35.png").write_bytes(b"no picture")
        with pytest.raises(ThumbnetError, match=r"35\.png"):
            evaluate_model(out, None, tmp_path)

    def test_the_folder_may_be_on_no_other_path(
        self, report: EvaluateReport, out: Path, pictures: Path, tmp_path: Path
    ) -> None:
        """The command, from elsewhere, with its file of results."""
        result = tmp_path / "result.npz"
        words = ["evaluate", str(out), "--data", str(pictures), "-o", str(result)]
        done = thumbnet_command(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        for text in ("top-1 %", "top-5 %", "95 %", "70 pictures"):
            assert text in done.stdout
        with np.load(result) as arrays:
            assert {name: arrays[name].tolist() for name in arrays.files} == {
                name: values.tolist() for name, values in report.arrays().items()
            }
            assert arrays["int8_confusion"].sum() == 70


def test_no_cluster_is_one_clear_error(
    out: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(ThumbnetError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        evaluate_model(out, None, pictures, cluster="tcp://127.0.0.1:9")


def report_of(
    labels: list[int] | None, real: list[int], integer: list[int], outputs: int
) -> EvaluateReport:
    def top(first: list[int]) -> np.ndarray:
        return np.array([[best, *(c for c in range(outputs) if c != best)][:5] for best in first])

    return EvaluateReport(
        "host", 2.0, tuple(f"{i}.png" for i in range(len(real))),
        None if labels is None else np.array(labels), top(real), top(integer), 0.1, outputs,
        CLASSES[:outputs],
    )  # fmt: skip


class TestReport:
    def test_mistakes_are_counted_by_class(self) -> None:
        labels, real, integer = [0, 0, 0, 1, 1, 2], [0, 1, 0, 1, 1, 2], [1, 1, 0, 1, 2, 2]
        document = report_of(labels, real, integer, 3).to_json()
        assert document["float"] == {"top1": pytest.approx(500 / 6), "top5": None}
        assert document["int8"]["top1"] == pytest.approx(300 / 6)
        assert document["agreement"] == pytest.approx(400 / 6)
        assert document["images_per_second"] == 3.0
        assert document["confusions"] == [
            {"class": "airplane", "taken_for": "automobile", "int8": 2, "float": 1}
        ]
        low, high = document["intervals"]["difference"]
        assert low < -100 / 3 < high

    def test_without_labels_there_is_agreement_alone(self) -> None:
        document = report_of(None, [0, 1], [0, 2], 3).to_json()
        assert document["agreement"] == 50.0
        assert document["int8"] == {"top1": None, "top5": None}
        assert document["confusions"] == []
        assert document["intervals"]["int8"] is None
        assert "labels" not in report_of(None, [0], [0], 3).arrays()
