"""A lock and each of its sections are read once in a process, whatever the command asks of them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from tests.conftest import Project
from tests.extensions.squashed.conftest import install_plugin
from tests.fake_cluster import Site
from tests.fake_cluster.channel import Channel
from tests.fake_cluster.fixtures import channel, site
from tests.methods.container.standin import with_apptainer
from tests.methods.modules.modular import SPEC, modular, quoted
from tests.needs import UNPACKS
from tests.wheels import make_wheel

__all__ = ["channel", "site"]

COUNTING = str(Path(__file__).with_name("counting.py"))
COMMANDS = {
    "build": ("build", "work"),
    "run": ("run", "work", "--", "true"),
    "status": ("status", "work", "--json"),
    "verify": ("verify", "work", "--level", "2"),
}


def count(project: Project, python: str, words: tuple[str, ...]) -> dict[str, int]:
    """Run a command that must succeed, and return how often it has read the lock and each section."""
    file = project.root.parent / "counts.json"
    done = project.run(python, COUNTING, str(file), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, int] = json.loads(file.read_text())
    return found


def check(project: Project, *sections: str, python: str = sys.executable) -> None:
    """Lock, then go through the commands; `sections` are the methods whose sections each of them reads."""
    for method in sections:
        count(project, python, ("lock", "work", "--method", method))
    for name, words in COMMANDS.items():
        if name == "run":
            for record in (project.store() / "ready").iterdir():
                record.unlink()
        counts = count(project, python, words)
        assert set(counts.values()) == {1}, (name, counts)
        assert {title.partition(".")[0] for title in counts} == {"lock", *sections}, (name, counts)


def test_a_venv_is_read_once(small: Project) -> None:
    check(small, "venv")


@UNPACKS
def test_an_image_and_the_section_that_it_is_made_from_are_read_once(small: Project) -> None:
    found = with_apptainer(small)
    (found.root / "base.sif").write_bytes(b"base")
    found.spec(
        'methods = ["container", "venv"]\n[venv]\nrequirements = ["alpha"]\n[container]\nfrom = "venv"\nbase = "base.sif"\n'
    )
    check(found, "venv", "container")


def test_a_plug_in_s_section_is_read_once(small: Project, tmp_path: Path) -> None:
    small.spec('imports = ["alpha"]\n[squashed]\nrequirements = ["alpha"]\n')
    check(small, "squashed", python=str(install_plugin(tmp_path / "installed")))


def test_conda_packages_are_read_once(project: Project, channel: Channel) -> None:
    project.spec('[conda]\ndependencies = ["activates"]\n')
    check(replace(project, environ={**project.environ, "CONDA_CHANNEL_ALIAS": channel.alias}), "conda")


def test_modules_and_the_venv_on_them_are_read_once(project: Project, site: Site) -> None:
    make_wheel(project.wheelhouse, "alpha", requires=("numpy",))
    found = modular(project, site)
    found.project.spec(SPEC.format(load=quoted(found.scientific)))
    check(found.project, "modules")
