"""What the zoo's ONNX files say of their input and their classes."""

from __future__ import annotations

import json
from collections.abc import Sequence

PREPROCESS_KEY = "thumbnet.preprocess"
CLASSES_KEY = "thumbnet.classes"

# x = (pixel - mean) / std, the whole picture being resized (bilinear) to the input size.
PREPROCESS = {
    "mean": [127.5, 127.5, 127.5],
    "std": [127.5, 127.5, 127.5],
    "channels": "RGB",
    "resize": "stretch",
}


def image_metadata(classes: Sequence[str]) -> dict[str, str]:
    """Metadata of a model with the preprocessing above that tells these classes apart.

    Args:
        classes: Their names; empty if they have none.
    """
    metadata = {PREPROCESS_KEY: json.dumps(PREPROCESS, separators=(",", ":"))}
    if classes:
        metadata[CLASSES_KEY] = json.dumps(list(classes))
    return metadata
