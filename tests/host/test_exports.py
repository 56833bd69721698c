"""Exports: manifests are what the build systems take, and the libraries compute the right bytes.

CMake and the builder of the Arduino IDE are the real programs. PlatformIO's compilers and Zephyr's
tree come from elsewhere than PyPI and Debian: PlatformIO only judges its manifest here, and
Zephyr's commands are ones of the test's own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import has, thumbnet_command

from codegen import cmodel, simulate
from codegen.boards import load_core
from codegen.errors import ThumbnetError
from codegen.exports import FORMATS, MARKER, export_model
from codegen.flow import CompileOptions, compile_model
from codegen.output import read_output
from codegen.preprocess import to_int8

NAME = "net"


@pytest.fixture(scope="module", params=["text", "binary"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder; with ``binary`` the weights are taken for long ones."""
    out = tmp_path_factory.mktemp("exports") / "out"
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "binary":
            patch.setattr(cmodel, "TEXT_LIMIT", 100)
        compile_model(CompileOptions(out, limit=8, build=False, name=NAME))
    assert (out / f"{NAME}_weights.bin").exists() == (request.param == "binary")
    return out


def run(*words: object, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    return done.stdout


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_holds_the_model_unchanged_and_nothing_else(
    kind: str, compiled: Path, tmp_path: Path
) -> None:
    report = export_model(compiled, kind, tmp_path / "library", "2.3.4").to_json()
    made = {
        path.relative_to(tmp_path / "library").as_posix(): path
        for path in (tmp_path / "library").rglob("*")
        if path.is_file()
    }
    assert sorted(made) == report["files"]
    model = {name: path for name, path in made.items() if name.startswith("src/")}
    for path in model.values():
        assert path.read_bytes() == (compiled / path.name).read_bytes()
    built = {path.name for pattern in ("*.c", "*.S", "*.bin") for path in compiled.glob(pattern)}
    assert built == {path.name for path in model.values() if path.suffix != ".h"}
    for name, path in made.items():
        if name not in model:
            text = path.read_text()
            assert str(compiled) not in text and str(tmp_path) not in text
    assert "net_push_rows" in made["README.md"].read_text()
    assert {**json.loads(made[MARKER].read_text()), "out": report["out"]} == report


def test_an_export_is_replaced_only_by_force_and_nothing_else_ever(
    compiled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "library"
    export_model(compiled, "cmake", out)
    with pytest.raises(ThumbnetError, match="--force"):
        export_model(compiled, "arduino", out)
    assert (out / "CMakeLists.txt").exists()
    export_model(compiled, "arduino", out, force=True)
    assert not (out / "CMakeLists.txt").exists()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "CMakeLists.txt").write_text("# mine")
    for folder in (tmp_path / "own", compiled):
        with pytest.raises(ThumbnetError, match="was not made by thumbnet"):
            export_model(compiled, "cmake", folder, force=True)
    assert (tmp_path / "own" / "CMakeLists.txt").read_text() == "# mine"
    assert read_output(compiled)


def test_mistakes_are_refused_in_words(compiled: Path, tmp_path: Path) -> None:
    with pytest.raises(ThumbnetError, match=r"'1\.0' is no version"):
        export_model(compiled, "cmake", tmp_path / "library", "1.0")
    with pytest.raises(ThumbnetError, match="is no folder"):
        export_model(tmp_path / "lost", "cmake", tmp_path / "library")
    shutil.copytree(compiled, tmp_path / "other")
    document = json.loads((tmp_path / "other" / "compile.json").read_text())
    for name, kind, message in (
        ("a" * 64, "arduino", r"63 characters.*--name"),
        ("arduino_net", "arduino", r"an Arduino library.*begin with arduino.*--name"),
        ("a" * 101, "platformio", r"100 characters.*--name"),
        ("test", "cmake", r"target of CMake's own.*--name"),
        ("tests", "cmake", r"has no tests\.c and no tests\.h"),
    ):
        text = json.dumps({**document, "name": name})
        (tmp_path / "other" / "compile.json").write_text(text)
        with pytest.raises(ThumbnetError, match=message):
            export_model(tmp_path / "other", kind, tmp_path / "library")
    assert not (tmp_path / "library").exists()
    ended = thumbnet_command("export", compiled, "--as", "bazel", "-o", tmp_path / "library")
    assert ended.returncode == 2
    assert all(kind in ended.stderr for kind in FORMATS)


_MAIN = """
#include <stdio.h>
#include "net.h"
static int32_t arena[NET_ARENA_BYTES / 4];
static uint8_t pixels[NET_INPUT_ROW_BYTES];
static int8_t scores[NET_OUTPUT_BYTES];
int main(void)
{
    net_begin(arena);
    for (int y = 0; y < NET_INPUT_HEIGHT; ++y) {
        if (fread(pixels, 1, sizeof pixels, stdin) != sizeof pixels) { return 1; }
        net_from_pixels(pixels, (int8_t *)pixels, NET_INPUT_WIDTH);
        net_push_rows(arena, (int8_t *)pixels, 1);
    }
    net_finish(arena, scores);
    return fwrite(scores, 1, sizeof scores, stdout) != sizeof scores;
}
"""
_INCLUDED = {
    "add_subdirectory": "add_subdirectory(net)",
    "FetchContent": "include(FetchContent)\n"
    'FetchContent_Declare(net SOURCE_DIR "${PROJECT_SOURCE_DIR}/net")\n'
    "FetchContent_MakeAvailable(net)",
}


@pytest.mark.parametrize("how", _INCLUDED)
@has("cmake")
@has("ninja")
@has("gcc")
def test_cmake_builds_it_into_a_program_of_this_computer(
    how: str, compiled: Path, tmp_path: Path
) -> None:
    project = tmp_path / "my project"
    export_model(compiled, "cmake", project / "net")
    (project / "main.c").write_text(_MAIN)
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.14)\nproject(mine C)\n"
        f"{_INCLUDED[how]}\nadd_executable(mine main.c)\n"
        "target_link_libraries(mine PRIVATE thumbnet::net)\n"
    )
    flags = "-O1 -Wall -Wextra -Wconversion -pedantic -Werror -fsanitize=address,undefined"
    run("cmake", "-S", project, "-B", project / "build", "-G", "Ninja", f"-DCMAKE_C_FLAGS={flags}")
    run("cmake", "--build", project / "build")
    graph = read_output(compiled).graph
    shape = (1, *graph.input_tensor.shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    done = subprocess.run(
        [str(project / "build" / "mine")], input=pixels.tobytes(), capture_output=True, check=True
    )
    wanted = simulate.run(graph, to_int8(pixels, graph.preprocess, graph.q(graph.input)))
    assert done.stdout == wanted.tobytes()


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0"])
@has("cmake")
@has("ninja")
@has("arm-none-eabi-gcc")
def test_cmake_builds_it_for_the_core_of_a_toolchain_file(
    core: str, compiled: Path, tmp_path: Path
) -> None:
    export_model(compiled, "cmake", tmp_path / "net")
    flags = " ".join(("-mthumb", "-Werror", "-Wall", *load_core(core).gcc_flags))
    (tmp_path / "arm.cmake").write_text(
        "set(CMAKE_SYSTEM_NAME Generic)\nset(CMAKE_SYSTEM_PROCESSOR arm)\n"
        "set(CMAKE_C_COMPILER arm-none-eabi-gcc)\nset(CMAKE_ASM_COMPILER arm-none-eabi-gcc)\n"
        f'set(CMAKE_C_FLAGS_INIT "{flags}")\nset(CMAKE_ASM_FLAGS_INIT "{flags}")\n'
        "set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)\n"
    )
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={tmp_path / 'arm.cmake'}"
    build = tmp_path / "build"
    run("cmake", "-S", tmp_path / "net", "-B", build, "-G", "Ninja", toolchain)
    run("cmake", "--build", build)
    symbols = run("arm-none-eabi-nm", "--defined-only", build / "libnet.a")
    assert re.search(r"\bT net_push_rows$", symbols, re.MULTILINE)
    # What a .S file defines beside the weights are the kernels in assembly.
    kernels = re.search(r"\bT net_depthwise\w*$", symbols, re.MULTILINE)
    assert bool(kernels) == (core == "cortex-m4")


def properties(path: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in path.read_text().splitlines())
    return {key: value for key, _, value in pairs}


ARDUINO_CATEGORIES = (
    *("Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing"),
    *("Data Storage", "Data Processing", "Other"),
)


def test_library_properties_follow_arduino_s_specification(compiled: Path, tmp_path: Path) -> None:
    library = tmp_path / "net"
    export_model(compiled, "arduino", library, "2.3.4")
    found = properties(library / "library.properties")
    assert found.keys() == {
        *("name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url"),
        *("architectures", "includes"),
    }
    assert all(found.values())
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", found["name"])
    assert found["version"] == "2.3.4"
    assert found["category"] in ARDUINO_CATEGORIES
    assert found["architectures"] == "*"
    assert (library / "src" / found["includes"]).exists()
    (sketch,) = library.glob("examples/*/*.ino")
    assert sketch.stem == sketch.parent.name


_PLATFORM = """
name=Test
version=1.0.0
flags=-O1 -Wall -Wextra -Werror -ffunction-sections -fdata-sections {flags}
recipe.c.o.pattern={prefix}gcc -c {{flags}} {{includes}} "{{source_file}}" -o "{{object_file}}"
recipe.cpp.o.pattern={prefix}g++ -c {{flags}} {{includes}} "{{source_file}}" -o "{{object_file}}"
recipe.S.o.pattern={prefix}gcc -c {{flags}} {{includes}} "{{source_file}}" -o "{{object_file}}"
recipe.ar.pattern={prefix}ar rcs "{{archive_file_path}}" "{{object_file}}"
recipe.c.combine.pattern={prefix}g++ {{flags}} {link} {{object_files}} "{{archive_file_path}}" \
-o "{{build.path}}/{{build.project_name}}.elf"
"""
_ARDUINO_H = """
#include <stdint.h>
void setup(void);
void loop(void);
void delay(unsigned long milliseconds);
struct Printer {
    void begin(long baud);
    void print(const char *text);
    void print(int number);
    void println(float number);
};
extern Printer Serial;
"""
_CORE = """
#include <stdio.h>
#include <Arduino.h>
Printer Serial;
void delay(unsigned long) {}
void Printer::begin(long) {}
void Printer::print(const char *text) { fputs(text, stdout); }
void Printer::print(int number) { printf("%d", number); }
void Printer::println(float number) { printf("%.6f\\n", (double)number); }
int main() { setup(); loop(); }
"""


def arduino_build(library: Path, place: Path, prefix: str, flags: str, link: str) -> Path:
    """The program that the builder of the Arduino IDE makes of a library's example.

    The board is one of the test's own, with a core of a few lines.
    """
    hardware = place / "hardware" / "test" / "test"
    core = hardware / "cores" / "core"
    core.mkdir(parents=True)
    (hardware / "boards.txt").write_text(
        "board.name=Board\nboard.build.core=core\nboard.build.board=B\n"
    )
    platform = _PLATFORM.format(prefix=prefix, flags=flags, link=link)
    (hardware / "platform.txt").write_text(platform)
    (core / "Arduino.h").write_text(_ARDUINO_H)
    (core / "core.cpp").write_text(_CORE)
    (place / "build").mkdir()
    ctags = Path(shutil.which("arduino-ctags") or "").parent
    run(
        *("arduino-builder", "-compile", "-hardware", place / "hardware"),
        *("-hardware", "/usr/share/arduino-builder", "-tools", ctags, "-fqbn", "test:test:board"),
        *("-libraries", library.parent, "-build-path", place / "build"),
        library / "examples" / "Classify" / "Classify.ino",
    )
    return place / "build" / "Classify.ino.elf"


@has("arduino-builder")
@has("g++")
def test_the_arduino_builder_builds_the_example_and_it_classifies(
    compiled: Path, tmp_path: Path
) -> None:
    library = tmp_path / "libraries" / "net"
    export_model(compiled, "arduino", library)
    program = arduino_build(library, tmp_path / "host", "", "", "")
    graph = read_output(compiled).graph
    height, width, channels = graph.input_tensor.shape
    rows = (np.arange(height) * 255 // height).astype(np.uint8)
    pixels = np.broadcast_to(rows[None, :, None, None], (1, height, width, channels))
    q, out = graph.q(graph.input), graph.q(graph.output)
    scores = simulate.run(graph, to_int8(pixels, graph.preprocess, q)).reshape(-1)
    best = int(scores.argmax())
    score = np.float32(out.scale) * np.float32(int(scores[best]) - out.zero_point)
    assert run(program) == f"class {best}, score {score:.6f}\n"


@has("arduino-builder")
@has("arm-none-eabi-g++")
def test_the_arduino_builder_builds_the_example_for_an_arm_core(
    compiled: Path, tmp_path: Path
) -> None:
    library = tmp_path / "libraries" / "net"
    export_model(compiled, "arduino", library)
    flags = " ".join(("-mthumb", *load_core("cortex-m4").gcc_flags))
    link = "-specs=nosys.specs -Wl,--gc-sections"
    program = arduino_build(library, tmp_path / "arm", "arm-none-eabi-", flags, link)
    symbols = run("arm-none-eabi-nm", "--defined-only", program)
    assert re.search(r"\bT net_depthwise\w*$", symbols, re.MULTILINE)


def test_library_json_says_what_platformio_asks_for(compiled: Path, tmp_path: Path) -> None:
    library = tmp_path / "net"
    export_model(compiled, "platformio", library, "2.3.4")
    found = json.loads((library / "library.json").read_text())
    assert (found["name"], found["version"]) == (NAME, "2.3.4")
    assert found["platforms"] == found["frameworks"] == "*"
    assert found["description"] and all(found["keywords"])
    folders = found["build"]
    assert (library / folders["includeDir"] / found["headers"]).exists()
    assert (library / folders["srcDir"] / f"{NAME}.c").exists()


def test_platformio_takes_the_manifest(compiled: Path, tmp_path: Path) -> None:
    pytest.importorskip("platformio")
    export_model(compiled, "platformio", tmp_path / "net")
    settings = {
        **os.environ,
        "PLATFORMIO_CORE_DIR": str(tmp_path / "core"),
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
    }
    pio = (sys.executable, "-m", "platformio", "pkg", "pack")
    run(*pio, tmp_path / "net", "-o", tmp_path / "net.tar.gz", env=settings)
    assert f"src/{NAME}.c" in run("tar", "-tf", tmp_path / "net.tar.gz").split()


ZEPHYR_BUILD_KEYS = {
    *("cmake", "kconfig", "cmake-ext", "kconfig-ext", "sysbuild-cmake", "sysbuild-kconfig"),
    *("sysbuild-cmake-ext", "sysbuild-kconfig-ext", "depends", "settings"),
}


def test_module_yml_says_what_zephyr_asks_for(compiled: Path, tmp_path: Path) -> None:
    """As scripts/zephyr_module.py of Zephyr checks it: the keys, and the files that they name."""
    module = tmp_path / "net"
    export_model(compiled, "zephyr", module)
    found = yaml.safe_load((module / "zephyr" / "module.yml").read_text())
    assert found.keys() == {"name", "build"}
    assert found["build"].keys() <= ZEPHYR_BUILD_KEYS
    assert (module / found["build"]["cmake"] / "CMakeLists.txt").is_file()
    kconfig = (module / found["build"]["kconfig"]).read_text()
    (symbol,) = re.findall(r"^config (\w+)$", kconfig, re.MULTILINE)
    assert f"if(CONFIG_{symbol})" in (module / "zephyr" / "CMakeLists.txt").read_text()


_ZEPHYR = """
cmake_minimum_required(VERSION 3.20)
project(app C ASM)
macro(zephyr_library_named name)
  set(ZEPHYR_CURRENT_LIBRARY ${{name}})
  add_library(${{name}} STATIC)
endmacro()
function(zephyr_library_sources)
  target_sources(${{ZEPHYR_CURRENT_LIBRARY}} PRIVATE ${{ARGN}})
endfunction()
function(zephyr_include_directories)
  target_include_directories(${{ZEPHYR_CURRENT_LIBRARY}} PUBLIC ${{ARGN}})
endfunction()
set(CONFIG_THUMBNET_NET {value})
add_subdirectory("{module}" module)
"""


@pytest.mark.parametrize("value", ["y", ""])
@has("cmake")
@has("ninja")
@has("arm-none-eabi-gcc")
def test_the_sources_of_the_zephyr_module_compile_where_it_is_configured(
    value: str, compiled: Path, tmp_path: Path
) -> None:
    """By stand-ins for Zephyr's commands, which do what its documentation says of them."""
    export_model(compiled, "zephyr", tmp_path / "net")
    text = _ZEPHYR.format(value=value, module=tmp_path / "net" / "zephyr")
    (tmp_path / "CMakeLists.txt").write_text(text)
    build = tmp_path / "build"
    run("cmake", "-S", tmp_path, "-B", build, "-G", "Ninja", "-DCMAKE_C_FLAGS=-Werror -Wall")
    run("cmake", "--build", build)
    made = list(build.rglob("*.a"))
    assert [path.name for path in made] == (["libthumbnet_net.a"] if value else [])
