"""Which layer a piece of the program belongs to, as marks: layer by code address.

A block of code that starts at a mark makes the mark's layer the current one, and everything that
runs until the next mark counts to it: functions called, and their callees. A mark may be the first
address of a function or the address that a call returns to, so a layer whose function is called
row by row needs the first, a function that layers share needs the second.
"""

from __future__ import annotations

from collections.abc import Mapping

from codegen.errors import ThumbnetError
from codegen.profile.program import Program


def marks_from_calls(program: Program, function: str, layers: int) -> dict[int, int]:
    """The marks of a function that calls one function a layer, in the order of the layers.

    A layer reaches from the return of the call before to the return of its own, so the setting up
    of its arguments is in it; the end of ``function`` belongs to the last layer.

    Args:
        program: The program.
        function: Name of the function, NAME_run.
        layers: Number of layers.

    Raises:
        ThumbnetError: The number of calls is not the number of layers.
    """
    run = program.function(function)
    calls = program.calls(run)
    if len(calls) != layers:
        raise ThumbnetError(
            f"{function} makes {len(calls)} calls for {layers} layers: a cost cannot be given to "
            "its layer. Were the generated files changed?"
        )
    returns = {call.end: layer for layer, call in enumerate(calls[:-1], start=1)}
    return {run.start: 0, **returns}


def marks_from_functions(program: Program, layers: Mapping[str, int]) -> dict[int, int]:
    """The marks of functions that belong to one layer each, however often they are called.

    What runs between two of them counts to the one that ran before.

    Args:
        program: The program.
        layers: Layer by name of a function; the compiler's clones (NAME.constprop.0) are included.

    Raises:
        ThumbnetError: A function is not in the program.
    """
    marks = {
        function.start: layers[name]
        for function in program.functions
        if (name := function.name.partition(".")[0]) in layers
    }
    missing = set(layers) - {function.name.partition(".")[0] for function in program.functions}
    if missing:
        raise ThumbnetError(f"{program.path.name} has no function {min(missing)}; was it inlined?")
    return marks
