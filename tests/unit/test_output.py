"""Output folders: whole or not at all, and never in the place of something else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import thumbnet_command
from onnx_models import Net

from codegen.errors import ThumbnetError
from codegen.graph_file import FILE_NAME
from codegen.output import REPORT_NAME, new_folder, read_output


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def made_by_thumbnet(out: Path) -> Path:
    with new_folder(out, force=False) as folder:
        (folder / FILE_NAME).write_bytes(b"old")
        (folder / "old.c").write_text("old")
    return out


class TestNewFolder:
    def test_takes_its_place_at_the_end(self, tmp_path: Path) -> None:
        out = tmp_path / "a" / "b" / "out"
        with new_folder(out, force=False) as folder:
            assert folder.parent == out.parent
            assert not out.exists()
            (folder / "x.c").write_text("x")
        assert entries(out.parent) == ["out"]
        assert entries(out) == ["x.c"]
        mask = os.umask(0)
        os.umask(mask)
        assert out.stat().st_mode & 0o777 == 0o777 & ~mask

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
    def test_an_error_leaves_nothing(self, error: type[BaseException], tmp_path: Path) -> None:
        with pytest.raises(error), new_folder(tmp_path / "out", force=False) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "x.c").write_text("x")
            raise error
        assert entries(tmp_path) == []

    def test_an_error_leaves_the_old_folder(self, tmp_path: Path) -> None:
        out = made_by_thumbnet(tmp_path / "out")
        with pytest.raises(ValueError, match="no"), new_folder(out, force=True) as folder:
            (folder / "new.c").write_text("new")
            raise ValueError("no")
        assert entries(tmp_path) == ["out"]
        assert (out / "old.c").read_text() == "old"

    def test_force_replaces_all_of_it(self, tmp_path: Path) -> None:
        out = made_by_thumbnet(tmp_path / "out")
        with new_folder(out, force=True) as folder:
            (folder / "new.c").write_text("new")
        assert (entries(tmp_path), entries(out)) == (["out"], ["new.c"])

    def test_without_force_it_stays(self, tmp_path: Path) -> None:
        out = made_by_thumbnet(tmp_path / "out")
        with pytest.raises(ThumbnetError, match=r"out exists\. Add --force"):  # noqa: SIM117
            with new_folder(out, force=False):
                pytest.fail("the block must not be entered")
        assert "old.c" in entries(out)

    def test_an_empty_folder_is_free(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with new_folder(tmp_path / "out", force=False) as folder:
            (folder / "x.c").write_text("x")
        assert (entries(tmp_path), entries(tmp_path / "out")) == (["out"], ["x.c"])

    @pytest.mark.parametrize("force", [False, True])
    def test_a_foreign_folder_is_refused(self, force: bool, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("years of work")
        with pytest.raises(ThumbnetError, match="was not made by thumbnet"):  # noqa: SIM117
            with new_folder(tmp_path / "out", force):
                pytest.fail("the block must not be entered")
        assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"
        assert entries(tmp_path) == ["out"]

    @pytest.mark.parametrize("force", [False, True])
    def test_a_file_is_refused(self, force: bool, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("a file")
        with pytest.raises(ThumbnetError, match="was not made by thumbnet"):  # noqa: SIM117
            with new_folder(tmp_path / "out", force):
                pytest.fail("the block must not be entered")
        assert (tmp_path / "out").read_text() == "a file"

    def test_a_parent_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with (
            pytest.raises(
                ThumbnetError, match=r"Cannot write to .*file: (Not a directory|File exists)"
            ),
            new_folder(tmp_path / "file" / "out", force=False),
        ):
            pytest.fail("the block must not be entered")

    def test_a_parent_that_cannot_be_written(self, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            place = Path("/proc/thumbnet")  # even root makes no folder there
        else:
            place = tmp_path / "locked"
            place.mkdir(mode=0o500)
        with pytest.raises(ThumbnetError, match="Cannot write to "):  # noqa: SIM117
            with new_folder(place / "out", force=False):
                pytest.fail("the block must not be entered")

    def test_taken_by_somebody_else_meanwhile(self, tmp_path: Path) -> None:
        """What appears at the place while the block runs is not deleted unseen."""
        out = tmp_path / "out"
        with pytest.raises(ThumbnetError), new_folder(out, force=False) as folder:
            (folder / "x.c").write_text("x")
            out.mkdir()
            (out / "thesis.tex").write_text("years of work")
        assert (out / "thesis.tex").read_text() == "years of work"
        assert entries(tmp_path) == ["out"]


class TestReadOutput:
    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "x"}', "\xff"])
    def test_a_damaged_report(self, text: str, tmp_path: Path) -> None:
        from random_graphs import random_quantized

        from codegen.graph_file import save_graph

        save_graph(random_quantized(1)[1], tmp_path / FILE_NAME)
        (tmp_path / REPORT_NAME).write_bytes(text.encode("latin-1"))
        with pytest.raises(ThumbnetError, match="is missing or damaged"):
            read_output(tmp_path)
        (tmp_path / REPORT_NAME).unlink()
        with pytest.raises(ThumbnetError, match="is missing or damaged"):
            read_output(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    """A small ONNX file and calibration pictures."""
    net = Net((1, 3, 16, 16))
    x = net.op("Relu", net.conv("x", 3, 8, pads=[1, 1, 1, 1], strides=[2, 2]))
    x = net.op("GlobalAveragePool", net.conv(x, 8, 64, 1))
    x = net.op("Gemm", net.op("Flatten", x), net.normal(64, 10), net.normal(10))
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "pictures.npz", images=pictures)
    return net.save(tmp_path), tmp_path / "pictures.npz"


def compile_words(model: tuple[Path, Path], out: Path) -> list[object]:
    return ["compile", model[0], "--calibrate", model[1], "-o", out, "--no-build"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("this system has no mount")
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(model: tuple[Path, Path], small_disk: Path) -> None:
    out = small_disk / "out"
    (small_disk / "other").write_bytes(bytes(40_000))
    ended = thumbnet_command(*compile_words(model, out))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: ")
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert entries(small_disk) == ["other"]


def test_a_full_disk_leaves_the_old_folder(model: tuple[Path, Path], small_disk: Path) -> None:
    out = made_by_thumbnet(small_disk / "out")
    (small_disk / "other").write_bytes(bytes(40_000))
    ended = thumbnet_command(*compile_words(model, out), "--force")
    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert (entries(small_disk), (out / "old.c").read_text()) == (["other", "out"], "old")


def test_an_unreadable_model_leaves_nothing(model: tuple[Path, Path], tmp_path: Path) -> None:
    model[0].write_bytes(b"no model")
    before = entries(tmp_path)
    ended = thumbnet_command(*compile_words(model, tmp_path / "out"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert entries(tmp_path) == before


def test_compile_makes_a_folder_that_is_recognised(
    model: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert thumbnet_command(*compile_words(model, out)).returncode == 0
    assert {FILE_NAME, REPORT_NAME, "net.c", "net.h", "Makefile"} <= set(entries(out))
    assert (read_output(out).name, read_output(out).core) == ("net", "cortex-m4")
    again = thumbnet_command(*compile_words(model, out))
    assert (again.returncode, "Add --force" in again.stderr) == (1, True)
    assert thumbnet_command(*compile_words(model, out), "--force").returncode == 0
