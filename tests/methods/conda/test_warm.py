"""What a warm start on conda packages does: as much as one on a plain venv, whatever the environment holds."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from tests.conftest import BIN, Project
from tests.fake_cluster.channel import Channel
from tests.faststart import strace
from tests.faststart.spellings import check_spellings
from tests.faststart.test_warm_path import LIMIT, WRITES
from tests.wheels import make_wheel

MORE = 5
"""Path-taking calls before the command that a conda session may cost over a venv's: its command is looked for in more folders."""

CONDA = "[conda]\ndependencies = [{packages}]\n"
SESSIONS = {
    "large": ("python=3.10", "numpy=1.22", "scipy", "astropy", "activates", "noarch-tool", "many-files"),
    "small": ("python=3.10",),
}
_REASON = strace.why_not()
needs_strace = pytest.mark.skipif(bool(_REASON), reason=_REASON or "strace works")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory, channel: Channel) -> Project:
    """Give two conda sessions, one of many packages and files and one of Python alone, and a venv beside them, all built."""
    folder = tmp_path_factory.mktemp("conda")
    root, home = folder / "a project", folder / "home"
    for made in (root / "sessions", home):
        made.mkdir(parents=True)
    make_wheel(folder / "wheels", "alpha")
    environ = {"HOME": str(home), "LANG": "C.UTF-8", "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull}
    environ |= {"PIP_FIND_LINKS": str(folder / "wheels"), "PIP_NO_INDEX": "1", "CONDA_CHANNEL_ALIAS": channel.alias}
    project = Project(root, environ)
    for name, packages in SESSIONS.items():
        project.spec(CONDA.format(packages=", ".join(f'"{text}"' for text in packages)), name)
    project.spec('[venv]\nrequirements = ["alpha"]\n', "plain")
    names = (*SESSIONS, "plain")
    (root / "noxfile.py").write_text(
        "import ozrepro\n"
        + "".join(f"\n\n@ozrepro.session\ndef {name}(session):\n    session.run('/bin/true', external=True)\n" for name in names),
        encoding="utf-8",
    )
    for name in names:
        project.done("lock", name)
        project.done("build", name)
        project.done("run", name, "--", "/bin/true")
        assert project.run("nox", "-s", name).returncode == 0
    # From here on no channel can be asked.
    return replace(project, environ={**environ, "CONDA_CHANNEL_ALIAS": (folder / "gone").as_uri()})


def _calls(project: Project, *words: str, program: str = "ozrepro", select: str = "%file") -> strace.Traced:
    # By the interpreter: in a path with a space pip lets a shell start it, whose calls are not ours.
    traced = strace.trace([sys.executable, str(BIN / program), *words], select, cwd=project.root, env=project.environ)
    assert traced.status == 0, traced.output
    return traced


def _before_command(traced: strace.Traced) -> int:
    return max(number for number, call in enumerate(traced.calls) if call.name == "execve" and not call.failed)


def _in_store(project: Project, traced: strace.Traced) -> int:
    return sum(any(f"{path}/".startswith(f"{project.store()}/") for path in call.paths[:2]) for call in traced.calls)


@needs_strace
def test_a_run_costs_what_one_on_a_venv_costs_however_large_the_environment(warm: Project) -> None:
    large, small, plain = (_calls(warm, "run", name, "--", "/bin/true") for name in (*SESSIONS, "plain"))
    assert _before_command(large) - _before_command(plain) <= MORE
    assert _in_store(warm, large) - _in_store(warm, small) == 1  # the folder of Python packages, which Python alone has not
    python = warm.prefix_of("large") / "bin" / "python"
    bare = strace.trace([str(python), "-c", "pass"], "%file", cwd=warm.root, env={"PATH": os.environ["PATH"]})
    assert bare.status == 0
    assert len(large.calls) - len(bare.calls) <= LIMIT + MORE


@needs_strace
def test_a_nox_start_of_conda_costs_what_one_of_a_venv_costs(warm: Project) -> None:
    large, small, plain = (_calls(warm, "-s", name, program="nox") for name in (*SESSIONS, "plain"))
    assert _in_store(warm, large) - _in_store(warm, small) == 1
    assert _in_store(warm, large) - _in_store(warm, plain) <= MORE
    assert _before_command(large) - _before_command(plain) <= MORE


@needs_strace
@pytest.mark.parametrize("words", [("ozrepro", "run", "large", "--", "/bin/true"), ("nox", "-s", "large")], ids=["run", "nox"])
def test_a_warm_start_starts_the_command_alone_and_asks_nobody(warm: Project, words: tuple[str, ...]) -> None:
    traced = _calls(warm, *words[1:], program=words[0], select="%file,%process,%network")
    started = [call.paths[0] for call in traced.named("execve") if not call.failed]
    assert started[1:] == ["/bin/true"]
    assert [call for call in traced.named("socket", "connect") if "AF_UNIX" not in call.text] == []
    assert not [call for call in traced.calls if "conda-meta/" in call.text]


@needs_strace
def test_a_warm_run_of_conda_writes_nothing(warm: Project) -> None:
    traced = _calls(warm, "run", "large", "--", "/bin/true", select="%file,%process")
    assert not [call for call in traced.named(*WRITES) if not call.failed]
    assert not traced.named("fork", "vfork", "clone", "clone3")


def test_a_warm_run_of_conda_loads_nothing_heavy_however_it_is_spelt(warm: Project) -> None:
    check_spellings(warm, "large", "conda")
