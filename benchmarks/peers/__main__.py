"""Runs Visual Wake Words through thumbnet and its peers, writes a page and a plot.

    pip install -e '.[bench]'
    python -m benchmarks.peers --models DIR --images DIR_OR_FILE -o docs/

DIR holds vww_96_float_nhwc_op13.onnx and vww_96_int8.tflite. A peer that is not installed or fails
is in the table with the reason.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.peers import with_bakenn, with_emx, with_tflm, with_thumbnet
from benchmarks.peers.page import page, plot
from benchmarks.peers.recorded import read_recorded
from benchmarks.peers.subject import Row, Subject, load_subject
from codegen.errors import ThumbnetError

Run = Callable[[Subject, Path], list[Row]]

PEERS: tuple[tuple[str, Run], ...] = (
    ("bakenn", with_bakenn.rows),
    ("emx-onnx-cgen", with_emx.rows),
    ("tflite-micro", with_tflm.rows),
)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of the two models")
    parser.add_argument("--images", type=Path, required=True, help="pictures")
    parser.add_argument("--count", type=int, default=400, help="pictures to compare with, at most")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of peers.md and .svg")
    arguments = parser.parse_args()
    try:
        subject = load_subject(arguments.models, arguments.images, arguments.count)
        rows = measured(subject)
    except ThumbnetError as error:
        sys.exit(f"peers: {error}")
    recorded = read_recorded()
    (arguments.out / "peers.md").write_text(page(rows, recorded), encoding="utf-8")
    (arguments.out / "peers.svg").write_text(plot(rows, recorded), encoding="utf-8")


def measured(subject: Subject) -> list[Row]:
    """thumbnet's rows and those of every peer."""
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as work:
        folder = Path(work)
        rows = _told("thumbnet", with_thumbnet.rows, subject, folder)
        for name, run in PEERS:
            rows += _told(name, partial(tried, name, run), subject, folder)
    return rows


def tried(name: str, run: Run, subject: Subject, folder: Path) -> list[Row]:
    """A peer's rows, or one that says why there are none."""
    try:
        return run(subject, folder)
    except ImportError as error:
        return [Row(name, "none", note=f"not run: {error}; pip install 'thumbnet[bench]'")]
    # Whatever a peer raises is a result.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        return [Row(name, "none", note=f"not run: {type(error).__name__}: {reason}")]


def _told(name: str, run: Run, subject: Subject, folder: Path) -> list[Row]:
    started = time.perf_counter()
    rows = run(subject, folder / name)
    print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    main()
