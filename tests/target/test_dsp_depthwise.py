"""The depthwise function of the dsp family: NumPy, its portable twin and its assembly agree."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.ir import Pads, QParams, Requant
from codegen.kernels.dsp.depthwise import (
    DepthwiseFunction,
    depthwise_function,
    packed_constants,
    refuses,
    skips_padding,
)
from codegen.kernels.layout import Planar, pair_halfword, pairs_bytes, position
from codegen.ops import Depthwise
from codegen.profile.program import Program, read_program
from codegen.quant.fixed import requantize_exactly
from codegen.render import render_template
from codegen.toolchain import find_tool, run

unicorn = pytest.importorskip("unicorn", reason="the emulator Unicorn is not installed")
arm = pytest.importorskip("unicorn.arm_const")

CODE, RAM, STACK, STOP = 0x10000, 0x20000000, 0x30000000, 0x8000
RAM_BYTES, STACK_BYTES = 1 << 20, 4096
REDZONE = 64
SPOILED = 0x5A
FILLS = ("random", "low", "high")


@dataclass(frozen=True)
class Case:
    """A layer's row.

    Attributes:
        kernel: Height and width.
        stride: Columns from window to window.
        pad_left: Columns of padding at the left; at the right there are as many as are needed.
        out_width: Pixels of the output.
        channels: Channels.
        cut: Columns of the last window that are padding, at least.
        zero_in: Zero point of the input.
        shift: Of the requantization, and the next three likewise.
    """

    kernel: tuple[int, int]
    stride: int
    pad_left: int
    out_width: int
    channels: int
    cut: int = 0
    zero_in: int = -128
    shift: int = 0
    zero_out: int = -128
    lo: int = -128
    hi: int = 127
    fill: str = "random"
    seed: int = field(default=0, compare=False)

    @cached_property
    def in_width(self) -> int:
        needed = (self.out_width - 1) * self.stride + self.kernel[1] - self.pad_left
        return max(1, needed - self.cut)

    @cached_property
    def planar(self) -> Planar:
        needed = (self.out_width - 1) * self.stride + self.kernel[1] - self.pad_left
        pads = Pads(0, self.pad_left, 0, max(0, needed - self.in_width))
        shape = (self.kernel[0], self.in_width, self.channels)
        # Where the zero point is the byte 0, padding is left out, and there are no bytes for it.
        return Planar(shape, Pads() if self.skips_padding else pads)

    @property
    def skips_padding(self) -> bool:
        q = QParams(1.0, self.zero_in)
        return skips_padding(self.node, q, self.in_width, self.out_width)

    @cached_property
    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @cached_property
    def image(self) -> NDArray[np.int8]:
        """int8 [kh, W, C]."""
        shape = (self.kernel[0], self.in_width, self.channels)
        if self.fill == "random":
            return self.random.integers(-128, 128, shape).astype(np.int8)
        return np.full(shape, -128 if self.fill == "low" else 127, np.int8)

    @cached_property
    def node(self) -> Depthwise:
        shape = (*self.kernel, self.channels, 1)
        weight = self.random.integers(-127, 128, shape).astype(np.int8)
        extreme = self.random.integers(0, 4, self.channels) == 0
        weight[..., extreme, :] = self.random.choice([-127, 127], (int(extreme.sum()), 1))
        bias = self.random.integers(-(10**5), 10**5, self.channels).astype(np.int32)
        multiplier = self.random.integers(1 << 15, 1 << 16, self.channels) << 7
        multiplier >>= self.random.integers(0, 9, self.channels) + self.shift
        requant = Requant(multiplier.astype(np.int32), self.shift, self.zero_out, self.lo, self.hi)
        pads = Pads(0, self.pad_left)
        return Depthwise(
            "layer", ("x",), "y", weight, bias, (1, self.stride), pads, requant=requant
        )

    @cached_property
    def function(self) -> DepthwiseFunction:
        assert refuses(self.node, self.zero_in) is None
        q = QParams(1.0, self.zero_in)
        return depthwise_function(self.node, self.planar, q, self.out_width)

    @cached_property
    def constants(self) -> NDArray[np.int32]:
        return packed_constants(self.function.window, self.node, self.zero_in)

    @cached_property
    def wanted(self) -> NDArray[np.int16]:
        """The pairs and what is around them."""
        assert self.node.requant is not None
        right = self.out_width * self.stride + self.kernel[1]
        x = np.pad(
            self.image.astype(np.int64),
            ((0, 0), (self.pad_left, right), (0, 0)),
            constant_values=self.zero_in,
        )
        x -= self.zero_in
        weight = self.node.weight[..., 0].astype(np.int64)
        acc = np.zeros((self.out_width, self.channels), np.int64) + self.node.bias
        for ky, kx in itertools.product(*map(range, self.kernel)):
            columns = slice(kx, kx + (self.out_width - 1) * self.stride + 1, self.stride)
            acc += x[ky, columns] * weight[ky, kx]
        y = requantize_exactly(acc, self.node.requant)
        memory = self.spoiled.view(np.int16)
        for (p, c), value in np.ndenumerate(y):
            memory[REDZONE // 2 + pair_halfword(p, c, self.channels)] = int(value) + 128
        return memory

    @property
    def spoiled(self) -> NDArray[np.uint8]:
        size = 2 * REDZONE + pairs_bytes(self.out_width, self.channels)
        return np.full(size, SPOILED, np.uint8)

    @cached_property
    def rows(self) -> tuple[NDArray[np.uint8], list[int]]:
        """The rows in slots of any order, nonsense around them; offsets of the planes."""
        planar, height = self.planar, self.kernel[0]
        stretch = planar.row_bytes + REDZONE
        memory = self.random.integers(0, 256, stretch * (height + 1)).astype(np.uint8)
        slots = self.random.permutation(height + 1)[:height]
        offsets = [int(slot) * stretch + REDZONE + planar.lead for slot in slots]
        last = (self.out_width - 1) * self.stride - self.pad_left + self.kernel[1]
        for row, offset in zip(self.image, offsets, strict=True):
            for c in range(self.channels):
                for column in range(-self.pad_left, max(last, self.in_width)):
                    inside = 0 <= column < self.in_width
                    if not inside and self.skips_padding:
                        continue
                    value = row[column, c] if inside else self.zero_in
                    memory[offset + c * planar.plane + position(column)] = int(value) + 128
        return memory, offsets


def cases() -> Iterator[Case]:
    channels = itertools.cycle((1, 2, 3, 5, 8, 4, 6))
    zeros = itertools.cycle((-128, -128, -3, -128, 127))
    epilogues = itertools.cycle(
        ((0, -128, -128, 127), (1, -20, -20, 100), (0, 5, -128, 127), (3, -128, -128, 60))
    )
    fills = itertools.cycle(("random", "random", "random", "low", "high"))
    widths = (*range(1, 10), 12, 24, 48)
    for kernel, stride, pad in itertools.product((3, 5), (1, 2), (0, 1, 2)):
        for width in widths:
            made = Case((kernel, kernel), stride, pad, width, next(channels), min(pad, width - 1))
            shift, zero_out, lo, hi = next(epilogues)
            yield replace(
                made,
                zero_in=next(zeros),
                shift=shift,
                zero_out=zero_out,
                lo=lo,
                hi=hi,
                fill=next(fills),
            )
    # Rows that are walked over.
    for width, pad in itertools.product((*range(8, 20), 25, 29, 31), (0, 1, 2)):
        yield Case((3, 3), 1, pad, width, next(channels), cut=width % 3)
    yield Case((3, 3), 1, 1, 24, 32, 1, shift=1, zero_out=-20, lo=-20, hi=100)
    yield Case((3, 3), 1, 1, 48, 8, 1, zero_out=4)
    yield Case((3, 3), 1, 1, 56, 64, 1)
    yield Case((3, 3), 1, 1, 24, 510, 1)
    yield Case((3, 3), 1, 1, 14, 512, 1)
    # Registers are short, offsets far.
    yield Case((3, 3), 1, 1, 6, 300, 1)
    yield Case((3, 3), 1, 1, 7, 1024, 1)
    yield Case((3, 3), 1, 1, 9, 1042, 1)
    yield Case((3, 3), 2, 0, 12, 514, 1)
    yield Case((5, 5), 2, 2, 14, 301, 2)
    yield Case((3, 3), 1, 1, 112, 8, 1)
    yield Case((3, 3), 1, 1, 300, 4, 1)
    yield Case((3, 3), 1, 1, 50, 3, 1)
    yield Case((7, 7), 1, 2, 14, 4, 3)
    yield Case((7, 7), 2, 2, 5, 2, 3)
    yield Case((1, 3), 1, 1, 10, 4, 1)
    yield Case((5, 1), 1, 0, 10, 4)
    yield Case((2, 2), 2, 0, 10, 4)
    yield Case((1, 1), 1, 1, 4, 2, 1)
    yield Case((3, 4), 1, 2, 11, 3, 2)


CASES = [replace(case, seed=seed) for seed, case in enumerate(cases())]


def name(index: int) -> str:
    return f"depthwise_{index}"


def render(template: str, index: int) -> str:
    function = CASES[index].function
    return render_template(f"kernels/dsp/{template}", name=name(index), function=function)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """All twins, behind functions that can be found."""
    folder = tmp_path_factory.mktemp("twins")
    for header in ("thumbnet_arith.h", "thumbnet_dsp.h"):
        (folder / header).write_text(render_template(f"{header}.jinja", banner="", format=0))
    parts = ['#include "thumbnet_dsp.h"']
    for index in range(len(CASES)):
        parts.append(render("depthwise_twin.c.jinja", index))
        parts.append(
            f"void call_{index}(const int8_t *const *rows, int16_t *x, const int32_t *c);\n"
            f"void call_{index}(const int8_t *const *rows, int16_t *x, const int32_t *c)\n"
            f"{{ {name(index)}(rows, x, c); }}"
        )
    (folder / "twins.c").write_text("\n".join(parts))
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion"]
    flags += ["-Werror", "-shared", "-fPIC"]
    run([find_tool("gcc"), *flags, str(folder / "twins.c"), "-o", str(folder / "twins.so")], 60)
    return ctypes.CDLL(str(folder / "twins.so"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """All functions in assembly."""
    folder = tmp_path_factory.mktemp("assembly")
    texts = [render("depthwise.S.jinja", index) for index in range(len(CASES))]
    (folder / "all.S").write_text("\n".join([".syntax unified", ".thumb", *texts]))
    flags = ["-mcpu=cortex-m4", "-mthumb", "-nostdlib", f"-Wl,-Ttext={CODE:#x},-e,{name(0)}"]
    elf = folder / "all.elf"
    gcc = find_tool("arm-none-eabi-gcc")
    run([gcc, *flags, "-Wa,--fatal-warnings", str(folder / "all.S"), "-o", str(elf)], 60)
    return read_program(elf)


@pytest.mark.parametrize("index", range(len(CASES)))
def test_twin_equals_numpy(twins: ctypes.CDLL, index: int) -> None:
    case = CASES[index]
    memory, offsets = case.rows
    got = case.spoiled
    pointers = (ctypes.c_void_p * len(offsets))(*(memory.ctypes.data + o for o in offsets))
    constants = np.ascontiguousarray(case.constants)
    call = getattr(twins, f"call_{index}")
    call(
        pointers,
        ctypes.c_void_p(got.ctypes.data + REDZONE),
        ctypes.c_void_p(constants.ctypes.data),
    )
    np.testing.assert_array_equal(got.view(np.int16), case.wanted)


class Machine:
    """A Cortex-M4 with the program in memory."""

    SAVED = tuple(getattr(arm, f"UC_ARM_REG_R{n}") for n in range(4, 12))

    def __init__(self, program: Program) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M4)
        self.uc.mem_map(0, 1 << 22)
        self.uc.mem_map(RAM, RAM_BYTES)
        self.uc.mem_map(STACK - STACK_BYTES, STACK_BYTES)
        for image in program.images:
            self.uc.mem_write(image.address, image.data)

    def call(self, entry: int, *arguments: int) -> bytes:
        """Calls a function and checks what it owes its caller; gives the stack."""
        uc, stack = self.uc, STACK - 64
        uc.mem_write(STACK - STACK_BYTES, bytes([SPOILED]) * STACK_BYTES)
        for n, value in enumerate(arguments):
            uc.reg_write(getattr(arm, f"UC_ARM_REG_R{n}"), value)
        for n, register in enumerate(self.SAVED):
            uc.reg_write(register, 0xA5A50000 + n)
        uc.reg_write(arm.UC_ARM_REG_SP, stack)
        uc.reg_write(arm.UC_ARM_REG_LR, STOP | 1)
        uc.emu_start(entry | 1, STOP)
        assert uc.reg_read(arm.UC_ARM_REG_SP) == stack
        saved = [uc.reg_read(register) for register in self.SAVED]
        assert saved == [0xA5A50000 + n for n in range(len(saved))]
        return bytes(uc.mem_read(STACK - STACK_BYTES, STACK_BYTES))


@pytest.fixture(scope="module")
def machine(program: Program) -> Machine:
    return Machine(program)


@pytest.mark.parametrize("index", range(len(CASES)))
def test_assembly_equals_numpy(program: Program, machine: Machine, index: int) -> None:
    case = CASES[index]
    memory, offsets = case.rows
    spoiled, constants = case.spoiled, case.constants.astype("<i4").tobytes()
    at_constants = RAM + 64
    at_x = at_constants + len(constants) + 64
    at_rows = at_x + len(spoiled) + 64 - len(spoiled) % 64
    pointers = np.array([at_rows + offset for offset in offsets], "<u4").tobytes()
    machine.uc.mem_write(RAM, pointers)
    machine.uc.mem_write(at_constants, constants)
    machine.uc.mem_write(at_x, spoiled.tobytes())
    machine.uc.mem_write(at_rows, memory.tobytes())
    entry = program.symbol(name(index))
    stack = machine.call(entry, RAM, at_x + REDZONE, at_constants)
    got = np.frombuffer(bytes(machine.uc.mem_read(at_x, len(spoiled))), np.int16)
    np.testing.assert_array_equal(got, case.wanted)
    assert bytes(machine.uc.mem_read(at_rows, len(memory))) == memory.tobytes()
    assert bytes(machine.uc.mem_read(at_constants, len(constants))) == constants
    assert stack.endswith(bytes([SPOILED]) * 64)
    assert len(stack.lstrip(bytes([SPOILED]))) <= 64 + 36 + 4 * 16


def test_less_code_where_it_is_asked_for() -> None:
    case = Case((3, 3), 1, 1, 24, 32, 1)
    q = QParams(1.0, case.zero_in)
    sizes = [
        depthwise_function(case.node, case.planar, q, case.out_width, limit=limit).code.code_bytes
        for limit in (2000, 900)
    ]
    assert sizes[0] > sizes[1] <= 900


def test_refusals() -> None:
    case = Case((3, 3), 1, 1, 4, 2)
    layer = case.node

    def changed(**values: object) -> Depthwise:
        return replace(layer, **values)  # type: ignore[arg-type]

    assert refuses(layer, -128) is None
    assert refuses(changed(requant=None), -128) == "not quantized"
    assert refuses(changed(stride=(1, 3)), -128) == "stride above 2"
    assert refuses(changed(stride=(3, 1)), -128) is None
    doubled = np.zeros((3, 3, 1, 2), np.int8)
    assert "more than one output" in str(refuses(changed(weight=doubled), -128))
    assert "9" not in str(refuses(changed(weight=np.zeros((9, 3, 2, 1), np.int8)), -128))
    huge = np.full(2, 2**31 - 1, np.int32)
    assert refuses(changed(bias=huge), -128) == "a sum may outgrow 32 bits"
