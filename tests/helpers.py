"""Several generated models as one program, and running programs."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codegen
from codegen import simulate
from codegen.emit import write_model
from codegen.ir import Graph, Int8Array
from codegen.plan import Plan, make_plan
from codegen.qemu import RunResult, read_trace
from codegen.verify import compare_trace


class Batch:
    """Several int8 graphs as one program, so that compilers and QEMU start once for all of them.

    Each model has arena, input and output of its own, of exactly the size that its header says.
    Every second one gets its image at once, the others in pieces of one, two, three ... rows.
    """

    NAME = "batch"

    def __init__(self, graphs: Sequence[Graph], images: Sequence[Int8Array]) -> None:
        """The graphs, and for each the same number of images: int8 [N, H, W, C]."""
        self.graphs = tuple(graphs)
        self.images = tuple(images)
        self.expected = tuple(simulate.trace(g, x) for g, x in zip(graphs, images, strict=True))
        self.names = tuple(f"net{index}" for index in range(len(graphs)))

    @property
    def inputs(self) -> Int8Array:
        """For the runner: int8 [N, bytes of one input of every graph]."""
        return np.concatenate([x.reshape(len(x), -1) for x in self.images], axis=1)

    def write(
        self, folder: Path, core: str = "cortex-m4", plans: Sequence[Plan] | None = None
    ) -> Path:
        """Writes the C files.

        Args:
            folder: Where to; is made.
            core: Core to generate for.
            plans: A plan for each graph; None for those that the planner makes for ``core``.
        """
        folder.mkdir(parents=True)
        plans = plans or [make_plan(graph, core) for graph in self.graphs]
        total_in = sum(graph.input_tensor.size for graph in self.graphs)
        total_out = sum(graph.output_tensor.size for graph in self.graphs)
        memories, calls, start_in, start_out = [], [], 0, 0
        for index, (plan, name) in enumerate(zip(plans, self.names, strict=True)):
            write_model(plan, name, folder)
            size_in, size_out = (
                t.size for t in (plan.graph.input_tensor, plan.graph.output_tensor)
            )
            memories.append(f"static int32_t {name}_arena[{name.upper()}_ARENA_BYTES / 4];")
            memories.append(f"static int8_t {name}_in[{size_in}], {name}_out[{size_out}];")
            calls += [
                f"    batch_spoil((int8_t *){name}_arena, (int32_t)sizeof {name}_arena);",
                f"    batch_copy({name}_in, batch_input + {start_in}, {size_in});",
                *(_at_once(name) if index % 2 == 0 else _in_pieces(name, plan.graph)),
                f"    batch_copy(output + {start_out}, {name}_out, {size_out});",
            ]
            start_in, start_out = start_in + size_in, start_out + size_out
        text = _BATCH.format(
            headers="\n".join(f'#include "{name}.h"' for name in self.names),
            memories="\n".join(memories),
            calls="\n".join(calls),
            bytes_in=total_in,
            bytes_out=total_out,
        )
        (folder / "thumbnet_model.h").write_text(text, encoding="ascii")
        return folder

    def check(self, result: RunResult, folder: Path) -> int:
        """Asserts that outputs and, in a checking build, all rows are the simulator's.

        Args:
            result: Of a run with ``inputs``.
            folder: Where the trace of each graph may be written to; is made.

        Returns:
            The bytes that were compared.
        """
        wanted = [self.expected[i][graph.output] for i, graph in enumerate(self.graphs)]
        flat = np.concatenate([values.reshape(len(values), -1) for values in wanted], axis=1)
        compared = flat.size
        if result.trace is not None:
            folder.mkdir(parents=True, exist_ok=True)
            paths = self._split(result.trace, folder)
            for graph, expected, path in zip(self.graphs, self.expected, paths, strict=True):
                count, difference = compare_trace(graph, expected, path)
                assert difference is None, f"{path.stem}: {difference}"
                assert count == sum(values.size for values in expected.values())
                compared += count
        assert np.array_equal(result.output, flat)
        return compared

    def _split(self, trace: Path, folder: Path) -> list[Path]:
        """The trace of each graph: rows come image by image, and graph by graph in each."""
        records = [
            struct.pack("<III", n, row, len(x)) + bytes(x) for n, row, x in read_trace(trace)
        ]
        parts: list[list[bytes]] = [[] for _ in self.graphs]
        position = 0
        for _ in range(len(self.images[0])):
            for graph, part in zip(self.graphs, parts, strict=True):
                rows = sum(graph.tensors[node.output].shape[0] for node in graph.nodes)
                part += records[position : position + rows]
                position += rows
        assert position == len(records), f"{len(records)} rows instead of {position}"
        paths = [folder / f"{name}.bin" for name in self.names]
        for path, part in zip(paths, parts, strict=True):
            path.write_bytes(b"".join(part))
        return paths


def _at_once(name: str) -> list[str]:
    return [f"    {name}_run({name}_arena, {name}_in, {name}_out);"]


def _in_pieces(name: str, graph: Graph) -> list[str]:
    """Pieces of 1, 2, 3 ... rows; the last is longer than the image and must not be read on."""
    height, width, channels = graph.input_tensor.shape
    calls, row = [f"    {name}_begin({name}_arena);"], 0
    for count in range(1, height + 1):
        if row < height:
            rows = f"{name}_in + {row * width * channels}"
            calls.append(f"    {name}_push_rows({name}_arena, {rows}, {count});")
            row += count
    return [*calls, f"    {name}_finish({name}_arena, {name}_out);"]


_BATCH = """\
#ifndef THUMBNET_MODEL_H
#define THUMBNET_MODEL_H

{headers}

#define MODEL_NAME "batch"
#define MODEL_ARENA_BYTES 16
#define MODEL_INPUT_BYTES {bytes_in}
#define MODEL_INPUT_ROWS 1
#define MODEL_ROW_BYTES {bytes_in}
#define MODEL_OUTPUT_BYTES {bytes_out}

static int8_t batch_input[{bytes_in}];
{memories}

static void batch_copy(int8_t *to, const int8_t *from, int32_t bytes)
{{
    for (int32_t i = 0; i < bytes; ++i) {{
        to[i] = from[i];
    }}
}}

static void batch_spoil(int8_t *memory, int32_t bytes)
{{
    for (int32_t i = 0; i < bytes; ++i) {{
        memory[i] = (int8_t)(0x5a ^ (i & 0x7f));
    }}
}}

static void model_begin(void *arena)
{{
    (void)arena;
}}

static void model_push_row(void *arena, const int8_t *row)
{{
    (void)arena;
    batch_copy(batch_input, row, {bytes_in});
}}

static void model_finish(void *arena, int8_t *output)
{{
    (void)arena;
{calls}
}}

#endif
"""


def has(program: str) -> pytest.MarkDecorator:
    """Skips a test, in words, where a program is missing."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")


def thumbnet_command(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command line program in a process of its own."""
    command = [sys.executable, "-m", "codegen.cli", *map(str, words)]
    root = Path(codegen.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "TERM": "dumb"}
    return subprocess.run(
        command, text=True, capture_output=True, timeout=300, env=environment, **options
    )


SHARED_MODELS = (
    Path(os.environ.get("THUMBNET_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    / "models"
)
"""Published models, where there are any."""
