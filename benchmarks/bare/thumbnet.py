"""thumbnet's own output as a `CProgram`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bare import Cost, CProgram, measure
from codegen import simulate
from codegen.errors import ThumbnetError
from codegen.ir import Int8Array
from codegen.output import read_output

NAME = "net"
"""Name that the adapter expects of a model."""

_ADAPTER = Path(__file__).with_name("thumbnet.c")
_FLAGS = ("-O2", "-ffreestanding")
"""As the generated Makefile has them."""


def measure_thumbnet(out: Path, image: Int8Array, folder: Path) -> Cost:
    """Counts one inference of an output folder whose model is called `NAME`.

    Args:
        out: Made by ``compile`` for `benchmarks.bare.CORE`.
        image: int8 [H, W, C].
        folder: Where to build; is made.

    Raises:
        ThumbnetError: The program computes something else than the simulator, or does not build.
    """
    graph = read_output(out).graph
    program = CProgram(
        sources=(*sorted(out.glob("*.c")), *sorted(out.glob("*.S")), _ADAPTER),
        input_bytes=image.size,
        output_bytes=graph.output_tensor.size,
        held_bytes=image[0].size,
        includes=(out,),
        flags=(*_FLAGS, f"-Wa,-I,{out}"),
    )
    cost = measure(program, image.tobytes(), folder)
    if cost.output != simulate.run(graph, image[None]).tobytes():
        raise ThumbnetError("thumbnet's program computes something else than its simulator")
    return cost
