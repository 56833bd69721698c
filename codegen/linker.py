"""Decides which memory of a board holds what, and writes the linker script that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from codegen.boards import Board, Region, RegionKind, list_boards, load_board
from codegen.elf import WeightArray
from codegen.errors import ThumbnetError
from codegen.render import render_template

# What the object files do not show: alignment, and the compiler's support library in the code.
_ALIGNMENT = 64
_SUPPORT_CODE = 4096
_ARRAY_ALIGNMENT = 4

ANYWHERE: Mapping[str, str] = MappingProxyType({})
"""No part has been given a region by hand."""
_PLACEABLE: Mapping[str, tuple[RegionKind, ...]] = {
    "weights": ("flash", "external"),
    "hot": ("ram", "external"),
    "arena": ("ram", "external"),
    "stack": ("ram",),
}
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
    weights: tuple[WeightArray, ...]
    variables: int
    arena: int


@dataclass(frozen=True)
class Layout:
    """Which region holds what.

    Attributes:
        weights: Regions of the weights, fastest first, each with the names of its arrays; the last
            one takes what is not named.
        hot: Region and names of the arrays that are copied there when the program starts.
        arena: Region of the model's working memory.
        stack: Region of stacks and variables.
        stack_bytes: Size of the process stack.
        main_stack_bytes: Size of the stack of the fault handlers.
    """

    weights: tuple[tuple[str, tuple[str, ...]], ...]
    hot: tuple[str, tuple[str, ...]] | None
    arena: str
    stack: str
    stack_bytes: int
    main_stack_bytes: int


def parse_placement(text: str) -> dict[str, str]:
    """Reads ``PART=REGION,PART=REGION``, for example ``arena=AXI_SRAM``.

    Raises:
        ThumbnetError: It is written otherwise, or there is no such part.
    """
    place: dict[str, str] = {}
    for pair in text.split(","):
        part, _, region = (word.strip() for word in pair.partition("="))
        if part not in _PLACEABLE or not region or part in place:
            raise ThumbnetError(
                f"--place {text}: write PART=REGION, or several with commas between; the parts are "
                f"{', '.join(_PLACEABLE)}"
            )
        place[part] = region
    return place


def plan_layout(
    board: Board,
    need: Need,
    stack_bytes: int | None = None,
    place: Mapping[str, str] = ANYWHERE,
) -> Layout:
    """Decides where everything goes.

    The arena goes beside stacks and variables if it fits, else into the next memory. Weights go
    beside the code, those first that an inference reads most often; what is left when that is full
    goes into the next memory, and so on. The same rule chooses those that are copied.

    Args:
        board: The board.
        need: What the program needs.
        stack_bytes: Size of the process stack; None for the board's default.
        place: Names of regions chosen by hand for ``weights``, ``arena`` and ``stack`` (variables,
            too), and for ``hot``: the weights that are copied into RAM, as many as fit.

    Raises:
        ThumbnetError: There is no memory left that is large enough, in the region chosen by hand
            or at all, and says how much is missing; or the board has no such region.
    """
    stack = board.stack_bytes if stack_bytes is None else stack_bytes
    code, ram = board.region("flash"), _candidates(board, "stack", place)[0]
    own_ram = need.variables + stack + board.main_stack_bytes
    _check(board, code, need.code, "code and tables")
    _check(board, ram, own_ram, "stacks and variables")
    free = {region.name: region.length for region in board.regions}
    free[code.name] -= need.code
    free[ram.name] -= own_ram
    rams = _candidates(board, "arena", place)
    arena = _first_fit(board, rams, free, need.arena, "arena")
    free[arena.name] -= need.arena
    weights = _share(board, _candidates(board, "weights", place), free, need.weights)
    hot = None
    if "hot" in place:
        region = _candidates(board, "hot", place)[0]
        hot = (region.name, _hottest(need.weights, free[region.name] - _ALIGNMENT))
    return Layout(weights, hot, arena.name, ram.name, stack, board.main_stack_bytes)


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
            f"{board.title}: {part} cannot lie in {place[part]!r}; the regions for that are {names}"
        )
    return chosen


def _check(board: Board, region: Region, need: int, what: str) -> None:
    if need > region.length:
        raise ThumbnetError(
            f"{board.title}: {what} need {need} bytes, {region.name} has {region.length}; "
            "use a board with more memory"
        )


def _first_fit(
    board: Board, regions: list[Region], free: dict[str, int], need: int, what: str
) -> Region:
    # When it fits nowhere with slack, the linker has the last word on whether it fits without.
    for reserve in (_ALIGNMENT, 0):
        for region in regions:
            if need + reserve <= free[region.name]:
                return region
    best = max(regions, key=lambda region: free[region.name])
    raise _too_large(board, what, need, free[best.name], best.name)


def _share(
    board: Board, regions: list[Region], free: dict[str, int], arrays: tuple[WeightArray, ...]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The weights of each region, most read first; the last region takes all that are left."""
    left, shares = arrays, list[tuple[str, tuple[str, ...]]]()
    for region in regions:
        # When they do not fit with room for support code, the linker has the last word.
        reserve = 0 if region is regions[-1] else _SUPPORT_CODE
        if sum(array.bytes for array in left) <= free[region.name] - reserve:
            return (*shares, (region.name, ()))
        names = _hottest(left, free[region.name] - reserve)
        left = tuple(array for array in left if array.name not in names)
        if names:
            shares.append((region.name, names))
    total, room = sum(array.bytes for array in arrays), sum(free[r.name] for r in regions)
    raise _too_large(board, "weights", total, room, " and ".join(r.name for r in regions))


def _hottest(arrays: tuple[WeightArray, ...], room: int) -> tuple[str, ...]:
    """Names of the arrays to put into ``room`` bytes: greedily, by bytes read for a byte held."""
    names = []
    for array in sorted(arrays, key=lambda array: -array.reads):
        size = -(-array.bytes // _ARRAY_ALIGNMENT) * _ARRAY_ALIGNMENT
        if size <= room:
            names.append(array.name)
            room -= size
    return tuple(names)


def _too_large(board: Board, what: str, need: int, room: int, where: str) -> ThumbnetError:
    others = map(load_board, list_boards())
    emulated = [b.name for b in others if b.qemu_machine and _largest(b) >= need]
    hint = f" (in QEMU: {' or '.join(emulated)})" if board.qemu_machine and emulated else ""
    return ThumbnetError(
        f"{board.title}: the {what} need {need} bytes, {room} are left in {where} "
        f"({need - room} too many); use a smaller model or a board with more memory{hint}"
    )


def _largest(board: Board) -> int:
    """Bytes of the board's largest memory."""
    return max(region.length for region in board.regions)


def linker_script(board: Board, layout: Layout) -> str:
    """The text of the linker script."""
    code = board.region("flash").name
    named = ({"region": region, "arrays": arrays} for region, arrays in layout.weights[:-1])
    rest = layout.weights[-1][0]
    hot = layout.hot
    return render_template(
        "linker.ld.jinja",
        title=board.title,
        regions=[
            {"name": r.name, "origin": f"0x{r.origin:08X}", "length": f"0x{r.length:08X}"}
            for r in board.regions
        ],
        code=code,
        ram=layout.stack,
        hot={"region": hot[0], "arrays": hot[1]} if hot and hot[1] else None,
        weights=[*named, {"region": rest, "arrays": ()}],
        arena=layout.arena,
        boot2=next((r.name for r in board.regions if r.kind == "boot2"), None),
        stack_bytes=layout.stack_bytes,
        main_stack_bytes=layout.main_stack_bytes,
    )
