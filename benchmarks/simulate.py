"""Images a second of the simulator on one core.

OPENBLAS_NUM_THREADS=1 python benchmarks/simulate.py OUT [N]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from codegen import simulate
from codegen.output import read_output


def main() -> None:
    """Runs N random images and prints images a second of processor time."""
    graph = read_output(Path(sys.argv[1])).graph
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    shape = (count, *graph.input_tensor.shape)
    images = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    simulate.run(graph, images[:1])
    started = time.process_time()
    simulate.run(graph, images)
    print(f"{count / (time.process_time() - started):.1f} images a second of processor time")


if __name__ == "__main__":
    main()
