"""Verification finds what is wrong, and says where; what cannot run is refused in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import has, thumbnet_command

from codegen.errors import ThumbnetError
from codegen.flow import CompileOptions, compile_model
from codegen.output import read_output
from codegen.verify import compare_trace, verify_model

pytestmark = [has("gcc")]
NAME = "mobilenet_v1_025_64_cifar10"
WHERE = r"layer \d+ '.+'.*: image \d, row \d+, column \d+, channel \d+: expected -?\d+, found -?\d+"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verify") / "out"
    compile_model(CompileOptions(out, limit=8, build=False, kernels="portable"))
    return out


@pytest.fixture
def sabotaged(pristine: Path, tmp_path: Path) -> Callable[[str, str, str], Path]:
    """A function (file, pattern, replacement) -> a copy of the folder with that change."""
    import shutil

    def change(file: str, pattern: str, replacement: str) -> Path:
        out = tmp_path / "out"
        shutil.copytree(pristine, out)
        text = (out / file).read_text(encoding="ascii")
        changed, count = re.subn(pattern, replacement, text, count=1)
        assert count == 1 and changed != text
        (out / file).write_text(changed, encoding="ascii")
        return out

    return change


def test_the_folder_as_it_is_made_is_equal(pristine: Path) -> None:
    report = verify_model(pristine, ("host",), random=2)
    assert report.equal
    graph = read_output(pristine).graph
    made = sum(graph.tensors[node.output].size for node in graph.nodes)
    assert report.targets[0].bytes == 2 * (made + graph.output_tensor.size)


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "layer"),
    [
        (f"{NAME}_weights.c", r"(_4_bias\[\d+\] TABLES = \{\s+)", r"\g<1>1000000 + ", "layer 4 "),
        (f"{NAME}.c", r"(s00), (multiplier\[o \+ 0\]), (-?\d+)", r"\1, \2, 1 + \3", "layer 2 "),
    ],
    ids=["a bias", "a zero point"],
)
def test_a_wrong_byte_is_found_and_named(
    file: str,
    pattern: str,
    replacement: str,
    layer: str,
    sabotaged: Callable[[str, str, str], Path],
) -> None:
    report = verify_model(sabotaged(file, pattern, replacement), ("host",), random=2)
    assert not report.equal
    difference = report.targets[0].difference
    assert difference and difference.startswith(layer)
    assert re.fullmatch(WHERE, difference)


def test_the_command_ends_with_status_1(sabotaged: Callable[[str, str, str], Path]) -> None:
    out = sabotaged(f"{NAME}_weights.c", r"(_4_bias\[\d+\] TABLES = \{\s+)", r"\g<1>1000000 + ")
    done = thumbnet_command("verify", out, "--on", "host", "--random", 1)
    assert done.returncode == 1
    assert "DIFFERS" in done.stdout
    assert "layer 4" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_production_build_of_its_own_is_found(
    sabotaged: Callable[[str, str, str], Path],
) -> None:
    """What only the build without checks does wrong shows in its output."""
    spoil = "\n#ifndef THUMBNET_CHECK\n    output[0] = (int8_t)(output[0] ^ 1);\n#endif\n}\n\n"
    out = sabotaged(f"{NAME}.c", r"\n\}\n\n(?=void \w+_run\()", spoil)
    difference = verify_model(out, ("host",), random=1).targets[0].difference
    assert difference and difference.startswith("production build")
    assert re.search(WHERE, difference)


@pytest.mark.qemu
@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
def test_a_fault_is_reported(sabotaged: Callable[[str, str, str], Path]) -> None:
    bad = r"\1\n    *(volatile int32_t *)0x9F000000 = 1;"
    out = sabotaged(f"{NAME}.c", r"(_finish\(void \*arena, int8_t \*output\)\n\{)", bad)
    with pytest.raises(ThumbnetError, match=rf"(?s)exception \d+.*PC 0x\w+ \({NAME}_finish\)"):
        verify_model(out, ("qemu",), random=1)


def test_rows_missing_or_too_many_are_found(pristine: Path, tmp_path: Path) -> None:
    graph = read_output(pristine).graph
    shapes = {node.output: graph.tensors[node.output].shape for node in graph.nodes}
    expected = {name: np.zeros((1, *shape), np.int8) for name, shape in shapes.items()}
    records = [
        np.array([i, row, shapes[node.output][1] * shapes[node.output][2]], "<u4").tobytes()
        + expected[node.output][0, row].tobytes()
        for i, node in enumerate(graph.nodes)
        for row in range(shapes[node.output][0])
    ]
    path = tmp_path / "trace.bin"
    path.write_bytes(b"".join(records))
    assert compare_trace(graph, expected, path) == (sum(x.size for x in expected.values()), None)
    path.write_bytes(b"".join(records[:-1]))
    assert "reported 0 times for 1 images" in str(compare_trace(graph, expected, path)[1])
    path.write_bytes(b"".join([*records, records[3]]))
    assert "reported too often" in str(compare_trace(graph, expected, path)[1])


@pytest.mark.parametrize("target", ["nowhere", "qemu:cortex-m9", "host:tcc"])
def test_unknown_targets_are_refused(target: str, pristine: Path) -> None:
    with pytest.raises(ThumbnetError, match=r"(?i)unknown"):
        verify_model(pristine, (target,), random=1)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_a_model_that_cannot_fit_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    from tiny_onnx import wide_network

    model = wide_network(tmp_path / "wide.onnx")
    out = tmp_path / "out"
    np.savez(tmp_path / "images.npz", images=noise((8, 64, 64, 3)))
    done = thumbnet_command(
        *("compile", model, "--calibrate", tmp_path / "images.npz", "--preprocess", "unit"),
        *("--board", "microbit", "-o", out),
    )
    assert done.returncode == 1
    message = done.stderr.replace("\n", " ")
    assert "micro:bit" in message and "too many" in message and "wide" in message
    assert not out.exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.qemu
@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
def test_all_cores_leave_out_the_one_where_it_does_not_fit(tmp_path: Path) -> None:
    from tiny_onnx import wide_network

    np.savez(tmp_path / "images.npz", images=noise((8, 64, 64, 3)))
    out = tmp_path / "out"
    model = wide_network(tmp_path / "wide.onnx")
    compile_model(CompileOptions(out, model, tmp_path / "images.npz", build=False))
    report = verify_model(out, ("qemu:all",), random=1)
    assert report.equal
    assert [t.target for t in report.targets] == [
        f"qemu:cortex-{core}" for core in ("m0plus", "m3", "m4", "m7", "m33", "m55")
    ]
    assert "too many" in report.skipped["qemu:cortex-m0"]
