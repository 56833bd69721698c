"""Files that are no models, damaged ones, and models with other inputs and outputs than one."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import EXPORTED, MODELS, Net, refusal

from codegen.errors import ThumbnetError
from codegen.onnx_import import import_onnx
from codegen.passes import simplify

# Files


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.onnx")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert "is empty" in refusal(tmp_path / "empty.onnx")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    # A file without permissions would not do: root reads it all the same.
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "cannot be read (Permission denied)" in refusal(tmp_path / "secret.onnx")


def test_name_too_long(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / ("n" * 300))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"PK\x03\x04" + bytes(40), "zip"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"this is no model at all", "truncated or damaged"),
        (b"\x08\x07", "no graph"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    text = refusal(path)
    assert what in text and "no ONNX file" in text


def test_truncated_file(tmp_path: Path) -> None:
    data = (EXPORTED / "torch_v1_op9.onnx").read_bytes()
    path = tmp_path / "part.onnx"
    path.write_bytes(data[: len(data) // 2])
    assert "truncated" in refusal(path)


def test_no_nodes(tmp_path: Path) -> None:
    net = Net()
    net.outputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    assert "no nodes" in refusal(net.save(tmp_path, "x"))


def test_nothing_but_a_reshape(tmp_path: Path) -> None:
    net = Net()
    net.op("Flatten", "x")
    assert "no layer leads from the input" in refusal(net.save(tmp_path))


def test_constant_output(tmp_path: Path) -> None:
    net = Net()
    net.op("Neg", np.float32(1))
    assert "no layer leads from the input to the output 'neg_0'" in refusal(net.save(tmp_path))


@pytest.mark.parametrize(
    ("opset", "advice"),
    [(6, "7 is the oldest"), (onnx.defs.onnx_opset_version() + 1, "newer than the installed")],
)
def test_opset_out_of_range(tmp_path: Path, opset: int, advice: str) -> None:
    net = Net(opset=opset)
    net.op("Relu", "x")
    text = refusal(net.save(tmp_path))
    assert f"opset {opset}" in text and advice in text


@pytest.mark.parametrize("name", ["torch_v1_op9.onnx", "keras_v1_export.onnx"])
def test_damaged_files_never_give_a_traceback(tmp_path: Path, name: str) -> None:
    """Truncations and flipped bytes at many places: either it works or it is refused."""
    data = (EXPORTED / name).read_bytes()
    chance = random.Random(name)
    path = tmp_path / "damaged.onnx"
    for round_ in range(600):
        broken = bytearray(data)
        if round_ % 5 == 0:
            del broken[chance.randrange(len(data)) :]
        for _ in range(chance.choice([1, 1, 3, 12])):
            if broken:
                place = chance.randrange(len(broken))
                flipped = broken[place] ^ 1 << chance.randrange(8)
                broken[place] = chance.choice([flipped, 0, 255, chance.randrange(256)])
        path.write_bytes(broken)
        try:
            simplify(import_onnx(path).graph)
        except ThumbnetError as error:
            assert "internal error" not in str(error)


# Interface


def test_dynamic_shape(tmp_path: Path) -> None:
    net = Net((1, 3, "height", 8))
    net.op("Relu", "x")
    text = refusal(net.save(tmp_path))
    assert "dynamic shape" in text and "'x'" in text and "'height'" in text and "fixed" in text


def test_fixed_batch(tmp_path: Path) -> None:
    net = Net((4, 3, 8, 8))
    net.op("Relu", "x")
    assert "'x' has a fixed batch of 4. Export" in refusal(net.save(tmp_path))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 3, 2, 8, 8), (1, 10)])
def test_no_picture(tmp_path: Path, shape: tuple[int, ...]) -> None:
    net = Net(shape)
    net.op("Relu", "x")
    assert f"'x' has {len(shape)} dimensions" in refusal(net.save(tmp_path))


def test_input_without_a_shape(tmp_path: Path) -> None:
    net = Net()
    net.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    net.op("Relu", "x")
    assert "'x' has no shape" in refusal(net.save(tmp_path))


def test_integer_input(tmp_path: Path) -> None:
    net = Net()
    net.inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 3, 8, 8])]
    net.op("Cast", "x", to=1)
    text = refusal(net.save(tmp_path))
    assert "Cast 'n0' works on the integers of 'x'" in text and "with a float input" in text
    net.inputs = [helper.make_tensor_value_info("x", TensorProto.INT32, [1, 3, 8, 8])]
    assert "'x' has the type int32" in refusal(net.save(tmp_path))


def test_two_inputs(tmp_path: Path) -> None:
    net = Net()
    net.inputs.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 3, 8, 8]))
    net.op("Add", "x", "second")
    assert "2 inputs ('x', 'second')" in refusal(net.save(tmp_path))


def test_no_input(tmp_path: Path) -> None:
    net = Net()
    net.inputs = []
    net.op("Relu", net.normal(1, 3, 8, 8))
    assert "has no input; models with exactly one input" in refusal(net.save(tmp_path))


def test_two_outputs(tmp_path: Path) -> None:
    net = Net()
    names = [net.op("Relu", "x"), net.conv("x", 3, 4)]
    net.outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
    assert "2 outputs ('relu_0', 'conv_1')" in refusal(net.save(tmp_path))


@pytest.mark.models
def test_published_tflite_model() -> None:
    path = MODELS / "vww_96_float.tflite"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    assert "TensorFlow Lite model: convert it" in refusal(path)


def test_external_data_missing(tmp_path: Path) -> None:
    net = Net()
    net.conv("x", 3, 4)
    path = tmp_path / "net.onnx"
    onnx.save(net.model(), path, save_as_external_data=True, location="net.bin", size_threshold=0)
    import_onnx(path)
    (tmp_path / "net.bin").write_bytes(bytes(8))
    assert "c0" in refusal(path) or "external data" in refusal(path)
    (tmp_path / "net.bin").unlink()
    text = refusal(path)
    assert "tensor 'c0'" in text and "'net.bin'" in text and "missing" in text


# Metadata


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("thumbnet.preprocess", "{", "no JSON"),
        ("thumbnet.preprocess", "[]", "no JSON object"),
        ("thumbnet.preprocess", '{"mean": [1, 2], "std": 1}', "'mean' is no list of 3"),
        ("thumbnet.preprocess", '{"mean": 0, "std": 0}', "a std is 0"),
        ("thumbnet.preprocess", '{"mean": 0, "std": 1, "channels": "GRAY"}', "do not fit"),
        ("thumbnet.preprocess", '{"mean": 0, "std": 1, "resize": "fit"}', "resize 'fit'"),
        ("thumbnet.classes", '{"a": 1}', "no JSON list"),
        ("thumbnet.classes", '["a", "b"]', "2 names for 4 outputs"),
    ],
)
def test_wrong_metadata(tmp_path: Path, key: str, value: str, words: str) -> None:
    net = Net()
    net.conv("x", 3, 4)
    net.metadata[key] = value
    text = refusal(net.save(tmp_path))
    assert repr(key) in text and words in text
