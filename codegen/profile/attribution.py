"""Which layer a piece of the program belongs to: the marks that the counter follows.

A layer that one place of the program calls is marked there, however often it comes by: its kernel
function may be shared with other layers. A layer with functions of its own can be marked by these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codegen.errors import ThumbnetError
from codegen.profile.counter import Marks
from codegen.profile.program import Program


def marks_from_calls(program: Program, layers: Mapping[str, Sequence[int]]) -> Marks:
    """The marks of functions whose calls, in the order of their addresses, belong to layers.

    Args:
        program: The program.
        layers: By name of a function, the layers of its calls.

    Raises:
        ThumbnetError: A function does not make that many calls.
    """
    marks: dict[int, int] = {}
    for name, numbers in layers.items():
        calls = program.calls(program.function(name))
        if len(calls) != len(numbers):
            raise ThumbnetError(
                f"{name} makes {len(calls)} calls, not {len(numbers)}: costs cannot be given to "
                "their layers. Were the generated files changed?"
            )
        marks.update((call.end, layer) for call, layer in zip(calls, numbers, strict=True))
    return Marks(calls=marks)


def marks_from_functions(program: Program, layers: Mapping[str, int]) -> Marks:
    """The marks of functions that belong to one layer each.

    Args:
        program: The program.
        layers: Layer by name of a function; the compiler's clones (NAME.constprop.0) are included.

    Raises:
        ThumbnetError: A function is not in the program.
    """
    names = {function.start: function.name.partition(".")[0] for function in program.functions}
    missing = set(layers) - set(names.values())
    if missing:
        raise ThumbnetError(f"{program.path.name} has no function {min(missing)}; was it inlined?")
    return Marks(functions={start: layers[n] for start, n in names.items() if n in layers})
