"""Decides which memory of a board holds what, and writes the linker script that says so."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.boards import Board, Region
from codegen.errors import ThumbnetError
from codegen.render import render_template

# What the object files do not show: alignment, and the compiler's support library in the code.
_ALIGNMENT = 64
_SUPPORT_CODE = 4096


@dataclass(frozen=True)
class Need:
    """Bytes of a program's parts, before they have addresses.

    Attributes:
        code: Vectors, instructions, tables and initial values of variables.
        weights: The constants of the model.
        variables: Variables with and without initial value, without the arena.
        arena: The model's working memory.
    """

    code: int
    weights: int
    variables: int
    arena: int


@dataclass(frozen=True)
class Layout:
    """Names of the regions that hold the weights and the arena, and the stack sizes in bytes."""

    weights: str
    arena: str
    stack_bytes: int
    main_stack_bytes: int


def plan_layout(board: Board, need: Need, stack_bytes: int | None = None) -> Layout:
    """Puts weights and arena beside code and variables where they fit, else into the next memory.

    Args:
        board: The board.
        need: What the program needs.
        stack_bytes: Size of the process stack; None for the board's default.

    Raises:
        ThumbnetError: There is no memory left that is large enough; says how much is missing.
    """
    stack = board.stack_bytes if stack_bytes is None else stack_bytes
    code, ram = board.region("flash"), board.region("ram")
    own_ram = need.variables + stack + board.main_stack_bytes
    _check(board, code, need.code, "code and tables")
    _check(board, ram, own_ram, "stacks and variables")
    free = {region.name: region.length for region in board.regions}
    free[code.name] -= need.code
    free[ram.name] -= own_ram
    spare = [r for r in board.regions if r.kind == "external"]
    flashes = [r for r in board.regions if r.kind == "flash"]
    weights = _first_fit(board, flashes + spare, free, need.weights, _SUPPORT_CODE, "weights")
    free[weights.name] -= need.weights
    rams = [r for r in board.regions if r.kind == "ram"]
    arena = _first_fit(board, rams + spare, free, need.arena, _ALIGNMENT, "arena")
    return Layout(weights.name, arena.name, stack, board.main_stack_bytes)


def _check(board: Board, region: Region, need: int, what: str) -> None:
    if need > region.length:
        raise ThumbnetError(
            f"{board.title}: {what} need {need} bytes, {region.name} has {region.length}; "
            "use a board with more memory"
        )


def _first_fit(
    board: Board,
    regions: list[Region],
    free: dict[str, int],
    need: int,
    slack: int,
    what: str,
) -> Region:
    # When it fits nowhere with slack, the linker has the last word on whether it fits without.
    for reserve in (slack, 0):
        for region in regions:
            if need + reserve <= free[region.name]:
                return region
    best = max(regions, key=lambda region: free[region.name])
    raise ThumbnetError(
        f"{board.title}: the {what} need {need} bytes, {free[best.name]} are left in {best.name} "
        f"({need - free[best.name]} too many); use a smaller model or a board with more memory"
    )


def linker_script(board: Board, layout: Layout) -> str:
    """The text of the linker script."""
    return render_template(
        "linker.ld.jinja",
        title=board.title,
        regions=[
            {"name": r.name, "origin": f"0x{r.origin:08X}", "length": f"0x{r.length:08X}"}
            for r in board.regions
        ],
        code=board.region("flash").name,
        ram=board.region("ram").name,
        weights=layout.weights,
        arena=layout.arena,
        boot2=next((r.name for r in board.regions if r.kind == "boot2"), None),
        stack_bytes=layout.stack_bytes,
        main_stack_bytes=layout.main_stack_bytes,
    )
