"""A definition made from another method's section, and what this site adds to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.errors import LockError
from ozrepro.methods import Change
from ozrepro.methods.container.apptainer import Mount
from ozrepro.methods.container.from_lock import at_this_site, generate, source_section, unlike_source
from ozrepro.methods.container.generate import is_made, of_conda
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
        spec, site, said = load_spec(project.root, "work"), site_of(project), list[str]()
        section = source_section(spec, site, Change(sections=lock.sections))
        lines = generate(section, spec, site, said.append)
        assert is_made(lines)
        assert lines[0] == "# Made by ozrepro from venv.any of work.lock: change the lock, not this text."
        assert lines[2] == f"From: docker.io/library/python:3.{sys.version_info.minor}-slim"
        assert [line for line in lines if "==" in line] == ["alpha==1.0 \\", "beta==1.5 \\"]
        assert "source 1.0 is locked as a source archive: the image is made without it" in said
        assert generate(section, spec, site, print) == lines

    def test_a_made_definition_that_installs_other_files_than_its_section_is_told(self, locked: tuple[Project, Lock]) -> None:
        project, lock = locked
        spec, site = load_spec(project.root, "work"), site_of(project)
        section = source_section(spec, site, Change(sections=lock.sections))
        lines = generate(section, spec, site, print)
        assert unlike_source(lines, section, spec, site) == []
        first = lines.index("alpha==1.0 \\")
        other = [*lines[: first + 1], f"    --hash=sha256:{'0' * 64}", *lines[first + 2 :]]
        less = [*lines[:first], *lines[first + 2 :]]
        more = [*lines[:first], "evil==1.0 \\", f"    --hash=sha256:{'0' * 64}", *lines[first:]]
        assert all(map(is_made, (other, less, more)))
        installs, lacks = "installs '{}', which venv.any does not have", "lacks '{}' of venv.any"
        assert unlike_source(other, section, spec, site) == [installs.format("alpha==1.0"), lacks.format("alpha==1.0")]
        assert unlike_source(less, section, spec, site) == [lacks.format("alpha==1.0")]
        assert unlike_source(more, section, spec, site) == [installs.format("evil==1.0")]

    def test_each_version_that_is_locked_for_some_python_is_in_the_list(self, project: Project) -> None:
        """Whatever Python the base has: pip takes the one whose marker holds."""
        for version in ("1.0", "2.0"):
            make_wheel(project.wheelhouse, "alpha", version)
        project.spec(
            "[venv]\nrequirements = ['alpha==1.0; python_version<\"3.12\"', 'alpha==2.0; python_version>=\"3.12\"']\n"
            '[container]\nfrom = "venv"\n'
        )
        project.done("lock", "--method", "venv")
        spec, site, lock = load_spec(project.root, "work"), site_of(project), load_lock(project.root, "work")
        assert lock is not None
        lines = generate(source_section(spec, site, Change(sections=lock.sections)), spec, site, print)
        assert is_made(lines)
        assert [line.partition(" ;")[0] for line in lines if "==" in line] == ["alpha==1.0", "alpha==2.0"]

    def test_a_missing_section_to_make_a_definition_from_is_named(self, locked: tuple[Project, Lock]) -> None:
        project, _ = locked
        spec, site = load_spec(project.root, "work"), site_of(project)
        elsewhere = Section("venv", "other", f"sha256:{'0' * 64}", {})
        for others in ((), (elsewhere,)):
            with pytest.raises(LockError, match=r"has no section venv\.any, which the image is made from") as caught:
                source_section(spec, site, Change(sections=others))
            assert "ozrepro lock work" in caught.value.hint


class TestHere:
    def test_channels_and_folders_of_this_site_are_seen_while_it_is_built(self, project: Project) -> None:
        channel = project.root.parent / "the channel" / "conda-forge"
        (project.root / "pyproject.toml").write_text(f'[tool.ozrepro.channels]\nconda-forge = "{channel.as_uri()}"\n')
        text = "\n".join(of_conda("b.sif", EXPLICIT, "", {}, "conda.linux-64 of work.lock")) + "\n"
        found, mounts, _ = at_this_site(text, site_of(project))
        assert found == text.replace(FORGE, channel.as_uri())
        assert mounts == (
            Mount(str(channel), str(channel), read_only=True),
            Mount(str(project.wheelhouse), str(project.wheelhouse), read_only=True),
        )

    def test_pip_in_the_image_takes_the_caller_s_wheelhouse_also_by_a_path_with_a_space(
        self, project: Project, tmp_path: Path
    ) -> None:
        make_wheel(project.wheelhouse, "alpha", "1.0")
        _, _, pip = at_this_site("", site_of(project))
        config = tmp_path / "pip.conf"
        config.write_text(pip)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(tmp_path / "out"), "alpha"]
        environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PIP_CONFIG_FILE": str(config),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["alpha-1.0-py3-none-any.whl"]

    def test_an_index_with_a_login_is_in_pip_s_file_alone(self, project: Project) -> None:
        text = "\n".join(of_conda("b.sif", EXPLICIT, "", {}, "conda.linux-64 of work.lock")) + "\n"
        environ = {"PIP_INDEX_URL": "https://me:s3cret@index.example/simple", "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}
        found, mounts, pip = at_this_site(text, site_of(project, **environ))
        assert "index-url = https://me:s3cret@index.example/simple\n" in pip
        assert "s3cret" not in found
        assert mounts == ()
