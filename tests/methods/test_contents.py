"""What wheels do to an environment that another installer has made first: on modules, and what pip adds to conda packages."""

from __future__ import annotations

import pytest

from tests.conftest import Project
from tests.fake_cluster.channel import Channel
from tests.methods.conda.test_method import conda, describe
from tests.methods.modules.modular import Modular
from tests.python.test_contents import poison
from tests.wheels import make_wheel


@pytest.mark.parametrize("paths", [("conda-meta/history", "lib/python3.10/this.py"), ("conda-meta/more-1.0-0.json",)])
def test_a_wheel_that_pip_adds_may_not_touch_what_conda_has_installed(
    project: Project, channel: Channel, paths: tuple[str, ...]
) -> None:
    found = conda(project, channel)
    make_wheel(found.wheelhouse, "evil", modules={"evil.py": "", **{f"evil-1.0.data/data/{path}": "HIJACK\n" for path in paths}})
    describe(found, "python=3.10", more='pip = ["evil"]')
    found.done("lock")
    finished = found.ozrepro("build")
    assert finished.returncode == 1, finished.stderr
    assert [path for path in paths if path not in finished.stderr] == []
    assert "evil 1.0 replaces" in finished.stderr or "a package of pip brings" in finished.stderr
    assert list((found.store() / "names").iterdir()) == []


def test_what_pip_adds_to_conda_packages_is_compared_with_its_archive(project: Project, channel: Channel) -> None:
    found = conda(project, channel)
    make_wheel(found.wheelhouse, "alpha")
    describe(found, "python=3.10", more='pip = ["alpha"]')
    found.done("lock")
    found.done("build")
    poison(found.store() / "cache", "alpha.py", "print('POISON')\n")
    finished = found.ozrepro("build", "--rebuild")
    assert finished.returncode == 1
    assert "alpha 1.0: its files are not those that were first installed from this archive" in finished.stderr
    assert "try: the same command again" in finished.stderr
    found.done("build", "--rebuild")
    assert found.done("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)") == "1.0\n"


def test_a_venv_on_modules_is_compared_with_its_archives(toolchain: Modular) -> None:
    poison(toolchain.project.store() / "cache", "alpha.py", "raise SystemExit('POISON')\n")
    finished = toolchain.project.ozrepro("build", "work", "--rebuild")
    assert finished.returncode == 0, finished.stderr
    assert "the packages are fetched again" in finished.stderr
    assert toolchain.project.done("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)") == "1.0\n"


def test_a_wheel_on_modules_may_not_replace_what_the_venv_has_itself(work: Modular) -> None:
    config = "home = /usr/bin\ninclude-system-site-packages = true\n"
    make_wheel(work.project.wheelhouse, "alpha", modules={"alpha.py": "", "alpha-1.0.data/data/pyvenv.cfg": config})
    work.project.done("lock", "work", "--method", "modules")
    finished = work.project.ozrepro("build", "work")
    assert finished.returncode == 1
    assert "alpha 1.0 replaces pyvenv.cfg, which is the environment's own" in finished.stderr
