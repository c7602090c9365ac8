"""Snakemake's `script:` rules, as the page on Snakemake has them, start in the session: by a module of a real Lmod."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.example_projects import Cluster
from tests.docs.pages import DOCS, SLURM, ShownFile, fences, steps, tools_of
from tests.fake_cluster import Site
from tests.fake_cluster.tools import make_tools

PAGE = DOCS / "how-to" / "snakemake.md"


@pytest.mark.network
@pytest.mark.slow
def test_a_script_starts_in_the_session_whose_launchers_are_a_module(cluster: Cluster, site: Site) -> None:
    example = cluster.copy("snakemake", *(make_tools(tool, wanted) for tool, wanted in tools_of(PAGE)))
    for step in steps(PAGE, SLURM):
        if isinstance(step, ShownFile) and step.path in ("modules/nights.lua", "script.smk", "where.py"):
            path = example.root / step.path
            path.parent.mkdir(exist_ok=True)
            path.write_text(step.text, encoding="utf-8")
    cluster.account.give(example.root)
    (lines,) = (fence.text for fence in fences(PAGE.read_text(encoding="utf-8")) if fence.text.startswith("module use"))
    example.done("ozrepro", "build", "nights")
    example.done("bash", "-ec", f". '{Path(site.lmod_cmd).parents[1]}/init/bash'\n{lines}")
    where = json.loads((example.root / "results" / "where.json").read_text(encoding="utf-8"))
    assert where["session"] == "nights"
    assert where["astral"].startswith(f"{example.root}/.ozrepro/")
