"""Modules, conda and a venv of one lock, on the test site: the same payload, measured together."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from ozrepro.frontends.bench.cache_states import states_for
from ozrepro.frontends.bench.candidate import Candidate, Found, find
from ozrepro.frontends.bench.host import Place
from ozrepro.frontends.bench.launch import Starter, look
from ozrepro.frontends.bench.plan import Plan
from ozrepro.frontends.bench.result import Result
from ozrepro.frontends.bench.run import Setting, measure
from ozrepro.frontends.bench.workload import of_imports
from tests.conftest import Project
from tests.fake_cluster import Site
from tests.fake_cluster.channel import Channel
from tests.fake_cluster.fixtures import channel, site
from tests.methods.modules.modular import modular, quoted
from tests.wheels import make_wheel

__all__ = ["channel", "site"]

SPEC = """imports = ["numpy"]

[modules]
load = [{load}]
[modules.venv]
system-site-packages = true
requirements = ["alpha"]

[conda]
dependencies = ["python=3.10", "numpy=1.22"]
"""


@pytest.fixture
def three(project: Project, site: Site, channel: Channel) -> Project:
    """Give a project whose session has numpy by modules and by conda, built by both."""
    found = modular(project, site)
    make_wheel(project.wheelhouse, "alpha", "1.0", requires=("numpy",))
    project.spec(SPEC.format(load=quoted(found.scientific)))
    project = dataclasses.replace(found.project, environ={**found.project.environ, "CONDA_CHANNEL_ALIAS": channel.alias})
    project.done("lock", "work")
    for method in ("modules", "conda"):
        project.done("build", "work", "--method", method)
    return project


def test_the_methods_of_one_lock_are_measured_and_what_differs_between_them_is_known(three: Project) -> None:
    found = find(three.root, "work", three.environ)
    candidates = tuple(item.seen(look(item, three.environ, three.root)) for item in found.candidates)
    assert [item.name for item in candidates] == ["modules", "conda"]
    modules, conda = candidates
    assert modules.base != conda.base
    assert conda.base.startswith(conda.prefix)
    assert not modules.base.startswith(modules.prefix)
    assert conda.versions["numpy"] == "1.22.3"
    assert modules.versions["numpy"]
    assert modules.files < conda.files  # numpy comes from the module's tree
    assert len(modules.roots) > len(conda.roots)
    result = _measure(three, found, candidates)
    assert result.complete
    assert [row for row in result.rows if row.status] == []
    assert {(row.candidate, row.state) for row in result.rows} == {
        (name, state) for name in ("modules", "conda") for state in ("warm", "cold-client")
    }
    # A replayed environment costs nothing at a start: no module tool, no activation.
    assert {row.phases["environment"] for row in result.rows} == {0.0}
    if shutil.which("strace"):
        rows = {(row.candidate, row.state): row for row in result.counts}
        assert rows["modules", "cold-client"].opened > 10
        assert rows["modules", "cold-client"].requests["lookup"] > rows["modules", "warm"].requests["lookup"]


def _measure(project: Project, found: Found, candidates: tuple[Candidate, ...]) -> Result:
    work = Path(found.session.store.folder) / "bench"
    plan = Plan((of_imports("imports", found.session.spec.imports),), ("warm", "cold-client"), rounds=1, cold_rounds=1, warmups=1)
    caller = {**project.environ, "PATH": f"{project.environ['PATH']}:{os.path.dirname(shutil.which('strace') or '/')}"}
    with Starter(caller, project.root, work) as starter:
        states = states_for(plan.states, work)
        setting = Setting(starter, Place(2), Result("work", found.lock, {}, {}, {}, 0, ()), states)
        return measure(plan, candidates, setting, lambda _: None, lambda _: None)
