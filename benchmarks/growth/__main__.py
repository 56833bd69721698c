"""Measures MobileNets of several widths and resolutions, writes a page and a plot.

    pip install -e '.[profile]'
    python -m benchmarks.growth -o docs/ --keep build/growth.json

With --keep, what was measured is stored after each network, and a run that was ended goes on where
it was; remove the file when thumbnet has changed. All networks take about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.bare import CORE
from benchmarks.bare.thumbnet import NAME, measure_thumbnet
from benchmarks.growth.networks import CLASSES, save
from benchmarks.growth.page import Cell, page, plot
from codegen.flow import CompileOptions, compile_model
from codegen.preprocess import parse_preprocess

ALPHAS = (0.25, 0.5, 0.75, 1.0)
RESOLUTIONS = (96, 128, 160, 192, 224)
V2_ALPHAS = (1.0,)
IMAGES = 10

Key = tuple[str, float, int]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--most", type=float, default=1e9, help="million multiply-adds at most")
    parser.add_argument("--keep", type=Path, help="file of what was measured, to go on from")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of growth.md, .svg")
    arguments = parser.parse_args()
    cells = _kept(arguments.keep)
    for key in _wanted():
        if key not in cells and _macs(*key) <= arguments.most * 1e6:
            cells[key] = measure(*key)
            print(cells[key], file=sys.stderr, flush=True)
            if arguments.keep:
                text = json.dumps([asdict(cell) for cell in cells.values()], indent=1)
                arguments.keep.parent.mkdir(parents=True, exist_ok=True)
                arguments.keep.write_text(text + "\n", encoding="utf-8")
    found = list(cells.values())
    (arguments.out / "growth.md").write_text(page(found, CLASSES, IMAGES), encoding="utf-8")
    (arguments.out / "growth.svg").write_text(plot(found), encoding="utf-8")


def _wanted() -> Iterable[Key]:
    """The networks, small ones first."""
    keys = [("v1", *key) for key in product(ALPHAS, RESOLUTIONS)]
    keys += [("v2", *key) for key in product(V2_ALPHAS, RESOLUTIONS)]
    return sorted(keys, key=lambda key: _macs(*key))


def _macs(net: str, alpha: float, resolution: int) -> float:
    """About how many multiply-adds."""
    return (569e6 if net == "v1" else 300e6) * alpha**2 * (resolution / 224) ** 2


def _kept(path: Path | None) -> dict[Key, Cell]:
    if path is None or not path.exists():
        return {}
    cells = [Cell(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return {(cell.net, cell.alpha, cell.resolution): cell for cell in cells}


def measure(net: str, alpha: float, resolution: int) -> Cell:
    """Compiles and counts one network."""
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as work:
        folder = Path(work)
        pictures = folder / "pictures.npz"
        shape = (IMAGES, resolution, resolution, 3)
        np.savez(pictures, images=np.random.default_rng(0).integers(0, 256, shape, np.uint8))
        model = save(net, alpha, resolution, folder)
        options = CompileOptions(
            folder / "out",
            model,
            pictures,
            core=CORE,
            name=NAME,
            preprocess=parse_preprocess("signed"),
            simplify=False,
            build=False,
        )
        started = time.process_time()
        document = compile_model(options).to_json()
        seconds = time.process_time() - started
        image = np.random.default_rng(1).integers(-128, 128, shape[1:]).astype(np.int8)
        cost = measure_thumbnet(options.out, image, folder / "m4")
    return Cell(
        *(net, alpha, resolution, document["macs"], document["parameters"]),
        *(cost.instructions, cost.cycles, cost.ram, cost.flash),
        seconds=round(seconds, 2),
    )


if __name__ == "__main__":
    main()
