"""One list of command lines, through each front end: what is started in an image, beside it, and not at all, is the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ozrepro.environment import HOST_PROGRAMS, INSTALLERS, LAUNCHERS
from ozrepro.faststart.ready import find_ready
from tests.conftest import Project
from tests.methods.container.standin import boxed

NOXFILE = """
import json
import nox
import ozrepro


@ozrepro.session
def work(session):
    for words in json.loads(open("commands.json").read()):
        print("<next>", flush=True)
        try:
            session.run(*words)
        except nox.command.CommandFailed as error:
            print(f"<{error}>", flush=True)
"""
PROGRAM = '#!/bin/sh\necho "{name} ${{OF_IMAGE-outside}}"\n[ "$1" != -n ] || {{ shift 2; exec "$@"; }}\n'
SHOW = ("sh", "-c", 'echo "$0 ${OF_IMAGE-outside} $1"', "a b", "$HOME *")
INSTALLING = (
    *((name, "install", "six") for name in INSTALLERS),
    ("pip3.11", "--quiet", "install", "six"),
    ("python3", "-I", "-m", "pip", "install", "six"),
    ("/usr/bin/pip", "install", "six"),
    ("uv", "pip", "install", "six"),
    ("conda", "env", "update"),
)
REFUSED = {
    "would start its program outside the image": "refused: it would start its program outside",
    "cannot add to an image: it is read-only": "refused: it installs",
    "an image is read-only": "refused: it installs",
}


@pytest.fixture
def image(project: Project) -> Project:
    """Give a project whose session is an image, in which OF_IMAGE is set, and the programs of a cluster."""
    found = boxed(project)
    folder = found.root / "cluster bin"
    folder.mkdir()
    for name in (set(HOST_PROGRAMS) - {"apptainer"}) | {"pip", "uv"}:
        (folder / name).write_text(PROGRAM.format(name=name))
        (folder / name).chmod(0o755)
    (found.root / "mine" / "bin").mkdir(parents=True)
    (found.root / "mine" / "pyvenv.cfg").touch()
    shutil.copy(folder / "pip", found.root / "mine" / "bin" / "pip")
    (found.root / "pyproject.toml").write_text(f'[tool.ozrepro]\npath = ["{folder}"]\n')
    (found.root / "noxfile.py").write_text(NOXFILE)
    program = project.root.parent / "stand in" / "apptainer"
    program.write_text(program.read_text().replace('\nexec "$@"', '\nexec env OF_IMAGE=inside "$@"'))
    found.done("build", "work")
    return found


def expected(prefix: tuple[str, ...], folder: Path) -> dict[tuple[str, ...], str]:
    """Return command lines, and what each of them comes to."""
    found: dict[tuple[str, ...], str] = {
        SHOW: "a b inside $HOME *\n",
        (str(folder / "srun"), *SHOW): "refused: it would start its program outside",
        ("pip", "list"): "pip inside\n",
        ("pip", "install", "--target=lib", "six"): "pip inside\n",
        (str(folder.parent / "mine" / "bin" / "pip"), "install", "six"): "pip inside\n",
        ("uv", "run", "install"): "uv inside\n",
    }
    for name in LAUNCHERS:
        alone, astray, within = (name,), (name, *SHOW), (name, "-n", "2", *prefix, *SHOW)
        found |= dict.fromkeys((alone, astray), "refused: it would start its program outside")
        found[within] = f"{name} outside\na b inside $HOME *\n"
    for name in set(HOST_PROGRAMS) - {*LAUNCHERS, "apptainer"}:
        found[(name,)] = f"{name} outside\n"
    return {**found, **dict.fromkeys(INSTALLING, "refused: it installs")}


def started(project: Project, words: tuple[str, ...]) -> str:
    """Return what a command line printed, or why it was refused."""
    done = project.run(*words)
    why = next((reason for said, reason in REFUSED.items() if said in done.stderr), "")
    assert (done.returncode, "Traceback" in done.stderr) == (1 if why else 0, False), (words, done.stderr)
    return why or done.stdout


def started_by_nox(project: Project, commands: list[tuple[str, ...]]) -> list[str]:
    """Return the same of several command lines in one session of nox."""
    (project.root / "commands.json").write_text(json.dumps(commands))
    done = project.run("nox", "-s", "work")
    assert done.returncode == 0, done.stderr
    found = done.stdout.split("<next>\n")[1:]
    return [next((reason for said, reason in REFUSED.items() if said in text), text) for text in found]


def test_a_command_line_is_started_beside_an_image_in_it_or_not_at_all_alike(image: Project) -> None:
    ready = find_ready(str(image.root), "work", None, image.environ)
    assert ready is not None
    table = expected(ready.environment.prefix, image.root / "cluster bin")
    script = str(image.root / "job.sh")
    image.done("activate", "work", "--output", script)
    for start in (("ozrepro", "run", "work", "--"), ("ozrepro", "shell", "work", "--"), ("bash", script)):
        assert {words: started(image, (*start, *words)) for words in table} == table, start
    assert dict(zip(table, started_by_nox(image, list(table)), strict=True)) == table
