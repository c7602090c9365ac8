"""The page says what the results say, whoever wins; made-up results stand for no measurement."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import page
import plots
import pytest
from measured import BUILDS, Measured, read, read_builds

from tests.frontends.bench.made import made

pytestmark = pytest.mark.slow

FAST = {"cold-client": 0.5, "warm": 0.3}
SLOW = {"cold-client": 2.0, "warm": 0.9}
WINS = {"modules": SLOW, "conda": SLOW, "container": FAST}
LOSES = {"modules": FAST, "conda": SLOW, "container": SLOW}
DRAW = {"modules": FAST, "conda": FAST, "container": FAST}
TREE = {
    "lookup": 360,
    "miss": 70,
    "open": 172,
    "close": 172,
    "readdir": 19,
    "glimpse": 320,
    "enqueue": 171,
    "read": 180,
    "bytes": 9,
}
IMAGE = {"lookup": 4, "open": 1, "close": 1, "glimpse": 1, "enqueue": 1, "read": 38, "bytes": 7}


def table_of(
    session: str = "analysis",
    preset: str = "busy",
    speed: Mapping[str, Mapping[str, float]] = WINS,
    rounds: int = 7,
    **changes: Any,
) -> dict[str, Any]:
    """Return one file of results: what the emulated servers were asked for is in each row."""
    result = made(speed=speed, rounds=rounds, session=session, **changes)
    table = replace(result, replay=tuple(replace(item, preset=preset) for item in result.replay)).as_dict()
    table["host"] = {"cpus": 2, "model": "A Processor", "memory": 8 << 30, "system": "Linux 6.1", "python": "3.11.7"}
    for row in table["rows"]:
        asked = IMAGE if row["candidate"] == "container" else TREE
        row["requests"] = dict(asked) if row["state"] == "cold-client" else {**asked, "lookup": 0}
    about = {"date": "2026-01-02", "preset": preset, "jobs": 100, "imports": ["numpy"], "apptainer": "1.4", "lmod": "8"}
    return {**table, "suite": {**about, "command": f"ozrepro bench {session}"}}


def cells(folder: Path, *tables: Mapping[str, Any]) -> tuple[Measured, ...]:
    """Return the results of these files."""
    for number, table in enumerate(tables):
        (folder / f"{number}.json").write_text(json.dumps(table), encoding="utf-8")
    return read(folder)


def short(text: str) -> str:
    """Return the part of the page that sums it up."""
    return text.partition("## In short")[2].partition("\n## ")[0]


class TestWhoWins:
    def test_the_page_says_that_a_faster_container_is_faster(self, tmp_path: Path) -> None:
        text = page.page_text(cells(tmp_path, table_of(speed=WINS)))
        assert "The first start on a node is clearly fastest with container in both cases. `analysis` on `busy` takes " in short(
            text
        )
        assert "Start-up of imports with 4 ranks: with nothing known to the client, container takes" in text

    def test_the_page_says_that_a_slower_container_is_slower(self, tmp_path: Path) -> None:
        text = page.page_text(cells(tmp_path, table_of(speed=LOSES)))
        assert "The first start on a node is clearly fastest with modules in both cases." in short(text)
        assert "Every later start is clearly fastest with modules in both cases." in short(text)

    def test_the_page_names_no_winner_without_a_clear_difference(self, tmp_path: Path) -> None:
        text = page.page_text(cells(tmp_path, table_of(speed=DRAW)))
        assert "The first start on a node is clearly fastest with no method: choose by what follows." in short(text)

    def test_three_rounds_are_reported_as_too_few_for_a_verdict(self, tmp_path: Path) -> None:
        few = table_of(preset="storm", ranks=(1,), rounds=3)
        text = page.page_text(cells(tmp_path, table_of(), few))
        assert "with container in both cases" in short(text)
        assert "The first start on a node: 1 more case has under 6 rounds, too few to say which is fastest." in short(text)
        row = next(line for line in text.splitlines() if line.startswith("| storm | cold |"))
        assert "**" not in row
        alone = short(page.page_text(cells(tmp_path, few, {**few, "session": "other"})))
        assert "Every later start: 2 cases have under 6 rounds, too few to say which is fastest." in alone
        assert "clearly fastest" not in alone

    def test_only_a_clear_ratio_is_in_bold(self, tmp_path: Path) -> None:
        text = page.page_text(cells(tmp_path, table_of(speed={"modules": FAST, "conda": FAST, "container": SLOW})))
        row = next(line for line in text.splitlines() if line.startswith("| busy | cold | 1 |"))
        modules, conda, container = row.split(" | ")[4:]
        assert "(" not in modules
        assert "**" not in conda
        assert re.search(r"\*\*\([34]\.\d\d\u00a0\[", container)


class TestRequests:
    def test_asked_for_and_predicted_stand_side_by_side_in_every_kind(self, tmp_path: Path) -> None:
        text = page.page_text(cells(tmp_path, table_of()))
        assert "| lookup, cold | 360 / 359 | 360 / 359 | 4 / 2 |" in text
        assert "| to the metadata server, cold | 793 / 797 | 793 / 797 | 6 / 4 |" in text
        assert (
            "Predicted metadata requests of a cold start against those asked for: modules +1 %, conda +1 %, container -33 %."
            in text
        )

    def test_the_factor_is_of_what_was_asked_for(self, tmp_path: Path) -> None:
        text = page.page_text(cells(tmp_path, table_of()))
        assert (
            "6 times with container, 793 times with modules, 793 times with conda: with modules 132 times as often as with container."
            in short(text)
        )

    def test_requests_are_those_predicted_where_the_emulator_counted_none(self, tmp_path: Path) -> None:
        table = table_of()
        for row in table["rows"]:
            row["requests"] = {}
        text = page.page_text(cells(tmp_path, table))
        assert "| lookup, cold | - / 359 |" in text
        assert "against those asked for" not in text
        assert "What the servers were asked for is not in the results" in text

    def test_opens_that_a_lock_spares_are_explained_where_there_are_such(self, tmp_path: Path) -> None:
        table = table_of()
        table["profile"]["open_lock_after"] = 5
        assert "from open 5 of a file on" not in page.page_text(cells(tmp_path, table))
        for row in table["rows"]:
            if row["state"] == "warm":
                row["requests"]["open"] = 0
        assert "from open 5 of a file on" in page.page_text(cells(tmp_path, table))

    def test_a_start_that_failed_counts_for_nothing(self, tmp_path: Path) -> None:
        table = table_of()
        for row in table["rows"]:
            if row["round"] > 1 and row["candidate"] == "modules":
                row.update(status=1, requests={"lookup": 1})
        (cell,) = cells(tmp_path, table)
        assert cell.served("modules", "cold-client")["lookup"] == 360


class TestPage:
    def test_the_page_has_a_table_of_versions_that_differ_or_says_that_none_do(self, tmp_path: Path) -> None:
        table = table_of()
        assert "| numpy | 1.22.3 | 2.1.0 | 2.1.0 |" in page.page_text(cells(tmp_path, table))
        for item in table["candidates"]:
            item["versions"] = {"numpy": "1.22.3"}
        text = page.page_text(cells(tmp_path, table))
        assert "No package that several methods of it hold differs in version: numpy 1.22.3." in text

    def test_ranks_compete_only_where_there_are_fewer_processors(self, tmp_path: Path) -> None:
        table = table_of()
        assert "The machine has 2 processors, for which 4 ranks compete" in page.page_text(cells(tmp_path, table))
        table["host"]["cpus"] = 8
        assert "compete" not in page.page_text(cells(tmp_path, table))

    def test_presets_come_from_quiet_to_storm_and_their_growth_is_told(self, tmp_path: Path) -> None:
        found = cells(tmp_path, table_of(preset="storm"), table_of(preset="busy"), table_of(preset="quiet", speed=LOSES))
        assert [cell.preset for cell in found] == ["quiet", "busy", "storm"]
        (line,) = (line for line in page.page_text(found).splitlines() if line.startswith("- From `quiet` to `storm`"))
        assert re.search(r"from \d+ ms to [12]\.\d\d s with modules, .*from [12]\.\d\d s to \d+ ms with container\.", line)

    def test_the_replay_goes_to_64_nodes_and_its_ends_are_told(self, tmp_path: Path) -> None:
        text = page.page_text(cells(tmp_path, table_of()))
        assert "| analysis | busy | 64 × 32 | 134 s | 134 s | 11.4 s |" in text
        assert "- `analysis` on `busy`, 64 × 32: modules waits for 134 s, container for 11.4 s." in text

    def test_days_that_differ_are_told_as_a_span(self, tmp_path: Path) -> None:
        other = table_of(preset="quiet")
        other["suite"]["date"] = "2026-02-03"
        text = page.page_text(cells(tmp_path, table_of(), other))
        assert "`nox -s bench`, 2026-01-02 to 2026-02-03:" in text

    def test_no_results_are_an_error_with_the_command_to_try(self, tmp_path: Path) -> None:
        with pytest.raises(SystemExit, match=r"suite\.py"):
            page.write(tmp_path, tmp_path / "docs")
        assert not (tmp_path / "docs").exists()


class TestFileForm:
    FORMS: Mapping[str, Mapping[str, float]] = {"modules": SLOW, "modules as a file": FAST, "container": FAST}

    def test_the_first_lines_say_what_one_setting_changes_for_a_user_of_modules(self, tmp_path: Path) -> None:
        table = table_of(speed=self.FORMS)
        for row in table["rows"]:
            if row["candidate"] == "modules as a file" and row["state"] == "cold-client":
                row["requests"] = dict(IMAGE)
        first = page.page_text(cells(tmp_path, table)).partition("## In short")[0]
        assert 'one line in `pyproject.toml`, `form = "file"` below `[tool.ozrepro]`' in first
        words = r"the first start of `analysis` on a node then takes [34]\d\d ms instead of [12]\.\d\d s \(0\.2\d \[0\.2\d, 0\.\d\d\] of it\)"
        assert re.search(words, first)
        assert "which you share with everybody, 6 times instead of 793" in first

    def test_a_second_setting_that_keeps_the_toolchain_is_told_after_it(self, tmp_path: Path) -> None:
        pair = {name: self.FORMS[name] for name in ("modules", "modules as a file")}
        kept = table_of("analysis-kept", speed=pair)
        for row in kept["rows"]:
            row["requests"] = dict(IMAGE if row["candidate"] == "modules as a file" else TREE)
        text = page.page_text(cells(tmp_path, table_of(speed=self.FORMS), kept))
        assert 'With `keep = "all"` below `[modules]` that software is in the file too.\nOn a busy Lustre the first start' in text
        assert "you share with everybody, 6 times instead of 793." in text
        assert "`analysis-kept` is `analysis` with" in text
        for path in tmp_path.glob("*.json"):
            path.unlink()
        alone = page.page_text(cells(tmp_path, kept))
        assert 'Then `form = "file"` in your settings, with `keep = "all"` below `[modules]`, is worth a try.' in alone

    def test_a_setting_that_gains_nothing_is_not_praised(self, tmp_path: Path) -> None:
        text = page.page_text(cells(tmp_path, table_of(speed={"modules": FAST, "modules as a file": SLOW})))
        assert re.search(r"then takes [12]\.\d\d s instead of [45]\d\d ms \([34]\.\d\d \[", text)
        assert "is worth a try" not in text
        lacking = page.page_text(cells(tmp_path, table_of()))
        assert "What one setting changes for sessions on modules was not measured." in lacking

    def test_what_builds_ask_for_is_a_table_with_the_factor_between_forms(self, tmp_path: Path) -> None:
        rows = [
            {
                "session": "analysis",
                "candidate": "conda",
                "requests": {"create": 9_000, "open": 9_000, "close": 9_000, "miss": 3_000},
            },
            {
                "session": "analysis",
                "candidate": "conda as a file",
                "requests": {"create": 10, "change": 20, "open": 30, "lookup": 40},
            },
            {"session": "analysis", "candidate": "container", "requests": {"create": 5}},
        ]
        (tmp_path / BUILDS).write_text(json.dumps({"rows": rows}), encoding="utf-8")
        text = page.page_text(cells(tmp_path, table_of()), read_builds(tmp_path))
        assert "| analysis | conda | 9,000 | 0 | 9,000 | 9,000 | 3,000 | 30,000 |" in text
        assert "- A tree of `analysis` by conda asks 300 times as often as one file." in text
        assert "## What a build asks" not in page.page_text(cells(tmp_path, table_of()))

    def test_the_load_of_the_machine_is_told_and_what_it_means(self, tmp_path: Path) -> None:
        table = table_of()
        table["suite"]["load"] = [1.0, 2.5]
        assert "Other work" not in page.page_text(cells(tmp_path, table))
        table["suite"]["load"] = [3.0, 12.5]
        text = page.page_text(cells(tmp_path, table))
        assert "Other work kept the processors busy during `analysis` on `busy` (3 to 12), in load average" in text
        assert "`analysis` was measured before an environment could be one file" in text

    def test_a_colour_is_a_method_s_and_a_marker_a_form_s(self, tmp_path: Path) -> None:
        some = cells(tmp_path, table_of(speed=self.FORMS))
        assert plots._colour(some, "modules") == plots._colour(some, "modules as a file")
        assert plots._colour(some, "modules") != plots._colour(some, "container")
        assert len({plots._form(name)[1] for name in ("modules", "modules as a file", "modules as a staged file")}) == 3


class TestFigures:
    def test_the_same_results_give_the_same_files(self, tmp_path: Path) -> None:
        some = cells(tmp_path, table_of(), table_of("astronomy", speed=LOSES))
        first, second = (plots.write_plots(some, tmp_path / name) for name in ("a", "b"))
        assert [path.name for path in first] == [f"{name}.svg" for name in plots.NAMES]
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]

    def test_the_page_shows_each_figure_that_is_written(self, tmp_path: Path) -> None:
        page.write(_folder(tmp_path, table_of()), tmp_path / "docs")
        text = (tmp_path / "docs" / page.PAGE).read_text(encoding="utf-8")
        shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
        assert sorted(shown) == sorted(f"{page.FIGURES}/{name}.svg" for name in plots.NAMES)
        assert all((tmp_path / "docs" / name).is_file() for name in shown)


def _folder(tmp_path: Path, table: Mapping[str, Any]) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text(json.dumps(table), encoding="utf-8")
    return tmp_path / "results"
