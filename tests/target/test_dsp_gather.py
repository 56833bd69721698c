"""The gathers of the dsp family: many shapes in one program, on the host and on a Cortex-M4."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from helpers import has
from numpy.typing import NDArray

from codegen.boards import load_board, load_core
from codegen.build import build_host, build_target
from codegen.ir import Pads, Shape
from codegen.kernels.base import Parameters
from codegen.kernels.dsp import gather
from codegen.kernels.layout import pair_halfword, pairs_bytes
from codegen.qemu import RunResult, run_host, run_qemu
from codegen.render import environment

Int8 = NDArray[np.int8]

TIMEOUT = 60.0
REDZONE = 16
"""Halfwords before and behind the pairs."""
SPOILED = 0x5A5A


@dataclass(frozen=True)
class Im2col:
    """``im2col`` of all rows of an image."""

    shape: Shape
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: Pads = Pads()
    slots: int = 0
    zero: int = -128

    template = "im2col"

    @property
    def rows(self) -> int:
        added = self.pads.top + self.pads.bottom - self.kernel[0]
        return (self.shape[0] + added) // self.stride[0] + 1

    @property
    def pixels(self) -> int:
        added = self.pads.left + self.pads.right - self.kernel[1]
        return (self.shape[1] + added) // self.stride[1] + 1

    @property
    def row_bytes(self) -> int:
        return self.shape[1] * self.shape[2]

    @property
    def image_rows(self) -> int:
        return self.shape[0]

    @property
    def order(self) -> tuple[int, ...]:
        return gather.gather_order(self.kernel, self.shape[2])

    @property
    def k(self) -> int:
        return len(self.order)

    def parameters(self) -> Parameters:
        return gather.im2col_parameters(
            self.shape,
            (self.rows, self.pixels, 1),
            self.kernel,
            self.stride,
            self.pads,
            self.zero,
            self.slots,
        )

    def needs(self, row: int) -> range:
        top = row * self.stride[0] - self.pads.top
        return range(max(top, 0), min(top + self.kernel[0], self.shape[0]))

    def wanted(self, image: Int8, row: int) -> dict[int, int]:
        pads = self.pads
        around = ((pads.top, pads.bottom), (pads.left, pads.right), (0, 0))
        padded = np.pad(image.reshape(self.shape), around, constant_values=self.zero)
        top, found = row * self.stride[0], {}
        for p in range(self.pixels):
            left = p * self.stride[1]
            window = padded[top : top + self.kernel[0], left : left + self.kernel[1]].reshape(-1)
            for k, index in enumerate(self.order):
                if index != gather.FILLER:
                    found[pair_halfword(p, k, self.k)] = int(window[index])
        return found


ALL = Pads(1, 1, 1, 1)
SAME = Pads(0, 0, 1, 1)

POINTWISE = [
    *(Im2col((2, 1 + k % 4, k), (1, 1), (1, 1)) for k in (*range(1, 13), 15, 16, 17, 31, 39, 40)),
    *(Im2col((1, 5, k), (1, 1), (1, 1)) for k in (7, 8, 16, 63, 64, 65, 74)),
    Im2col((1, 2, 1001), (1, 1), (1, 1)),
    *(Im2col((5, 7, 13), (1, 1), (1, 1), Pads(), slots) for slots in (0, 2, 3)),
]
FIRST_LAYERS = [
    Im2col((height, width, 3), (3, 3), (2, 2), pads, slots, zero)
    for height, width, pads, slots, zero in (
        (8, 8, SAME, 3, -128),
        (5, 32, SAME, 4, 127),
        (7, 9, SAME, 3, -3),
        (8, 8, ALL, 4, 0),
        (5, 32, ALL, 3, -3),
        (7, 9, ALL, 0, 5),
        (5, 12, Pads(), 3, 0),
        (5, 12, Pads(2, 2, 2, 2), 3, 127),
        (6, 11, Pads(2, 2, 2, 2), 0, -128),
    )
]
OTHERS = [
    # Slides that begin at the second and the third window, and one with three rows in the image.
    Im2col((3, 24, 3), (3, 3), (1, 2), Pads(1, 3, 1, 3), 3),
    Im2col((4, 20, 3), (3, 3), (2, 2), Pads(0, 4, 0, 0), 3, 1),
    Im2col((4, 20, 3), (3, 3), (2, 2), Pads(0, 5, 0, 5), 3, 1),
    *(Im2col((5, 7, c), (3, 3), (1 + c % 2, 1 + c % 2), ALL, 3, -1) for c in range(1, 9)),
    *(Im2col((8, 11, c), (5, 5), (2, 2), Pads(2, 1, 2, 2), 6) for c in (1, 3, 4)),
    *(Im2col((9, 9, c), (7, 7), (c, c), Pads(3, 3, 3, 3), 7, 3) for c in (1, 3, 4)),
    *(Im2col((4, 6, c), (1, 1), (1 + c % 2, 1), Pads(), 1) for c in (1, 2, 3, 5, 37, 40, 64)),
    Im2col((5, 8, 5), (1, 1), (2, 2)),
    *(Im2col((4, 5, c), (3, 3), (1, 1), ALL, 3, 9) for c in (16, 17, 18, 19, 33, 35)),
    Im2col((6, 7, 2), (2, 4), (3, 1), Pads(1, 2, 0, 1), 2),
    Im2col((6, 5, 5), (4, 1), (1, 3), Pads(2, 0, 2, 0), 5),
    # Images narrower and lower than the window, and windows that meet nothing but padding.
    Im2col((2, 1, 3), (3, 3), (1, 1), ALL, 3, 7),
    Im2col((1, 2, 3), (3, 3), (2, 2), Pads(2, 2, 2, 2), 1, 7),
    Im2col((3, 3, 1), (7, 7), (1, 1), Pads(3, 3, 3, 3), 3, -7),
    Im2col((2, 3, 3), (3, 3), (1, 1), Pads(4, 5, 3, 6), 2, -7),
    Im2col((3, 2, 8), (3, 3), (2, 2), Pads(1, 4, 1, 4), 3, -7),
]  # fmt: skip
CASES: list[Im2col] = [*POINTWISE, *FIRST_LAYERS, *OTHERS]


def image_of(case: Im2col, index: int) -> Int8:
    """int8 [rows, bytes]; half of it extreme."""
    rng = np.random.default_rng(index)
    shape = (case.image_rows, case.row_bytes)
    extreme = rng.choice(np.array([-128, 127, -1, 0], np.int8), shape)
    return np.where(rng.random(shape) < 0.5, extreme, rng.integers(-128, 128, shape)).astype(
        np.int8
    )


IMAGES = [image_of(case, index) for index, case in enumerate(CASES)]
INPUT = np.concatenate([image.reshape(-1) for image in IMAGES])


def halfwords(case: Im2col) -> int:
    """Of the pairs and their redzones."""
    return pairs_bytes(case.pixels, case.k) // 2 + 2 * REDZONE


OUTPUT_BYTES = sum(2 * halfwords(case) * case.rows for case in CASES)


def write_program(folder: Path) -> Path:
    """kernels.c with all kernels and a table, and the driver as a model for the runner."""
    folder.mkdir()
    env = environment()
    for header in ("thumbnet_arith.h", "thumbnet_dsp.h"):
        text = env.get_template(f"{header}.jinja").render(banner="test", format=1)
        (folder / header).write_text(text, encoding="ascii")
    kernels = ['#include "thumbnet_dsp.h"', '#include "gathers.h"']
    memories, calls, position = [], [], 0
    for i, case in enumerate(CASES):
        template = env.get_template(f"kernels/dsp/{case.template}.c.jinja")
        kernels.append(template.render(name=f"gather{i}", p=SimpleNamespace(**case.parameters())))
        slots = case.slots or case.image_rows
        memories.append(
            f"static __attribute__((aligned(4))) int8_t x{i}[{slots * case.row_bytes}];\n"
            f"static __attribute__((aligned(4))) int16_t pairs{i}[{halfwords(case)}];"
        )
        calls.append(f"    test_spoil(x{i}, {slots * case.row_bytes});")
        for row in range(case.rows):
            for y in case.needs(row):
                source = position + y * case.row_bytes
                to = f"x{i} + {y % slots * case.row_bytes}"
                calls.append(f"    test_copy({to}, test_input + {source}, {case.row_bytes});")
            calls.append(
                f"    output = test_run({i}, x{i}, pairs{i}, {row}, {halfwords(case)}, output);"
            )
        position += case.image_rows * case.row_bytes
    names = ", ".join(f"gather{i}" for i in range(len(CASES)))
    kernels.append(f"const gather gathers[{len(CASES)}] = {{{names}}};\n")
    (folder / "kernels.c").write_text("\n".join(kernels), encoding="ascii")
    (folder / "gathers.h").write_text(
        "#include <stdint.h>\n"
        "typedef void (*gather)(const int8_t *x, int16_t *pairs, int32_t row);\n"
        f"extern const gather gathers[{len(CASES)}];\n",
        encoding="ascii",
    )
    driver = _DRIVER.format(
        bytes_in=INPUT.size,
        bytes_out=OUTPUT_BYTES,
        memories="\n".join(memories),
        calls="\n".join(calls),
        redzone=REDZONE,
        spoiled=SPOILED,
    )
    (folder / "thumbnet_model.h").write_text(driver, encoding="ascii")
    return folder


_DRIVER = """\
#include "gathers.h"

