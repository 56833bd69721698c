"""Writes the demo photographs, which come with scikit-image, as PNG files into a folder.

Usage: python examples/photographs.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from skimage import data

# Only pictures inside the wheel (the others would be downloaded), and of these what comes nearest
# to the classes of the default model.
PHOTOGRAPHS = {
    "cat": data.chelsea,
    "horse (silhouette)": data.horse,
    "rocket": data.rocket,
}


def main() -> None:
    """Writes the photographs into the folder that the command line names."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, photograph in PHOTOGRAPHS.items():
        Image.fromarray(photograph()).save(folder / f"{name}.png")
    print(f"{len(PHOTOGRAPHS)} photographs are in {folder}")


if __name__ == "__main__":
    main()
