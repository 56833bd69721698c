"""What writes the pages of the benchmarks, on tiny data, and the recorded figures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import onnx
import pytest

pytest.importorskip("benchmarks", reason="a source distribution has no benchmarks")

from benchmarks.bare import Cost, CProgram, measure, run_on_host
from benchmarks.growth import networks
from benchmarks.growth import page as growth_page
from benchmarks.growth.page import Cell
from benchmarks.markdown import million, table
from benchmarks.peers import page as peers_page
from benchmarks.peers.__main__ import tried
from benchmarks.peers.recorded import read_recorded
from benchmarks.peers.subject import Agreement, Row, Subject
from codegen.onnx_import import import_onnx
from codegen.passes import simplify

ROWS = [
    Row("ours", "float", Cost(21, 28_000_000, 9, 14_600, 168, 290, b""), own=True),
    Row("theirs <&> more", "int8", None, Agreement(3, 66.7, 1.25, 9.0), "cut | short"),
    Row("other", "float ONNX", Cost(5, 9_000_000, 9, 1, 2, 3, b""), note="cut | short"),
]
CELLS = [
    Cell("v1", 0.5, 96, 10, 5, 30_000_000, 40_000_000, 3000, 9000, 0.5),
    Cell("v1", 0.25, 128, 10, 5, 30_000_000, 40_000_000, 3000, 9000, 0.5),
    Cell("v1", 0.25, 96, 10, 5, 1_000_000, 2_000_000, 2000, 9000, 0.25),
]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.text]


def columns(text: str) -> set[int]:
    """Numbers of cells of the lines of each table: one number for a whole table."""
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    return {line.count("|") for line in lines}


def test_page_of_peers_has_every_row_note_and_source() -> None:
    recorded = read_recorded()
    text = peers_page.page(ROWS, recorded)
    assert "| **ours** | float |" in text
    assert "15,058" in text  # 14,600 + 168 + 290
    assert "- theirs <&> more; other: cut | short.\n" in text
    for figure in (*recorded.counted, *recorded.board, *recorded.memory):
        assert figure.who in text and figure.source in text


def test_plot_of_peers_is_xml_with_a_row_for_each_count() -> None:
    recorded = read_recorded()
    svg = peers_page.plot(ROWS, recorded)
    found = texts(svg)
    assert svg == peers_page.plot(ROWS, recorded)
    assert found.index("ours") < found.index("other")
    assert {"28", "14.7", "TinyEngine", "X-CUBE-AI 9.0, on a board"} <= set(found)
    assert "theirs <&> more" not in found  # nothing was counted


def test_every_recorded_figure_says_something_and_where_from() -> None:
    recorded = read_recorded()
    for figure in (*recorded.counted, *recorded.board, *recorded.memory):
        numbers = (figure.cycles, figure.ram, figure.ram_kib, figure.milliseconds)
        assert any(numbers), figure
        assert len(figure.source) > 8, figure
    assert all(figure.instructions and figure.cycles and figure.ram for figure in recorded.counted)
    assert all(figure.board and figure.cycles for figure in recorded.board)
    assert all(figure.model and figure.ram_kib for figure in recorded.memory)


@pytest.mark.parametrize(
    "entry", ['who = "x"\nsource = " "', 'who = "x"', 'who = "x"\nsource = "y"\ncycle = 3']
)
def test_recorded_figure_without_source_is_refused(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "recorded.toml"
    path.write_text(f"[[counted]]\n{entry}\n")
    with pytest.raises(ValueError, match="counted"):
        read_recorded(path)


@pytest.mark.parametrize("error", [ImportError("No module named 'x'"), RuntimeError("a\nb")])
def test_peer_that_fails_is_a_row_with_the_reason(error: Exception, tmp_path: Path) -> None:
    def run(subject: Subject, folder: Path) -> list[Row]:
        raise error

    (row,) = tried("x", run, None, tmp_path)  # type: ignore[arg-type]  # it is only passed on
    assert row.cost is None and row.note.startswith("not run: ") and "\n" not in row.note


def test_page_and_plot_of_growth_are_in_order_and_bear_gaps() -> None:
    text = growth_page.page(CELLS, 1000, 10)
    lines = [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("| Mobile")]
    assert lines == [
        ["| MobileNetV1 0.25", "96"],
        ["| MobileNetV1 0.25", "128"],
        ["| MobileNetV1 0.5", "96"],
    ]
    assert columns(text) == {11}
    assert {"MobileNetV1 0.5", "128", "flash in KiB"} <= set(texts(growth_page.plot(CELLS)))


def test_tables_keep_their_columns() -> None:
    assert table(("a", "b"), [("x|y", "two\nlines")]) == (
        "| a | b |\n| --- | --- |\n| x\\|y | two lines |\n"
    )
    assert [million(n) for n in (None, 7_489_664, 21_250_460)] == ["-", "7.49", "21.3"]


@pytest.mark.parametrize(
    ("net", "alpha", "resolution", "macs"),
    # Howard et al. 2017, tables 6 and 7; Sandler et al. 2018, table 4. Million, rounded there.
    [("v1", 1.0, 224, 569), ("v1", 0.5, 224, 149), ("v1", 1.0, 128, 186), ("v2", 1.0, 224, 300)],
)
def test_networks_of_growth_are_those_of_the_papers(
    tmp_path: Path, net: str, alpha: float, resolution: int, macs: int
) -> None:
    path = networks.save(net, alpha, resolution, tmp_path)
    onnx.checker.check_model(str(path), full_check=True)
    graph = simplify(import_onnx(path).graph)
    assert graph.macs() / 1e6 == pytest.approx(macs, rel=0.01)


def test_any_c_program_is_counted_with_its_ram_and_computes_as_on_the_host(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.c"
    adapter.write_text("""
        #include <stdint.h>
        static uint8_t arena[1000];
        static const uint8_t table[256] = {3, 1, 4, 1, 5};
        void infer(const void *input, void *output) {
            volatile uint8_t scratch[400];
            const uint8_t *from = input;
            for (int i = 0; i < 400; i++) {
                scratch[i] = (uint8_t)(from[i % 8] + i);
                arena[i] = scratch[i];
            }
            *(uint8_t *)output = (uint8_t)(arena[399] + table[from[0]]);
        }
    """)
    program = CProgram((adapter,), 8, 1, 8)
    image = bytes((2, 7, 1, 8, 2, 8, 1, 9))
    cost = measure(program, image, tmp_path / "arm")
    assert [cost.output] == run_on_host(program, [image], tmp_path / "host")
    assert 1000 <= cost.static < 1040
    assert 400 <= cost.stack < 480
    assert 256 < cost.flash < 600
    assert cost.held == 9
    assert 400 * 5 < cost.instructions < cost.cycles < 400 * 40
