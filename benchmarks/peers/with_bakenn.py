"""bakenn: the official int8 file through its TFLite importer, and its three sets of kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bare import CProgram, measure, run_on_host
from benchmarks.peers.subject import NAME, Row, Subject, agreement, softmax
from codegen.errors import ThumbnetError

_ADAPTER = Path(__file__).parent / "adapters" / "bakenn.c"
_FLAGS = ("-O3", "-DBAKENN_CMSIS_NN_BUILTIN_MEMORY")
_KERNELS = {
    "portable": "its portable kernels",
    "own": "its Cortex-M4 kernels",
    "cmsis": "its CMSIS-NN option",
}


def rows(subject: Subject, folder: Path) -> list[Row]:
    """A row for each set of kernels; all compute the same bytes.

    Raises:
        ImportError: bakenn, or what its importer needs, is not installed.
        ThumbnetError: A program does not build, or computes something else than the portable one.
    """
    import bakenn

    folder.mkdir(parents=True)
    model = folder / "cut.tflite"
    model.write_bytes(cut_model(subject.int8_model.read_bytes()))
    images = [image.tobytes() for image in subject.int8_inputs]
    found: list[Row] = []
    outputs: list[bytes] = []
    for kernels, title in _KERNELS.items():
        out = folder / kernels
        compiled = bakenn.compile_tflite(
            str(model), out, name=NAME, backend_options=_options(bakenn, kernels)
        )
        program = _program(out)
        outputs = outputs or run_on_host(program, images, folder / "host")
        cost = measure(program, images[0], folder / f"{kernels}-m4")
        if cost.output != outputs[0]:
            raise ThumbnetError(f"bakenn with {title} computes something else than on the host")
        logits = np.frombuffer(b"".join(outputs), np.int8).reshape(-1, 2)
        real = [bakenn.dequantize_output(compiled.plan, row[None])[0] for row in logits]
        found.append(
            Row(
                f"bakenn {bakenn.__version__}, {title}",
                "official int8 TFLite, cut",
                cost,
                agreement(subject, softmax(np.array(real, np.float32))),
                "its importer takes neither Softmax nor a free batch: both were removed",
            )
        )
    return found


def _options(bakenn: Any, kernels: str) -> Any:
    policy = bakenn.KernelPolicy
    return bakenn.CBackendOptions(
        kernel_policy=policy.PORTABLE if kernels == "portable" else policy.STATIC_PRIORITY,
        target=bakenn.CORTEX_M4,
        enable_cmsis_nn=kernels == "cmsis",
    )


def _program(out: Path) -> CProgram:
    parts = out / "third_party"
    includes = (out, parts / "cmsis_nn" / "Include", parts / "cmsis_core" / "Include")
    sources = [*sorted(out.glob("*.c")), *sorted(parts.rglob("*.c"))]
    size = 96 * 96 * 3
    return CProgram((*sources, _ADAPTER), size, 2, size, includes, _FLAGS)


def cut_model(data: bytes) -> bytes:
    """A TFLite file with a batch of 1, options for its Reshape, and without its last Softmax.

    Raises:
        ImportError: flatbuffers or the schema is not installed.
        ThumbnetError: It does not end in a Softmax.
    """
    import flatbuffers
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        tensor.shapeSignature = None
    operator = schema.BuiltinOperator
    last = graph.operators.pop()
    if model.operatorCodes[last.opcodeIndex].builtinCode != operator.SOFTMAX:
        raise ThumbnetError("the TFLite file does not end in a Softmax")
    graph.outputs = [last.inputs[0]]
    for node in graph.operators:
        if model.operatorCodes[node.opcodeIndex].builtinCode == operator.RESHAPE:
            node.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            node.builtinOptions = schema.ReshapeOptionsT()
            node.builtinOptions.newShape = list(graph.tensors[node.outputs[0]].shape)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
