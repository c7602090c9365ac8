"""What is committed is what was measured: every cell, nothing of the machine, and a page that is written from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import page
import plots
import pytest
import suite
from measured import BUILDS, COLD, KEPT, WARM, Measured, read, read_builds, total
from tidying import stray

from ozrepro.frontends.bench.lustre.model import METADATA
from ozrepro.frontends.bench.result import read_result
from tests.docs.pages import DOCS

PAGE = DOCS / "explanation" / page.PAGE
FIGURES = DOCS / "explanation" / page.FIGURES
MADE_BY = re.compile(r"Matplotlib v[\w.]+")
CELLS = [pytest.param(cell, id=cell.name) for cell in suite.CELLS]


@pytest.fixture(scope="module")
def committed() -> tuple[Measured, ...]:
    """Give the committed results, summed up once."""
    return read(suite.RESULTS)


@pytest.fixture(scope="module")
def drawn(committed: tuple[Measured, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the figures, drawn now."""
    folder = tmp_path_factory.mktemp("figures")
    plots.write_plots(committed, folder)
    return folder


def file_of(cell: suite.Cell) -> Path:
    return suite.RESULTS / f"{cell.name}.json"


@pytest.mark.parametrize("cell", CELLS)
def test_every_method_state_and_number_of_ranks_was_started_in_every_round(cell: suite.Cell) -> None:
    result = read_result(file_of(cell))
    assert result.complete, result.why
    assert result.refused == ()
    names = [item.name for item in result.candidates]
    assert set(names) <= set(cell.candidates)
    wanted = {
        (name, state, ranks, number)
        for name in names
        for state in (COLD, WARM)
        for ranks in cell.ranks
        for number in range(1, result.plan["rounds"] + 1)
    }
    assert {(row.candidate, row.state, row.ranks, row.round) for row in result.rows} == wanted
    assert len(result.rows) == len(wanted)
    assert [row.error for row in result.rows if row.status] == []


@pytest.mark.parametrize("cell", CELLS)
def test_the_committed_result_was_measured_on_the_emulator_with_its_preset(cell: suite.Cell) -> None:
    result = read_result(file_of(cell))
    assert (result.session, result.fs["type"], result.fs["profile"]) == (cell.session, "emulated lustre", cell.preset)
    assert all(sum(row.requests.values()) for row in result.rows if row.state == COLD)


@pytest.mark.parametrize("cell", CELLS)
def test_the_replay_goes_to_64_nodes_with_32_ranks(cell: suite.Cell) -> None:
    result = read_result(file_of(cell))
    found = {(item.candidate, item.nodes, item.ranks, item.preset) for item in result.replay}
    assert {(item.name, 64, 32, cell.preset) for item in result.candidates} <= found


@pytest.mark.parametrize("cell", CELLS)
def test_the_methods_hold_the_same_versions(cell: suite.Cell) -> None:
    (versions, *others) = (item.versions for item in read_result(file_of(cell)).candidates)
    for name in ("python", "numpy", "scipy", "astropy"):
        assert [other[name] for other in others] == [versions[name]] * len(others)


def test_the_folder_of_results_holds_nothing_but_results() -> None:
    names = [BUILDS, *(file_of(cell).name for cell in suite.CELLS)]
    assert sorted(path.name for path in suite.RESULTS.iterdir()) == sorted(names)


@pytest.mark.parametrize("cell", CELLS)
def test_no_committed_result_names_the_machine_that_measured_it(cell: suite.Cell) -> None:
    table = json.loads(file_of(cell).read_text(encoding="utf-8"))
    assert stray(table, ("ozrepro-test",)) == []
    assert "name" not in table["host"]
    assert file_of(cell).read_text(encoding="utf-8") == suite.text_of(table)


def test_the_page_is_what_the_results_say(committed: tuple[Measured, ...]) -> None:
    assert PAGE.read_text(encoding="utf-8") == page.page_text(committed, read_builds(suite.RESULTS))


def test_a_cold_start_of_one_file_asks_the_metadata_server_far_less(committed: tuple[Measured, ...]) -> None:
    """By counts alone, where the file holds all that it starts; beneath that of a venv is the interpreter of a module."""
    for cell in committed:
        sent = {name: total(cell.served(name, COLD), METADATA) for name in cell.names}
        whole = ("conda", "modules") if cell.session.endswith(KEPT) else ("conda",)
        for name, file in ((name, sent.get(f"{name} as a file")) for name in cell.names):
            if file is not None:
                assert sent[name] >= (50 if name in whole else 1) * file, (cell.session, name)
        assert sent.get("container", 0) < 150


def test_each_build_that_is_known_is_one_of_the_suite_and_a_file_asks_a_hundredth() -> None:
    builds = {(item.session, item.candidate): total(item.requests, METADATA) for item in read_builds(suite.RESULTS)}
    assert set(builds) <= {(cell.session, name) for cell in suite.CELLS for name in cell.candidates}
    pairs = [(key, builds.get((key[0], f"{key[1]} as a file"))) for key in builds]
    assert any(file for _, file in pairs)
    assert all(builds[key] >= 100 * file for key, file in pairs if file)


def test_the_page_s_figures_are_all_there() -> None:
    assert sorted(path.name for path in FIGURES.iterdir()) == sorted(f"{name}.svg" for name in plots.NAMES)


@pytest.mark.parametrize("name", plots.NAMES)
def test_a_figure_is_drawn_from_the_results(name: str, drawn: Path) -> None:
    before, after = ((folder / f"{name}.svg").read_text(encoding="utf-8") for folder in (FIGURES, drawn))
    if MADE_BY.findall(before) != MADE_BY.findall(after):
        pytest.skip(f"another matplotlib places things otherwise, by fractions of a point: {MADE_BY.findall(before)}")
    assert after == before
