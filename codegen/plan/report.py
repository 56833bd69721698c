"""The plan as a document: what ``compile`` prints and stores."""

from __future__ import annotations

from typing import Any

from codegen.plan.model import Plan, Step


def stage_document(plan: Plan, step: Step) -> dict[str, Any]:
    """One stage: what it computes and how, and where the rows that it makes are kept.

    Sizes in bytes. ``offset`` is that of the output in the arena, None for the network's output,
    which the caller keeps. ``refused`` says which faster kernels do not compute it, and why.
    """
    stage = step.stage
    buffer = plan.buffers.get(stage.output)
    storage = plan.network.storage[stage.output]
    scratch = plan.scratch.get(step.phase)
    kernel = stage.kernel
    return {
        "stage": step.index,
        "layers": list(stage.layers),
        "names": [node.name for node in stage.nodes],
        "ops": [node.op for node in stage.nodes],
        "kernel": f"{kernel.family}/{kernel.name}",
        "variant": stage.variant.name if stage.variant else None,
        "segment": step.phase,
        "streamed": plan.streamed(step),
        "output": list(plan.graph.tensors[stage.output].shape),
        "rows": storage.rows,
        "rows_kept": buffer.slots if buffer else storage.rows,
        "row_bytes": storage.row_bytes,
        "bytes": buffer.size if buffer else storage.size,
        "offset": buffer.offset if buffer else None,
        "scratch": scratch.size if scratch else 0,
        "ram_live": plan.live_bytes(step),
        "refused": list(stage.refused),
    }