#define MODEL_NAME "gathers"
#define MODEL_ARENA_BYTES 16
#define MODEL_INPUT_BYTES {bytes_in}
#define MODEL_INPUT_ROWS 1
#define MODEL_ROW_BYTES {bytes_in}
#define MODEL_OUTPUT_BYTES {bytes_out}

static int8_t test_input[{bytes_in}];
{memories}

static void test_copy(int8_t *to, const int8_t *from, int32_t bytes)
{{
    for (int32_t i = 0; i < bytes; ++i) {{
        to[i] = from[i];
    }}
}}

static void test_spoil(int8_t *to, int32_t bytes)
{{
    for (int32_t i = 0; i < bytes; ++i) {{
        to[i] = 0x5a;
    }}
}}

static int8_t *test_run(int32_t which, const int8_t *x, int16_t *pairs, int32_t row, int32_t count,
                        int8_t *output)
{{
    for (int32_t i = 0; i < count; ++i) {{
        pairs[i] = {spoiled};
    }}
    gathers[which](x, pairs + {redzone}, row);
    for (int32_t i = 0; i < count; ++i) {{
        *output++ = (int8_t)(pairs[i] & 255);
        *output++ = (int8_t)(pairs[i] >> 8);
    }}
    return output;
}}

static void model_begin(void *arena)
{{
    (void)arena;
}}

