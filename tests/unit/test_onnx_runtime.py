"""The float reference: layouts, batches, bounded memory, errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx_models import EXPORTED, Net, pictures, session_output

from codegen import onnx_runtime
from codegen.errors import ThumbnetError
from codegen.onnx_import import ImportedModel, import_onnx
from codegen.onnx_runtime import FloatModel

ALL = sorted(EXPORTED.glob("*.onnx"))


def imported(name: str) -> ImportedModel:
    return import_onnx(EXPORTED / name)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_run_equals_a_plain_session(path: Path) -> None:
    model = import_onnx(path)
    images = pictures(model.graph, 5)
    got = FloatModel(model).run(images)
    want = session_output(path, model, images)
    assert got.dtype == np.float32 and got.shape == want.shape
    assert np.allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("name", ["keras_v2_nhwc_op15.onnx", "torch_v2_view_op11.onnx"])
def test_activations_come_in_the_shapes_of_the_graph(name: str) -> None:
    model = imported(name)
    images = pictures(model.graph, 5)
    names = list(model.graph.tensors)
    (values,) = FloatModel(model, names).activations(images)
    assert list(values) == names
    for tensor, value in values.items():
        assert value.shape == (5, *model.graph.tensors[tensor].shape)
    assert np.array_equal(values[model.input_name], images)


def test_looking_at_tensors_does_not_change_the_output() -> None:
    model = imported("torch_v2_view_unfused_op13.onnx")
    images = pictures(model.graph, 3)
    plain, watched = FloatModel(model), FloatModel(model, list(model.graph.tensors), threads=2)
    assert np.allclose(plain.run(images), watched.run(images), atol=1e-5)


def test_names_may_be_chosen_later() -> None:
    model = imported("torch_v1_op9.onnx")
    names = list(model.graph.tensors)[1:4]
    reference = FloatModel(model, names)
    images = pictures(model.graph, 1)
    assert [list(v) for v in reference.activations(images)] == [names]
    assert [list(v) for v in reference.activations(images, names[:1])] == [names[:1]]
    with pytest.raises(ThumbnetError, match="'other' was not asked for"):
        next(reference.activations(images, ["other"]))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("torch_v2_dynamo_batch.onnx", [2, 2, 1]), ("torch_v2_dynamo.onnx", [1] * 5)],
)
def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch, name: str, sizes: list[int]) -> None:
    model = imported(name)
    names = list(model.graph.tensors)
    one = sum(t.size for t in model.graph.tensors.values()) + model.graph.input_tensor.size
    monkeypatch.setattr(onnx_runtime, "BATCH_BYTES", 4 * one * 2 + 1)
    images = pictures(model.graph, 5)
    parts = list(FloatModel(model, names).activations(images))
    assert [len(part[model.input_name]) for part in parts] == sizes


def test_no_images() -> None:
    model = imported("torch_v1_op9.onnx")
    reference = FloatModel(model, [model.graph.output])
    assert list(reference.activations(pictures(model.graph, 0))) == []
    assert reference.run(pictures(model.graph, 0)).shape == (0, 1, 1, 5)


def test_wrong_shape() -> None:
    reference = FloatModel(imported("torch_v1_op9.onnx"))
    with pytest.raises(ThumbnetError, match=r"takes images of \(32, 32, 3\).* \(1, 3, 32, 32\)"):
        reference.run(np.zeros((1, 3, 32, 32), np.float32))


def test_unknown_tensor() -> None:
    with pytest.raises(ThumbnetError, match="no tensor 'nothing'"):
        FloatModel(imported("torch_v1_op9.onnx"), ["nothing"])


def test_model_that_onnxruntime_refuses() -> None:
    model = imported("torch_v1_op9.onnx")
    broken = type(model.model)()
    broken.CopyFrom(model.model)
    broken.graph.node[0].op_type = "Nonsense"
    with pytest.raises(ThumbnetError, match="onnxruntime does not accept the model"):
        FloatModel(replace(model, model=broken))


def test_wrong_declared_shapes_do_not_disturb(tmp_path: Path) -> None:
    """Batch 1 declared for the values inside a model of symbolic batch."""
    net = Net(("N", 3, 8, 8))
    net.op("GlobalAveragePool", net.op("Relu", net.conv("x", 3, 4)))
    model = import_onnx(net.save(tmp_path))
    value = model.model.graph.value_info.add()
    value.name = "relu_1"
    value.type.tensor_type.elem_type = 1
    for size in (1, 4, 6, 6):
        value.type.tensor_type.shape.dim.add().dim_value = size
    reference = FloatModel(model, ["relu_1"])
    (values,) = reference.activations(pictures(model.graph, 3))
    assert values["relu_1"].shape == (3, 6, 6, 4)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    model = imported("torch_v2_mean_op9.onnx")
    FloatModel(model, list(model.graph.tensors)).run(pictures(model.graph, 2))
    assert capfd.readouterr() == ("", "")
