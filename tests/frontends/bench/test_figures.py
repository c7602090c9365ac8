"""Figures as files, where matplotlib is there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.errors import StoreError, UsageError
from ozrepro.frontends.bench.figures import FORMATS, write_figures
from ozrepro.frontends.bench.summary import summarise
from tests.frontends.bench.made import made

SMALL = {"modules": {"cold-client": 1.0}, "conda": {"cold-client": 2.0}}
MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_of_figures_has_its_files(form: str, tmp_path: Path) -> None:
    """Four figures, and the same bytes for the same result."""
    pytest.importorskip("matplotlib")
    summary = summarise(made(speed=SMALL, rounds=6))
    written = write_figures(summary, tmp_path / "figures", form)
    assert [path.name for path in written] == [f"{name}.{form}" for name in ("ratios", "phases", "requests", "ranks")]
    assert all(path.read_bytes().startswith(MAGIC[form]) for path in written)
    again = write_figures(summary, tmp_path / "again", form)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


def test_a_figure_without_numbers_is_not_written(tmp_path: Path) -> None:
    """One candidate has no ratio, and nothing was counted."""
    pytest.importorskip("matplotlib")
    written = write_figures(summarise(made(speed={"venv": {"warm": 1.0}}, rounds=2, counts=(), replay=(), ranks=(1,))), tmp_path)
    assert [path.name for path in written] == ["phases.svg"]


def test_the_models_curve_is_named_by_its_profile(tmp_path: Path) -> None:
    """It is drawn for one profile alone, whose name is any folder's, as a workload's is any file's: no formula is read in them."""
    pytest.importorskip("matplotlib")
    name = r"$\data$"
    first = made(speed=SMALL, workloads=(f"{name}.py",), rounds=6)
    own = tuple(replace(item, preset=name) for item in first.replay)
    result = replace(first, replay=(*first.replay, *own), profile={"name": name})
    ranks = next(path for path in write_figures(summarise(result), tmp_path) if path.name == "ranks.svg").read_text()
    assert f"<!-- conda, model ({name}) -->" in ranks
    assert "model (busy)" not in ranks


def test_a_folder_of_figures_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """With its path."""
    pytest.importorskip("matplotlib")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write the figure") as caught:
        write_figures(summarise(made(speed=SMALL, rounds=2)), tmp_path / "file")
    assert str(tmp_path / "file") in caught.value.where


def test_an_unknown_format_of_figures_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """Before anything is imported."""
    with pytest.raises(UsageError, match="'gif' is no format of figures\n  try: one of: png, svg, pdf"):
        write_figures(summarise(made(speed=SMALL, rounds=2)), tmp_path, "gif")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path) -> None:
    """In a process in which it cannot be imported; the module itself needs none."""
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from pathlib import Path\n"
        "from ozrepro.frontends.bench.figures import write_figures\n"
        "from ozrepro.frontends.bench.summary import summarise\n"
        "from tests.frontends.bench.values import a_result\n"
        "from ozrepro.errors import UsageError\n"
        "try:\n    write_figures(summarise(a_result()), Path(sys.argv[1]))\nexcept UsageError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "figures as files need matplotlib\n  try: pip install 'matplotlib>=3.8'\n", done.stderr
