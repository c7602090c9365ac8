"""A commit of a git repository in the two methods that add Python packages to something else: modules and conda."""

from __future__ import annotations

from pathlib import Path

from ozrepro.methods.reading import load_lock
from tests.conftest import Project
from tests.fake_cluster import Site
from tests.fake_cluster.channel import Channel
from tests.methods.conda.test_method import conda
from tests.methods.modules.modular import modular
from tests.repositories import NEEDS_GIT, address, make_repository, seen_at
from tests.wheels import make_wheel

pytestmark = NEEDS_GIT
SHOW = ("python", "-c", "import gamma; print(gamma.BUILT_WITH)")


def check(project: Project, made: str) -> None:
    """Lock, build, lock again without changes, and build again elsewhere."""
    project.done("lock", "work")
    text = project.lock().read_bytes()
    lock = load_lock(project.root, "work")
    assert lock is not None
    (package,) = lock.sections[0].content["package"]
    assert package["url"] == address("gamma", made)
    assert package["files"][0]["name"] == "gamma-1.0-py3-none-any.whl"
    assert project.done("run", "work", "--", *SHOW) == "1.0\n"
    project.done("lock", "--check", "work")
    project.done("lock", "work")
    assert project.lock().read_bytes() == text
    elsewhere = {"OZREPRO_STORE": str(project.root.parent / "other"), "OZREPRO_CACHE": str(project.root.parent / "other cache")}
    assert project.done("run", "work", "--", *SHOW, **elsewhere) == "1.0\n"


def test_a_commit_is_built_with_the_modules_python(project: Project, site: Site, tmp_path: Path) -> None:
    found = modular(project, site)
    make_wheel(project.wheelhouse, "helper-tool", "1.0")
    found.project.environ.update(seen_at(tmp_path / "hub"))
    made = make_repository(tmp_path / "hub", "gamma")
    requirement = f"gamma @ {address('gamma', made)}"
    found.spec(site.names["python"], imports=("gamma",), more=f'[modules.venv]\nrequirements = ["{requirement}"]\n')
    check(found.project, made)


def test_a_commit_is_taken_in_pip_of_an_environment_file(project: Project, channel: Channel, tmp_path: Path) -> None:
    found = conda(project, channel)
    make_wheel(project.wheelhouse, "helper-tool", "1.0")
    found.environ.update(seen_at(tmp_path / "hub"))
    made = make_repository(tmp_path / "hub", "gamma")
    text = f"dependencies:\n  - python=3.10\n  - noarch-tool\n  - pip:\n      - gamma @ {address('gamma', made)}\n"
    (project.root / "environment.yml").write_text(text, encoding="utf-8")
    found.spec('imports = ["gamma"]\n[conda]\nfile = "environment.yml"\n')
    check(found, made)
