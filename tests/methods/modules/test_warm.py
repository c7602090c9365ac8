"""What a warm start on modules does: a stat for each file that decides, no Lmod, no shell."""

from __future__ import annotations

import os
import sys

import pytest

from tests.conftest import BIN, Project
from tests.fake_cluster import Site
from tests.faststart import strace
from tests.faststart.spellings import check_spellings
from tests.faststart.test_warm_path import LIMIT, WRITES
from tests.methods.modules.modular import Modular, modular
from tests.wheels import make_wheel

MORE = 60
"""Path-taking calls that up to 40 modulefiles and rc files may cost over the venv method's bound (issue 3)."""

_REASON = strace.why_not()
needs_strace = pytest.mark.skipif(bool(_REASON), reason=_REASON or "strace works")
COUNT = 40


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Modular:
    """Give a built session of 35 modules and 40 distributions, and beside it a venv session of the same distributions."""
    folder = tmp_path_factory.mktemp("modules")
    root, home = folder / "a project", folder / "home"
    for made in (root / "sessions", home):
        made.mkdir(parents=True)
    for number in range(COUNT):
        make_wheel(folder / "wheels", f"tiny{number:02d}")
    environ = {"HOME": str(home), "LANG": "C.UTF-8", "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull}
    environ |= {"PIP_FIND_LINKS": str(folder / "wheels"), "PIP_NO_INDEX": "1"}
    found = modular(Project(root, environ), site, "easybuild", "ozstar")
    wanted = ", ".join(f'"tiny{number:02d}"' for number in range(COUNT))
    more = f"[modules.venv]\nrequirements = [{wanted}]\n"
    found.spec(site.names["scipy-bundle"], "gcc/11.3.0", site.names["python"], more=more)
    found.project.spec(f"[venv]\nrequirements = [{wanted}]\n", "plain")
    for name in ("work", "plain"):
        found.project.done("lock", name)
        found.project.done("build", name)
        found.project.done("run", name, "--", "true")
    return found


def _calls(project: Project, *words: str, select: str = "%file") -> strace.Traced:
    # By the interpreter: in a path with a space pip lets a shell start it, whose calls are not ours.
    traced = strace.trace([sys.executable, str(BIN / "ozrepro"), *words], select, cwd=project.root, env=project.environ)
    assert traced.status == 0, traced.output
    return traced


def _before_exec(traced: strace.Traced) -> int:
    return max(number for number, call in enumerate(traced.calls) if call.name == "execve" and not call.failed)


@needs_strace
def test_the_modules_cost_at_most_sixty_calls_more_than_a_venv(large: Modular) -> None:
    text = large.project.lock().read_text()
    assert 35 <= text.count("requested = ") <= 40
    with_modules = _calls(large.project, "run", "work", "--", "/bin/true")
    plain = _calls(large.project, "run", "plain", "--", "/bin/true")
    # What comes after the exec is the command's own: its loader looks into each directory of the modules' LD_LIBRARY_PATH.
    assert _before_exec(with_modules) - _before_exec(plain) <= MORE
    python = large.project.prefix_of("work") / "bin" / "python"
    variables = large.variables()
    bare = strace.trace([str(python), "-c", "pass"], "%file", cwd=large.project.root, env=variables)
    assert len(with_modules.calls) - len(bare.calls) <= LIMIT + MORE


@needs_strace
def test_a_warm_start_starts_nothing_and_writes_nothing(large: Modular) -> None:
    traced = _calls(large.project, "run", "work", "--", "/bin/true", select="%file,%process,%network")
    started = [call for call in traced.named("execve") if not call.failed]
    assert [call.paths[0] for call in started][1:] == ["/bin/true"]
    assert not traced.named("fork", "vfork", "clone", "clone3", "socket", "connect")
    assert not [call for call in traced.named(*WRITES) if not call.failed]
    assert not [call for call in traced.calls if "lmod" in call.text.lower() and call.name == "execve"]


def test_a_warm_run_of_modules_loads_nothing_heavy_however_it_is_spelt(large: Modular) -> None:
    check_spellings(large.project, "work", "modules")
