"""The wheel: everything travels in it, and it works where there is no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "codegen", "templates", "firmware")


def run(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **environment},
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what the project's files say belongs to it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(
                ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / part, source / part)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out, cwd=source)
    (made,) = out.glob("thumbnet-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and this environment's dependencies, but no checkout."""
    place = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    python = place / "venv" / "bin" / "python"
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(python, "-c", asked, cwd=place).stdout.strip())
    # The dependencies, but not this environment's own .pth files: one may name the checkout.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    command = place / "thumbnet"
    command.write_text(f"#!{python}\nfrom codegen.cli import main\nmain()\n")
    command.chmod(0o755)
    return place


def test_holds_what_is_not_python_below_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("templates", "firmware"):
        want = {
            f"codegen/_data/{path.relative_to(ROOT).as_posix()}"
            for path in (ROOT / folder).rglob("*")
            if path.is_file()
        }
        assert want
        assert want == {name for name in names if name.startswith(f"codegen/_data/{folder}/")}
    default = {path.name for path in (ROOT / "codegen/zoo/default").iterdir()}
    held = {Path(name).name for name in names if name.startswith("codegen/zoo/default/")}
    assert default == held
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"codegen", "thumbnet"}


def test_declares_the_command_and_the_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "thumbnet = codegen.cli:main" in archive.read(entry).decode()
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    text = archive.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.10" in text
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_code_that_runs_is_the_wheel_s(installed: Path) -> None:
    asked = (
        "import codegen, codegen.resources as r; print(codegen.__file__, r.resource('firmware'))"
    )
    ended = run(installed / "venv" / "bin" / "python", "-c", asked, cwd=installed)
    for path in ended.stdout.split():
        assert path.startswith(str(installed))


def test_compiles_and_simulates_outside_the_checkout(installed: Path) -> None:
    thumbnet, out = installed / "thumbnet", installed / "out"
    compiled = run(thumbnet, "compile", "-o", out, "--no-build", "--json", cwd=installed)
    assert json.loads(compiled.stdout)["core"] == "cortex-m4"
    assert not [text for text in _texts(out) if str(ROOT) in text]
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    np.savez(installed / "pictures.npz", images=pictures)
    words = ("--images", "pictures.npz", "-o", "result.npz", "--json")
    simulated = run(thumbnet, "simulate", out, *words, cwd=installed)
    classes = [entry["class"] for entry in json.loads(simulated.stdout)["images"]]
    with np.load(installed / "result.npz") as result:
        assert result["classes"].tolist() == classes
        assert result["outputs"].shape == (3, 10)


def _texts(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.read_bytes().decode("latin-1") for path in files]
