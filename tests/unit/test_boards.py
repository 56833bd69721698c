"""Boards and cores as data, and the linker scripts made of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.boards import CORES, Board, list_boards, load_board, load_core, read_board
from codegen.elf import WeightArray
from codegen.errors import ThumbnetError
from codegen.linker import Layout, Need, linker_script, parse_placement, plan_layout
from codegen.resources import resource

K = 1024
M = 1024 * K


def need(code: int, weights: int, variables: int, arena: int) -> Need:
    """Of one array of weights."""
    return Need(code, (WeightArray("w", weights, 1),), variables, arena)


SMALL = need(code=8 * K, weights=16 * K, variables=64, arena=2 * K)

BOARD_TOML = """
title = "A board"
core = "cortex-m4"
clock_hz = 1000000
status = "untested on hardware"
stack_bytes = 1024
main_stack_bytes = 256
[[regions]]
name = "FLASH"
origin = 0
length = 65536
kind = "flash"
[[regions]]
name = "RAM"
origin = 0x20000000
length = 8192
kind = "ram"
"""


def write_board(folder: Path, text: str) -> Path:
    (folder / "board.toml").write_text(text)
    return folder


def test_every_core_is_emulated_by_a_board_that_exists() -> None:
    for core in CORES.values():
        assert load_board(core.qemu_board).qemu_machine is not None
        assert f"-mcpu={core.name}" in core.gcc_flags


def test_cores_differ_in_what_they_have() -> None:
    assert {name for name, core in CORES.items() if core.has_mve} == {"cortex-m55"}
    without_dsp = {name for name, core in CORES.items() if not core.has_dsp}
    assert without_dsp == {"cortex-m0", "cortex-m0plus", "cortex-m3"}
    assert without_dsp == {name for name, core in CORES.items() if not core.has_fpu}


def test_the_boards_are_these() -> None:
    assert [name for name in list_boards() if load_board(name).status == "emulated"] == [
        "microbit",
        "mps2_an385",
        "mps2_an386",
        "mps2_an500",
        "mps2_an505",
        "mps3_an547",
        "netduinoplus2",
    ]
    assert [name for name in list_boards() if load_board(name).status != "emulated"] == [
        "nrf52840dk",
        "nucleo_f446re",
        "nucleo_g0b1re",
        "nucleo_h743zi",
        "nucleo_l4r5zi",
        "nucleo_u575zi_q",
        "rp2040_pico",
        "stm32f746g_disco",
    ]


@pytest.mark.parametrize("name", list_boards())
def test_emulated_means_that_qemu_has_the_board(name: str) -> None:
    board = load_board(name)
    assert (board.status == "emulated") == (board.qemu_machine is not None)
    assert board.serial is not None


def test_memory_of_the_microbit() -> None:
    board = load_board("microbit")
    assert (board.region("flash").length, board.region("ram").length) == (256 * K, 16 * K)
    assert board.region("ram").origin == 0x20000000


@pytest.mark.parametrize("name", list_boards())
def test_regions_do_not_overlap(name: str) -> None:
    regions = sorted(load_board(name).regions, key=lambda region: region.origin)
    for low, high in itertools.pairwise(regions):
        assert low.origin + low.length <= high.origin


@pytest.mark.parametrize(("wrong", "right"), [("mps2_an368", "mps2_an386"), ("micro", "microbit")])
def test_unknown_board_suggests_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(ThumbnetError, match=f"unknown board {wrong}: did you mean {right}"):
        load_board(wrong)


def test_unknown_core_suggests_the_nearest() -> None:
    with pytest.raises(ThumbnetError, match="did you mean cortex-m4"):
        load_core("cortexm4")


def test_a_name_like_nothing_gets_no_suggestion() -> None:
    with pytest.raises(ThumbnetError, match="unknown core zzz: thumbnet knows cortex-m0, "):
        load_core("zzz")


def test_a_new_board_is_one_folder(tmp_path: Path) -> None:
    board = read_board(write_board(tmp_path, BOARD_TOML))
    assert (board.name, board.qemu_machine, board.region("ram").length) == (
        tmp_path.name,
        None,
        8192,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "A board"\n', "", "the key title is missing"),
        ("clock_hz = 1000000", 'clock_hz = "fast"', "clock_hz is 'fast', it must be a whole"),
        ("stack_bytes = 1024", "stack_bytes = 0", "must be a whole number >= 1"),
        ("stack_bytes = 1024", "stack_bytes = 1024\ncolour = 3", "unknown key colour"),
        ("cortex-m4", "cortex-m5", "did you mean cortex-m"),
        ('kind = "ram"', 'kind = "disk"', "kind is 'disk', it must be \"flash\""),
        ('kind = "ram"', 'kind = "external"', 'needs a region of kind = "ram"'),
        ("untested on hardware", "fine", 'status is .* it must be "emulated"'),
        ("title =", "title", "no valid TOML"),
    ],
)
def test_a_wrong_board_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in BOARD_TOML
    text = BOARD_TOML.replace(old, new, 1) if new != "fine" else BOARD_TOML.replace(old, new)
    with pytest.raises(ThumbnetError, match=message) as error:
        read_board(write_board(tmp_path, text))
    assert "board.toml" in str(error.value)


def test_a_missing_resource_is_told() -> None:
    with pytest.raises(ThumbnetError, match="has no templates/nothing"):
        resource("templates", "nothing")


@pytest.mark.parametrize("name", list_boards())
def test_linker_script(name: str, golden: Callable[[str, str], None]) -> None:
    board = load_board(name)
    golden(f"linker/{name}.ld", linker_script(board, plan_layout(board, SMALL)))


def test_linker_script_with_weights_and_arena_outside(
    golden: Callable[[str, str], None],
) -> None:
    board = load_board("mps2_an386")
    large = need(code=8 * K, weights=5 * M, variables=64, arena=6 * M)
    golden("linker/mps2_an386_external.ld", linker_script(board, plan_layout(board, large)))


@pytest.mark.parametrize(
    ("weights", "arena", "layout"),
    [
        (100 * K, 100 * K, ("ITCM", "RAM")),
        (600 * K, 100 * K, ("SRAM", "RAM")),
        (3 * M, 5 * M, ("DDR", "DDR")),
        (600 * K, 4 * M, ("SRAM", "DDR")),
    ],
)
def test_what_is_too_large_goes_to_the_next_memory(
    weights: int, arena: int, layout: tuple[str, str]
) -> None:
    board = load_board("mps3_an547")
    plan = plan_layout(board, need(code=16 * K, weights=weights, variables=100, arena=arena))
    assert plan.weights == ((layout[0], ()),)
    assert plan.arena == layout[1]


def test_a_full_flash_without_alternative_is_left_to_the_linker() -> None:
    board = load_board("microbit")
    layout = plan_layout(board, need(code=16 * K, weights=240 * K, variables=64, arena=2 * K))
    assert layout == Layout((("FLASH", ()),), None, "RAM", "RAM", 1024, 256)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (need(8 * K, 256 * K, 64, 2 * K), r"the weights need 262144 bytes.*8192 too many"),
        (need(8 * K, 200 * M, 64, 2 * K), r"or a board with more memory \(in QEMU: mps3_an547\)"),
        (need(8 * K, 300 * M, 64, 2 * K), r"or a board with more memory$"),
        (need(8 * K, 16 * K, 64, 16 * K), r"the arena need 16384 bytes, 15040 are left in RAM"),
        (need(300 * K, 0, 64, 2 * K), r"code and tables need 307200 bytes, FLASH has 262144"),
        (need(8 * K, 0, 16 * K, 0), r"stacks and variables need 17664 bytes, RAM has 16384"),
    ],
)
def test_what_does_not_fit_is_told_with_its_bytes(wanted: Need, message: str) -> None:
    with pytest.raises(ThumbnetError, match=message):
        plan_layout(load_board("microbit"), wanted)


def test_stack_size_can_be_chosen() -> None:
    layout = plan_layout(load_board("microbit"), SMALL, stack_bytes=1536)
    assert ". += 1536;" in linker_script(load_board("microbit"), layout)


def test_weights_and_arena_can_be_placed_by_hand() -> None:
    board = load_board("nucleo_h743zi")
    assert plan_layout(board, SMALL).arena == "DTCM"
    layout = plan_layout(board, SMALL, place=parse_placement("arena = AXI_SRAM, weights=FLASH"))
    assert (layout.weights, layout.arena) == ((("FLASH", ()),), "AXI_SRAM")
    assert "*(.bss.thumbnet_arena)\n    } > AXI_SRAM" in linker_script(board, layout)


@pytest.mark.parametrize(
    "text", ["", "arena", "arena=", "code=DTCM", "arena=A,arena=B", "arena=A,"]
)
def test_a_placement_that_is_not_understood_is_told(text: str) -> None:
    with pytest.raises(ThumbnetError, match="write PART=REGION"):
        parse_placement(text)


def test_a_region_that_the_board_has_not_or_that_is_full_is_told() -> None:
    board = load_board("nucleo_h743zi")
    with pytest.raises(ThumbnetError, match=r"cannot lie in 'FLASH'.*are DTCM, AXI_SRAM, ITCM"):
        plan_layout(board, SMALL, place={"arena": "FLASH"})
    large = need(code=8 * K, weights=16 * K, variables=64, arena=200 * K)
    assert plan_layout(board, large).arena == "AXI_SRAM"
    with pytest.raises(ThumbnetError, match=r"arena need 204800 bytes, .* are left in DTCM"):
        plan_layout(board, large, place={"arena": "DTCM"})


ARRAYS = (
    WeightArray("rare", 40 * K, 1),
    WeightArray("often", 30 * K, 9216),
    WeightArray("second", 20 * K, 576),
    WeightArray("tiny", 100, 2),
)


def sized(board: Board, name: str, length: int) -> Board:
    """The board with another length of one of its memories."""
    regions = tuple(replace(r, length=length) if r.name == name else r for r in board.regions)
    return replace(board, regions=regions)


def test_weights_that_are_read_most_stay_inside() -> None:
    board = sized(load_board("mps2_an386"), "FLASH", 64 * K)
    layout = plan_layout(board, Need(8 * K, ARRAYS, 64, 2 * K))
    # 52 KiB are left: the two that are read most, and the smallest.
    assert layout.weights == (("FLASH", ("often", "second", "tiny")), ("PSRAM", ()))
    script = linker_script(board, layout)
    inside, outside = script.index("weights.*.often)"), script.index("*(.rodata.thumbnet_weights*)")
    assert inside < script.index("} > FLASH", inside) < outside < script.index("} > PSRAM")


def test_weights_that_do_not_fit_in_all_memories_are_told() -> None:
    board = sized(sized(load_board("mps2_an386"), "FLASH", 64 * K), "PSRAM", 32 * K)
    with pytest.raises(ThumbnetError, match=r"92260 bytes.* left in FLASH and PSRAM"):
        plan_layout(board, Need(8 * K, ARRAYS, 64, 2 * K))


def test_hot_weights_are_copied_as_far_as_they_fit() -> None:
    board = load_board("nucleo_h743zi")
    place = parse_placement("hot=DTCM,arena=AXI_SRAM,stack=DTCM")
    layout = plan_layout(board, Need(8 * K, ARRAYS, 64 * K, 2 * K), place=place)
    assert layout.hot == ("DTCM", ("often", "second", "tiny"))
    assert "} > DTCM AT > FLASH" in linker_script(board, layout)
    full = plan_layout(board, Need(8 * K, ARRAYS, 123 * K, 2 * K), place=place)
    assert full.hot == ("DTCM", ("tiny",))
    with pytest.raises(ThumbnetError, match=r"hot cannot lie in 'FLASH'.*are DTCM, AXI_SRAM, ITCM"):
        plan_layout(board, SMALL, place={"hot": "FLASH"})


def test_stacks_and_variables_can_be_placed_by_hand() -> None:
    board = load_board("nucleo_h743zi")
    layout = plan_layout(board, SMALL, place={"stack": "AXI_SRAM"})
    assert (layout.stack, layout.arena) == ("AXI_SRAM", "DTCM")
    script = linker_script(board, layout)
    assert "ASSERT(ld_process_stack_start == ORIGIN(AXI_SRAM)" in script
