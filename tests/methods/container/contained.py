"""A project of an ordinary user with Apptainer and a registry: what the tests of the container method start from."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from typing import TYPE_CHECKING

from tests.fake_cluster.containers import QUICK, TAG
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fake_cluster.fixtures import OrdinaryProject
    from tests.fake_cluster.registry import Registry

HUB = "library/python"
"""The base's repository as Docker Hub has it: `From: python:TAG` means this one at the settings' alias."""

DEFINITION = f"""Bootstrap: docker
From: python:{TAG}

%files
    $PWD/sessions/alpha-1.0-py3-none-any.whl /opt/alpha-1.0-py3-none-any.whl

%post
    python3 -m pip install --no-index /opt/alpha-1.0-py3-none-any.whl
"""
SPEC = """imports = ["alpha"]

[container]
definition = "sessions/work.def"
"""
NOXFILE = """import ozrepro


@ozrepro.session
def work(session):
    session.run("python", "-c", "import alpha, sys; print('alpha', alpha.VERSION, *sys.argv[1:])", *session.posargs)
"""


def contained(project: OrdinaryProject, registry: Registry, cache: Path | None = None, **more: str) -> OrdinaryProject:
    """Return a described session whose registry stands for Docker Hub; with a `cache`, an image in it is not built again."""
    project.write("pyproject.toml", f'[tool.ozrepro.registries]\n"docker.io" = "http://{registry.address}"\n')
    project.account.give(make_wheel(project.root / "sessions", "alpha", "1.0"))
    project.write("sessions/work.def", DEFINITION)
    project.write("noxfile.py", NOXFILE)
    project.spec(SPEC)
    shared = {"OZREPRO_CACHE": str(cache)} if cache else {}
    # Compressed as ozrepro does it.
    own = {name: value for name, value in project.environ.items() if name not in QUICK}
    return dataclasses.replace(project, environ={**own, **shared, **more})


def python(project: OrdinaryProject, code: str, *words: str, **more: str) -> str:
    """Return what a piece of Python prints in the session's image."""
    return project.done("run", "work", "--", "python", "-c", code, *words, **more)


def started(project: OrdinaryProject, *words: str, **more: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own, to be read from and killed."""
    return subprocess.Popen(
        project.account.command(project.programs / words[0], *words[1:], network=project.network),
        cwd=project.root,
        env={**project.environ, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def images(project: OrdinaryProject) -> list[Path]:
    """Return the image files, whole and begun, of a project's own store."""
    return sorted(path for path in project.store().rglob("*.sif") if "cache/oci" not in str(path))


@contextlib.contextmanager
def tmpfs(project: OrdinaryProject, size: str) -> Iterator[Path]:
    """Give a small file system of the user's; only root may mount one."""
    # Apptainer finds no mount point whose name has a space.
    folder = project.account.make_folder("disk").rename(project.account.folder / "disk")
    owner = f"uid={project.account.uid},gid={project.account.gid},mode=755,size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", owner, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
