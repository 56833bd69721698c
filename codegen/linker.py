"""Decides which memory of a board holds what, and writes the linker script that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from codegen.boards import Board, Region
from codegen.errors import ThumbnetError
from codegen.render import render_template

# What the object files do not show: alignment, and the compiler's support library in the code.
_ALIGNMENT = 64
_SUPPORT_CODE = 4096

ANYWHERE: Mapping[str, str] = MappingProxyType({})
"""No part has been given a region by hand."""
_PLACEABLE = {"weights": ("flash", "external"), "arena": ("ram", "external")}
"""Parts that may be given a region, and of which kinds."""


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


def parse_placement(text: str) -> dict[str, str]:
    """Reads ``PART=REGION,PART=REGION``, for example ``arena=AXI_SRAM``.

    Raises:
        ThumbnetError: It is written otherwise, or a part is not weights or arena.
    """
    place: dict[str, str] = {}
    for pair in text.split(","):
        part, _, region = (word.strip() for word in pair.partition("="))
        if part not in _PLACEABLE or not region or part in place:
            raise ThumbnetError(
                f"--place {text}: write weights=REGION, arena=REGION or both with a comma between"
            )
        place[part] = region
    return place


def plan_layout(
    board: Board,
    need: Need,
    stack_bytes: int | None = None,
    place: Mapping[str, str] = ANYWHERE,
) -> Layout:
    """Puts weights and arena beside code and variables where they fit, else into the next memory.

    Args:
        board: The board.
        need: What the program needs.
        stack_bytes: Size of the process stack; None for the board's default.
        place: Names of regions chosen by hand for ``weights`` and ``arena``.

    Raises:
        ThumbnetError: There is no memory left that is large enough, in the region chosen by hand
            or at all, and says how much is missing; or the board has no such region.
    """
    stack = board.stack_bytes if stack_bytes is None else stack_bytes
    code, ram = board.region("flash"), board.region("ram")
    own_ram = need.variables + stack + board.main_stack_bytes
    _check(board, code, need.code, "code and tables")
    _check(board, ram, own_ram, "stacks and variables")
    free = {region.name: region.length for region in board.regions}
    free[code.name] -= need.code
    free[ram.name] -= own_ram
    flashes = _candidates(board, "weights", place)
    weights = _first_fit(board, flashes, free, need.weights, _SUPPORT_CODE, "weights")
    free[weights.name] -= need.weights
    rams = _candidates(board, "arena", place)
    arena = _first_fit(board, rams, free, need.arena, _ALIGNMENT, "arena")
    return Layout(weights.name, arena.name, stack, board.main_stack_bytes)


def _candidates(board: Board, part: str, place: Mapping[str, str]) -> list[Region]:
    """The regions that may hold a part, in the order in which they are tried."""
    kinds = _PLACEABLE[part]
    regions = [region for kind in kinds for region in board.regions if region.kind == kind]
    if part not in place:
        return regions
    chosen = [region for region in regions if region.name == place[part]]
    if not chosen:
        names = ", ".join(region.name for region in regions)
        raise ThumbnetError(
            f"{board.title}: the {part} cannot lie in {place[part]!r}; its regions for that are "
            f"{names}"
        )
    return chosen


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
