"""`ozrepro bench` of two methods of one lock, on the test site: modules and conda beside each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ozrepro.frontends.bench.result import read_result
from ozrepro.frontends.bench.summary import summarise
from tests.conftest import Project
from tests.frontends.bench.test_methods import channel, site, three

__all__ = ["channel", "site", "three"]

HEADINGS = [
    "How long a start takes",
    "Compared with modules",
    "Where the time goes",
    "What was compared",
    "All times",
    "Requests to the file system",
    "Many nodes",
    "What this does not show",
    "How it was measured",
]


@pytest.mark.slow
def test_bench_compares_modules_and_conda_of_one_session(three: Project, tmp_path: Path) -> None:
    """Ratios, the numbers of the verdict, and a recommendation of one of them or that it does not matter."""
    files = ("--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html"))
    text = three.done(
        "bench", "work", "--rounds", "6", "--state", "warm,cold-client", "--workload", "imports", "--jobs", "7", *files
    )
    result = read_result(tmp_path / "a.json")
    summary = summarise(result)
    assert (summary.names, summary.reference, summary.main) == (("modules", "conda"), "modules", "imports")
    assert result.complete
    assert [row for row in result.rows if row.status] == []
    assert {item.case[1] for item in summary.ratios} == {"warm", "cold-client"}
    assert all(item.ratio.count == 6 for item in summary.ratios)
    assert all(item.build_seconds for item in result.candidates)
    assert summary.unlike == {}
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    (headline,) = [line for line in lines if line.startswith(("Take ", "It does not matter here"))]
    assert "conda" in headline or "modules" in headline
    flat = " ".join(text.split())
    assert "Start-up of imports: with nothing known to the client," in flat
    assert "7 jobs of 1 rank" in flat
    assert "Not measured: container: work.toml has no [container]" in flat
    page = (tmp_path / "a.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", page) == HEADINGS
    assert "<p>All packages that several methods have are of the same version.</p>" in page