static void model_push_row(void *arena, const int8_t *row)
{{
    (void)arena;
    test_copy(test_input, row, {bytes_in});
}}

static void model_finish(void *arena, int8_t *output)
{{
    (void)arena;
{calls}
}}
"""


def check(result: RunResult) -> None:
    found = result.output.reshape(-1).view("<i2")
    assert found.size * 2 == OUTPUT_BYTES
    position = 0
    for case, image in zip(CASES, IMAGES, strict=True):
        for row in range(case.rows):
            size = halfwords(case)
            part = found[position : position + size]
            position += size
            assert np.all(part[:REDZONE] == SPOILED), f"{case}, row {row}: written before"
            assert np.all(part[-REDZONE:] == SPOILED), f"{case}, row {row}: written behind"
            wanted = case.wanted(image, row)
            pairs = part[REDZONE:-REDZONE]
            wrong = {i: (int(pairs[i]), v) for i, v in wanted.items() if pairs[i] != v}
            assert not wrong, f"{case}, row {row}: index: (found, wanted): {wrong}"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_program(tmp_path_factory.mktemp("gather") / "sources")


@pytest.mark.parametrize(("cc", "sanitize"), [("gcc", True), ("clang", False)])
def test_on_the_host(program: Path, tmp_path: Path, cc: str, sanitize: bool) -> None:
    if shutil.which(cc) is None:
        pytest.skip(f"needs {cc}")
    optimize = "-O0" if sanitize else "-O2"  # quick to compile, and strict about aliases
    exe = build_host(
        program, "gathers", tmp_path / "b", False, cc, sanitize, werror=True, optimize=optimize
    )
    check(run_host(exe, INPUT.reshape(1, -1), tmp_path / "run", TIMEOUT))


@pytest.mark.qemu
@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
@pytest.mark.parametrize("defines", [(), ("THUMBNET_NO_INTRINSICS",)], ids=["dsp", "portable"])
def test_on_the_target(program: Path, tmp_path: Path, defines: tuple[str, ...]) -> None:
    core = load_core("cortex-m4")
    board = load_board(core.qemu_board)
    build = tmp_path / "b"
    elf = build_target(program, "gathers", board, core, build, False, werror=True, defines=defines)
    check(run_qemu(elf, board, INPUT.reshape(1, -1), tmp_path / "run", TIMEOUT))
    assert not undefined(build / "sources_kernels.o")


def undefined(path: Path) -> set[str]:
    """What an object file needs from others: no memcpy and no memset, for instance."""
    with path.open("rb") as file:
        return {
            symbol.name
            for table in ELFFile(file).iter_sections()
            if isinstance(table, SymbolTableSection)
            for symbol in table.iter_symbols()
            if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name
        }


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5), (7, 7)])
@pytest.mark.parametrize("channels", range(1, 10))
def test_the_order_has_every_tap_once(kernel: tuple[int, int], channels: int) -> None:
    order = gather.gather_order(kernel, channels)
    taps = kernel[0] * kernel[1] * channels
    assert sorted(index for index in order if index != gather.FILLER) == list(range(taps))
    assert len(order) == taps + taps % 2
