"""The suite's plan is what it says: which cells, which specs, and a file that reads back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import suite

from ozrepro.project import toml
from tests.fake_cluster import realpackages

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "sessions" / "analysis.toml").read_text(encoding="utf-8")


def test_a_session_and_a_preset_name_one_cell_and_nothing_names_all() -> None:
    assert [cell.name for cell in suite.chosen("analysis,quiet")] == ["analysis-quiet"]
    assert [cell.name for cell in suite.chosen("busy")] == [
        "analysis-busy",
        "analysis-kept-busy",
        "analysis-venv-busy",
        "astronomy-busy",
    ]
    assert suite.chosen("") == suite.CELLS


@pytest.mark.parametrize("only", ["calm", "astronomy,storm"])
def test_a_name_of_no_cell_is_refused(only: str) -> None:
    with pytest.raises(ValueError, match=only.split(",")[0]):
        suite.chosen(only)


def test_the_storm_is_for_the_example_alone_with_one_rank_and_three_rounds() -> None:
    (storm,) = (cell for cell in suite.CELLS if cell.preset == "storm")
    assert (storm.session, storm.ranks, storm.rounds) == ("analysis", (1,), 3)
    words = storm.command("r.json", 0)
    assert words[words.index("--rounds") + 1] == "3"
    assert words[words.index("--emulate") + 1] == "storm"
    assert storm.command("r.json", 1)[words.index("--rounds") + 1] == "1"


def test_the_example_is_measured_as_it_is_but_for_what_the_site_has() -> None:
    found, own = toml.loads(suite.specs(EXAMPLE, "bundle/1.0")["analysis"]), toml.loads(EXAMPLE)
    assert found["imports"] == own["imports"]
    assert found["conda"] == own["conda"]
    assert found["modules"]["load"] == ["bundle/1.0"]
    assert found["methods"] == list(suite.METHODS["analysis"])
    assert found["container"]["from"] == "conda"


def test_each_method_is_compared_in_each_form_and_an_image_as_it_is() -> None:
    (cell,) = suite.chosen("astronomy,busy")
    assert cell.candidates == (
        *("modules", "modules as a file", "venv", "venv as a file", "conda", "conda as a file"),
        "container",
    )
    (busy,) = suite.chosen("analysis,busy")
    assert busy.candidates[:3] == ("modules", "modules as a file", "modules as a staged file")
    words = busy.command("r.json", 0)
    assert words[words.index("--form") + 1] == "tree,file,staged"


def test_the_toolchain_is_kept_by_modules_alone() -> None:
    found = toml.loads(suite.specs(EXAMPLE, "bundle/1.0")["analysis-kept"])
    assert (found["methods"], found["modules"]["keep"]) == (["modules"], "all")
    assert not {"conda", "container"} & set(found)
    assert "keep" not in toml.loads(suite.specs(EXAMPLE, "bundle/1.0")["analysis"])["modules"]


def test_a_venv_of_the_suite_has_the_channel_s_versions() -> None:
    found = toml.loads(suite.specs(EXAMPLE, "bundle/1.0")["astronomy"])["venv"]["requirements"]
    assert {"numpy==1.22.3", "matplotlib==3.5.2", "astropy==6.0.1"} <= set(found)
    assert "venv" not in toml.loads(suite.specs(EXAMPLE, "bundle/1.0")["analysis"])


def test_the_heavier_stack_imports_what_it_is_named_after() -> None:
    found = toml.loads(suite.specs(EXAMPLE, "bundle/1.0")["astronomy"])
    packages = {name.partition(".")[0] for name in found["imports"]}
    assert packages == {"numpy", "scipy", "pandas", "matplotlib", "astropy"}
    assert packages <= set(found["conda"]["dependencies"])


@pytest.mark.parametrize("session", ["analysis", "astronomy"])
def test_what_stands_beside_the_modules_has_the_channel_s_versions(session: str) -> None:
    found = toml.loads(suite.specs(EXAMPLE, "bundle/1.0")[session])
    channel = {**realpackages.PINNED, **realpackages.HEAVY}
    for text in found["modules"]["venv"]["requirements"]:
        name, version = text.split("==")
        assert channel[name] == version


def test_a_result_is_written_whole_with_a_line_for_each_start(tmp_path: Path) -> None:
    table = {"schema": 1, "rows": [{"round": 1}, {"round": 2}], "notes": [], "suite": {"date": "2026-01-02"}}
    path = tmp_path / "results" / "a.json"
    suite.write(path, table)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == table
    assert '  {"round": 1},\n  {"round": 2}\n' in text
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]
