"""An output folder as a library for a build system: CMake, Arduino, PlatformIO, Zephyr.

Only the model's own files are taken, unchanged, into ``src/``; around them come the manifest that
the build system wants, and a README. Nothing in an export names the folder it came from.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen import __version__
from codegen.errors import ThumbnetError
from codegen.output import Output, new_folder, read_output
from codegen.render import render_template

MARKER = "thumbnet.json"
"""File by which an export is recognised: what was exported."""
SOURCES = "src"
"""Folder of the model's files."""

_FILES = (
    *("{name}.h", "{name}.c", "{name}_weights.h", "{name}_weights.c", "{name}_weights.bin"),
    *("{name}_kernels.S", "{name}_binary.S", "{name}_camera.h", "{name}_camera.c"),
    *("thumbnet_arith.h", "thumbnet_check.h", "thumbnet_dsp.h"),
)
"""What may belong to a model: the rest of an output folder is the firmware's, or the user's."""
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)


@dataclass(frozen=True)
class ExportFormat:
    """What a build system takes.

    Attributes:
        title: Its name, for people.
        files: Path in the export by template below ``templates/export``.
        names: Regular expression of the names that a library may have.
        rule: The same in words.
    """

    title: str
    files: Mapping[str, str]
    names: str = ".*"
    rule: str = ""


FORMATS: Mapping[str, ExportFormat] = {
    # Policy CMP0037 of CMake has the reserved names.
    "cmake": ExportFormat(
        "CMake library",
        {"cmake.txt": "CMakeLists.txt"},
        r"(?!(all|clean|edit_cache|help|install|package|package_source|rebuild_cache|test)$).*",
        "must not be that of a target of CMake's own",
    ),
    # https://docs.arduino.cc/arduino-cli/library-specification; arduino-lint refuses others.
    "arduino": ExportFormat(
        "Arduino library",
        {
            "library.properties": "library.properties",
            "Classify.ino": "examples/Classify/Classify.ino",
        },
        r"(?!arduino).{1,63}",
        "may have 63 characters and must not begin with arduino",
    ),
    # https://docs.platformio.org/en/latest/manifests/library-json
    "platformio": ExportFormat(
        "PlatformIO library",
        {"library.json": "library.json"},
        r".{1,100}",
        "may have 100 characters",
    ),
    # https://docs.zephyrproject.org/latest/develop/modules.html
    "zephyr": ExportFormat(
        "Zephyr module",
        {
            "module.yml": "zephyr/module.yml",
            "Kconfig": "zephyr/Kconfig",
            "zephyr.txt": "zephyr/CMakeLists.txt",
        },
    ),
}
"""By the word that the user gives."""


@dataclass(frozen=True)
class ExportReport:
    """What was exported; ``to_json`` is the document that is printed and stored.

    Attributes:
        out: The folder that was made.
        kind: A key of ``FORMATS``.
        version: Version of the library.
        output: The compiled model.
        files: Paths in ``out``, sorted.
    """

    out: Path
    kind: str
    version: str
    output: Output
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of ``export --json``: sizes in bytes."""
        report = self.output.report
        return {
            "name": self.output.name,
            "as": self.kind,
            "version": self.version,
            "core": self.output.core,
            "thumbnet": __version__,
            "flash": report["flash"],
            "ram": report["ram"],
            "out": str(self.out),
            "files": list(self.files),
        }


def export_model(
    source: Path, kind: str, out: Path, version: str = "1.0.0", force: bool = False
) -> ExportReport:
    """Makes a library of an output folder.

    Args:
        source: Folder that ``compile`` made.
        kind: A key of ``FORMATS``.
        out: Folder to make.
        version: Version of the library, MAJOR.MINOR.PATCH.
        force: Replace ``out`` if it is an export.

    Raises:
        ThumbnetError: The source is no output folder or lacks a file, the version or the name does
            not do, or ``out`` must not be replaced; nothing is left behind.
    """
    chosen = FORMATS[kind]
    if not _VERSION.fullmatch(version):
        raise ThumbnetError(f"{version!r} is no version of a library; give three numbers as 1.0.0")
    output = read_output(source)
    _check_name(output.name, chosen)
    sources = _model_files(output)
    values = _template_values(output, kind, version, sources)
    with new_folder(out, force, MARKER) as folder:
        (folder / SOURCES).mkdir()
        for file in sources:
            shutil.copyfile(source / file, folder / SOURCES / file)
        texts = {**chosen.files, "README.md": "README.md"}
        for template, path in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            text = render_template(f"export/{template}.jinja", **values)
            (folder / path).write_text(text, encoding="ascii", newline="\n")
        files = (*texts.values(), *(f"{SOURCES}/{file}" for file in sources), MARKER)
        report = ExportReport(out, kind, version, output, tuple(sorted(files)))
        stored = {**report.to_json(), "out": ""}  # the folder may be moved
        (folder / MARKER).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    return report


def _check_name(name: str, chosen: ExportFormat) -> None:
    if not re.fullmatch(chosen.names, name):
        raise ThumbnetError(
            f"{name} cannot name {_article(chosen)} {chosen.title}: the name {chosen.rule}. "
            "Compile again with another --name."
        )


def _article(chosen: ExportFormat) -> str:
    return "an" if chosen.title.startswith("A") else "a"


def _model_files(output: Output) -> tuple[str, ...]:
    names = [pattern.format(name=output.name) for pattern in _FILES]
    found = tuple(name for name in names if (output.folder / name).is_file())
    needed = [f"{output.name}.{suffix}" for suffix in ("c", "h")]
    if f"{output.name}_binary.S" in found:
        needed.append(f"{output.name}_weights.bin")
    if lost := [name for name in needed if name not in found]:
        raise ThumbnetError(
            f"{output.folder} has no {' and no '.join(lost)}. Run `thumbnet compile` again."
        )
    return found


def _template_values(
    output: Output, kind: str, version: str, sources: tuple[str, ...]
) -> dict[str, Any]:
    name, report = output.name, output.report
    flash = report["flash"]
    height, width, channels = output.graph.input_tensor.shape
    compiled = [file for file in sources if file.endswith((".c", ".S"))]
    return {
        "name": name,
        "macro": name.upper(),
        "kind": kind,
        "title": FORMATS[kind].title,
        "article": _article(FORMATS[kind]),
        "version": version,
        "thumbnet": __version__,
        "core": output.core,
        "sources": [f"{SOURCES}/{file}" for file in compiled],
        "binary": f"{SOURCES}/{name}_weights.bin" if f"{name}_binary.S" in sources else None,
        "binary_source": f"{SOURCES}/{name}_binary.S",
        "input": f"{width}x{height}x{channels}",
        "channels": output.graph.preprocess.channels,
        "classes": output.graph.output_tensor.size,
        "flash": f"{flash['total']:,}",
        "flash_parts": "weights, tables and code" if flash["code"] else "weights and tables",
        "camera": report.get("camera"),
        "arena": f"{report['ram']['arena']:,}",
        "stack": None if report["ram"]["stack"] is None else f"{report['ram']['stack']:,}",
    }
