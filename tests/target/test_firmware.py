"""The model-free firmware on the host and on every emulated machine, around a tiny model."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import pytest

from codegen.boards import CORES, Board, Core, list_boards, load_board
from codegen.build import build_host, build_target
from codegen.elf import elf_sizes
from codegen.errors import ThumbnetError
from codegen.qemu import RunResult, read_trace, run_host, run_qemu
from codegen.toolchain import run

Test = TypeVar("Test", bound=Callable[..., None])

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).parent / "tiny_model"
WEIGHTS = np.array(
    [[1, -2, 3, -4, 5], [60, 70, -80, 90, -100], [-128, 127, 0, 1, -1]], dtype=np.int64
)
INPUTS = np.random.default_rng(1).integers(-128, 128, (3, 5)).astype(np.int8)
WANTED = (INPUTS.astype(np.int64) @ WEIGHTS.T).astype(np.uint8).view(np.int8)
TIMEOUT = 60.0

# Every board with its own core, and M0+ code on the M3 that stands in for it.
EMULATED = [load_board(name) for name in list_boards() if load_board(name).qemu_machine]
TARGETS = [(CORES[board.core], board) for board in EMULATED]
TARGETS.append((CORES["cortex-m0plus"], load_board("mps2_an385")))
HAS_EXTERNAL = [t for t in TARGETS if any(r.kind == "external" for r in t[1].regions)]


def needs_qemu(test: Test) -> Test:
    missing = [t for t in ("qemu-system-arm", "arm-none-eabi-gcc") if shutil.which(t) is None]
    skip = pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)}")
    return cast(Test, pytest.mark.qemu(skip(test)))


def target_id(target: tuple[Core, Board]) -> str:
    return f"{target[1].name}-{target[0].name}"


on_every_target = pytest.mark.parametrize("target", TARGETS, ids=target_id)


def build(
    target: tuple[Core, Board],
    folder: Path,
    defines: Sequence[str] = (),
    *,
    check: bool = False,
    stack_bytes: int | None = None,
) -> Path:
    core, board = target
    return build_target(TINY, "tiny", board, core, folder, check, stack_bytes, defines=defines)


def run_on(
    target: tuple[Core, Board],
    folder: Path,
    defines: Sequence[str] = (),
    *,
    check: bool = False,
    count: bool = False,
    inputs: npt.NDArray[np.int8] = INPUTS,
) -> RunResult:
    elf = build(target, folder / "build", defines, check=check)
    return run_qemu(elf, target[1], inputs, folder / "run", TIMEOUT, count)


def assert_trace(result: RunResult) -> None:
    assert result.trace is not None
    rows = [(layer, row, data.tolist()) for layer, row, data in read_trace(result.trace)]
    wanted = []
    for number, (image, output) in enumerate(zip(INPUTS, WANTED, strict=True), 1):
        wanted += [(0, number, image.tolist()), (1, number, output.tolist())]
    assert rows == wanted


@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("sanitize", [False, True])
@pytest.mark.parametrize("check", [False, True])
def test_host_gives_the_right_bytes(tmp_path: Path, cc: str, sanitize: bool, check: bool) -> None:
    if shutil.which(cc) is None:
        pytest.skip(f"needs {cc}")
    try:
        program = build_host(TINY, "tiny", tmp_path / "b", check, cc, sanitize, werror=True)
    except ThumbnetError as error:
        if "cannot find" in str(error) and "libclang_rt" in str(error):
            pytest.skip("needs clang's sanitizer libraries (libclang-rt-dev)")
        raise
    result = run_host(program, INPUTS, tmp_path / "run", TIMEOUT)
    assert np.array_equal(result.output, WANTED)
    assert (result.stack, result.instructions) == (None, None)
    if check:
        assert_trace(result)
    else:
        assert result.trace is None


def test_sanitizer_ends_the_run(tmp_path: Path) -> None:
    program = build_host(
        TINY, "tiny", tmp_path, False, sanitize=True, defines=["TINY_ARENA_BYTES=16"]
    )
    with pytest.raises(ThumbnetError, match=r"(?s)AddressSanitizer|runtime error"):
        run_host(program, INPUTS, tmp_path / "run", TIMEOUT)


def test_missing_input_fails(tmp_path: Path) -> None:
    program = build_host(TINY, "tiny", tmp_path / "b", check=False)
    finished = run([str(program)], TIMEOUT, tmp_path, check=False)
    assert (finished.status, finished.text) == (1, "thumbnet error: input.bin cannot be opened\n")


@pytest.mark.parametrize("shape", [(1, 4), (2, 3), (0, 5)])
def test_partial_images_fail(tmp_path: Path, shape: tuple[int, int]) -> None:
    program = build_host(TINY, "tiny", tmp_path / "b", check=False)
    with pytest.raises(ThumbnetError, match="does not hold a whole number of images of tiny"):
        run_host(program, np.zeros(shape, np.int8), tmp_path / "run", TIMEOUT)


def test_images_of_another_model_fail(tmp_path: Path) -> None:
    program = build_host(TINY, "tiny", tmp_path / "b", check=False)
    with pytest.raises(ThumbnetError, match="5 images went in, 3 were run and 9 bytes came out"):
        run_host(program, np.zeros((5, 3), np.int8), tmp_path / "run", TIMEOUT)


@needs_qemu
@on_every_target
@pytest.mark.parametrize("check", [False, True])
def test_target_gives_the_right_bytes(
    tmp_path: Path, target: tuple[Core, Board], check: bool
) -> None:
    core, board = target
    elf = build_target(TINY, "tiny", board, core, tmp_path / "b", check, werror=True)
    result = run_qemu(elf, board, INPUTS, tmp_path / "run", TIMEOUT)
    assert np.array_equal(result.output, WANTED)
    assert result.instructions is None
    if check:
        assert_trace(result)
    else:
        assert result.trace is None


@needs_qemu
@on_every_target
def test_target_reports_a_missing_input(tmp_path: Path, target: tuple[Core, Board]) -> None:
    # No images at all: the file is there and empty.
    with pytest.raises(ThumbnetError, match="does not hold a whole number of images"):
        run_on(target, tmp_path, inputs=np.zeros((0, 5), np.int8))


@needs_qemu
@on_every_target
def test_instructions_are_counted_exactly(tmp_path: Path, target: tuple[Core, Board]) -> None:
    counts = {}
    for loops in (1_000_000, 10_000_000):
        result = run_on(target, tmp_path, [f"TINY_LOOP={loops}"], count=True)
        assert np.array_equal(result.output, WANTED)
        assert result.instructions is not None
        counts[loops] = result.instructions
    around = counts[1_000_000] - 2 * 1_000_000
    # Loading the number of loops takes an instruction more or less.
    assert abs(counts[10_000_000] - 2 * 10_000_000 - around) <= 1
    # 15 multiply-adds and what is around them: three calls of the model.
    assert 15 * 5 < around < 400


@needs_qemu
@on_every_target
def test_counting_is_repeatable_and_measures_stack_on_other_images(
    tmp_path: Path, target: tuple[Core, Board]
) -> None:
    elf = build(target, tmp_path / "b", ["TINY_LOOP=400000"])
    runs = [run_qemu(elf, target[1], INPUTS, tmp_path / "run", TIMEOUT, True) for _ in range(2)]
    plain = run_qemu(elf, target[1], INPUTS, tmp_path / "run", TIMEOUT)
    one = run_qemu(elf, target[1], INPUTS[:1], tmp_path / "run", TIMEOUT, True)
    assert runs[0].instructions == runs[1].instructions == one.instructions
    assert runs[0].stack == plain.stack
    assert one.stack is None


@needs_qemu
@on_every_target
def test_stack_is_measured_exactly(tmp_path: Path, target: tuple[Core, Board]) -> None:
    used = [run_on(target, tmp_path, [f"TINY_DEEP={deep}"]).stack for deep in (304, 400)]
    assert used[0] is not None and used[1] is not None
    assert used[1] - used[0] == 96
    assert 304 < used[0] < 304 + 64


def bad_address(board: Board) -> int:
    """An address where the machine has nothing (each of these is something on the others)."""
    return 0xF8000000 if board.name == "mps3_an547" else 0xDEAD0000


FAULTS = {
    "bad address": ("TINY_BAD_ADDRESS={}u", 5, "bus error on data access"),
    "undefined instruction": ("TINY_UNDEFINED", 6, "undefined instruction"),
}


@needs_qemu
@on_every_target
@pytest.mark.parametrize("kind", FAULTS)
def test_fault_is_reported(tmp_path: Path, target: tuple[Core, Board], kind: str) -> None:
    define, number, words = FAULTS[kind]
    with pytest.raises(ThumbnetError) as error:
        run_on(target, tmp_path, [define.format(bad_address(target[1]))])
    text = str(error.value)
    if target[1].core == "cortex-m0":  # has one fault for all and no status registers
        number, words = 3, "HardFault"
    assert f"(exception {number}), PC 0x" in text
    assert words in text
    assert "(tiny_finish), LR 0x" in text


@needs_qemu
@on_every_target
def test_bad_address_is_told(tmp_path: Path, target: tuple[Core, Board]) -> None:
    if target[1].core == "cortex-m0":
        pytest.skip("ARMv6-M does not keep the address")
    address = bad_address(target[1])
    with pytest.raises(ThumbnetError, match=f"address {address:#010x}"):
        run_on(target, tmp_path, [f"TINY_BAD_ADDRESS={address}u"])


@needs_qemu
@on_every_target
def test_stack_overflow_is_reported(tmp_path: Path, target: tuple[Core, Board]) -> None:
    with pytest.raises(ThumbnetError) as error:
        run_on(target, tmp_path, ["TINY_OVERFLOW"])
    text = str(error.value)
    number = {"cortex-m0": 3, "cortex-m33": 6, "cortex-m55": 6}.get(target[1].core, 4)
    assert f"(exception {number})" in text
    assert "the stack is full" in text
    # The core has no room to save PC and LR: the return addresses on the stack stand for them.
    assert text.count("(dive)") == 2
    if target[1].core != "cortex-m0":
        assert "stack overflow" in text


@needs_qemu
@on_every_target
def test_large_frame_does_not_leap_over_the_guard(
    tmp_path: Path, target: tuple[Core, Board]
) -> None:
    elf = build(target, tmp_path / "b", ["TINY_DEEP=3000"], stack_bytes=1024)
    with pytest.raises(ThumbnetError, match=r"\(exception [346]\), PC and LR were not saved"):
        run_qemu(elf, target[1], INPUTS, tmp_path / "run", TIMEOUT)


@needs_qemu
@on_every_target
def test_unaligned_access(tmp_path: Path, target: tuple[Core, Board]) -> None:
    with pytest.raises(ThumbnetError) as error:
        run_on(target, tmp_path, ["TINY_UNALIGNED", "THUMBNET_TRAP_UNALIGNED"])
    text = str(error.value)
    assert "(tiny_finish), LR 0x" in text
    assert ("HardFault" if target[1].core == "cortex-m0" else "unaligned access") in text


@needs_qemu
@pytest.mark.parametrize("target", HAS_EXTERNAL, ids=target_id)
def test_weights_and_arena_in_external_memory(tmp_path: Path, target: tuple[Core, Board]) -> None:
    size = 5 << 20
    defines = [f"TINY_WEIGHT_PADDING={size}", f"TINY_ARENA_BYTES={size}"]
    result = run_on(target, tmp_path, defines)
    assert np.array_equal(result.output, WANTED)
    sizes = elf_sizes(tmp_path / "build" / "tiny.elf")
    assert (sizes.weights, sizes.arena) == (size + 15, size)


@needs_qemu
def test_model_that_does_not_fit(tmp_path: Path) -> None:
    target = (CORES["cortex-m0"], load_board("microbit"))
    with pytest.raises(ThumbnetError, match=r"the weights need 300015 bytes.* left in FLASH"):
        build(target, tmp_path, ["TINY_WEIGHT_PADDING=300000"])
    with pytest.raises(ThumbnetError, match="the arena need 16384 bytes"):
        build(target, tmp_path, ["TINY_ARENA_BYTES=16384"])


@needs_qemu
def test_linker_has_the_last_word(tmp_path: Path) -> None:
    target = (CORES["cortex-m0"], load_board("microbit"))
    room = 262144 - elf_sizes(build(target, tmp_path)).flash
    build(target, tmp_path, [f"TINY_WEIGHT_PADDING={room - 32}"])
    with pytest.raises(ThumbnetError, match="FLASH"):
        build(target, tmp_path, [f"TINY_WEIGHT_PADDING={room + 32}"])


@needs_qemu
def test_sizes_name_their_parts(tmp_path: Path) -> None:
    target = (CORES["cortex-m4"], load_board("mps2_an386"))
    small = elf_sizes(build(target, tmp_path, stack_bytes=2048))
    large = elf_sizes(build(target, tmp_path, ["TINY_WEIGHT_PADDING=1000"], stack_bytes=2048))
    assert (small.weights, large.weights) == (15, 1015)
    assert (small.arena, small.stack) == (64, 2048 + 512)
    assert large.code == small.code and large.rodata == small.rodata
    assert small.flash == small.code + small.weights + small.rodata + small.data
    assert small.bss < 64


@needs_qemu
def test_runner_leaves_the_microbit_its_ram(tmp_path: Path) -> None:
    sizes = elf_sizes(build((CORES["cortex-m0"], load_board("microbit")), tmp_path))
    assert sizes.ram - sizes.arena - sizes.stack <= 64


def qemu_processes(elf: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if b"qemu-system-arm" in line and str(elf).encode() in line:
            found.append(entry.name)
    return found


def assert_no_qemu_left(elf: Path) -> None:
    end = time.monotonic() + 5
    while qemu_processes(elf):
        assert time.monotonic() < end, "a QEMU process is left behind"
        time.sleep(0.02)


@needs_qemu
@on_every_target
def test_endless_loop_is_ended(tmp_path: Path, target: tuple[Core, Board]) -> None:
    elf = build(target, tmp_path / "b", ["TINY_ENDLESS"])
    with pytest.raises(ThumbnetError, match=r"ended at its time limit of 0\.5 s"):
        run_qemu(elf, target[1], INPUTS, tmp_path / "run", 0.5)
    assert_no_qemu_left(elf)


@needs_qemu
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_no_qemu(tmp_path: Path, sig: signal.Signals) -> None:
    target = (CORES["cortex-m4"], load_board("mps2_an386"))
    elf = build(target, tmp_path / "b", ["TINY_ENDLESS"])
    code = (
        "import numpy as np; from pathlib import Path\n"
        "from codegen.boards import load_board; from codegen.qemu import run_qemu\n"
        f"run_qemu(Path({str(elf)!r}), load_board('mps2_an386'), np.zeros((1, 5), np.int8),"
        f" Path({str(tmp_path / 'run')!r}), 900)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 30
    while not qemu_processes(elf):
        assert time.monotonic() < end and parent.poll() is None, "QEMU did not start"
        time.sleep(0.02)
    parent.send_signal(sig)
    assert parent.wait(timeout=10) != 0
    assert_no_qemu_left(elf)
