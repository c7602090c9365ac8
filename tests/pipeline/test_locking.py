"""Locking again: what still fits stays, on every platform; what moves is told; a package to upgrade is asked by its own name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ozrepro.errors import UsageError
from ozrepro.methods.reading import load_lock
from ozrepro.pipeline import describing
from ozrepro.pipeline.locking import Change, lock_session
from ozrepro.pipeline.session import open_session
from ozrepro.project.lock import Lock
from tests.conftest import Project
from tests.fake_cluster import Site
from tests.fake_cluster.fixtures import site
from tests.methods.container.standin import contents, say_inside, with_apptainer
from tests.methods.modules.modular import SPEC, modular, quoted
from tests.wheels import make_wheel

__all__ = ["site"]

CONDA = """[conda]
channels = ["file://{channel}"]
dependencies = [{asked}]
platforms = ["linux-64", "linux-aarch64", "osx-arm64"]
"""


def lock_again(project: Project, *upgrade: str, everything: bool = False, **more: str) -> list[str]:
    """Lock as the command does, to upgrade these packages; return what was told."""
    said: list[str] = []
    session = open_session(project.root, "work", {**project.environ, **more})
    lock_session(session, said.append, change=Change(upgrade if upgrade or everything else None))
    return said


def locked(project: Project) -> Lock:
    """Return the lock as it stands."""
    lock = load_lock(project.root, "work")
    assert lock is not None
    return lock


def versions(project: Project) -> dict[str, dict[str, str]]:
    """Return the locked versions by section."""
    session = open_session(project.root, "work", project.environ)
    return {section.title: dict(describing.versions(session, section)) for section in locked(project).sections}


def publish(channel: Path, *packages: tuple[str, str, tuple[str, ...]]) -> None:
    """Give a channel these packages, for any machine; none of them is ever fetched."""
    records = {}
    for name, version, depends in packages:
        digest = hashlib.sha256(f"{name}{version}".encode()).hexdigest()
        record = {"name": name, "version": version, "build": "h0_0", "build_number": 0, "depends": list(depends), "size": 10}
        records[f"{name}-{version}-h0_0.conda"] = {
            **record,
            "subdir": "noarch",
            "noarch": "generic",
            "sha256": digest,
            "md5": digest[:32],
        }
    for subdir in ("noarch", "linux-64", "linux-aarch64", "osx-arm64"):
        (channel / subdir).mkdir(parents=True, exist_ok=True)
        table = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": records if subdir == "noarch" else {}}
        (channel / subdir / "repodata.json").write_text(json.dumps({**table, "repodata_version": 1}))


class TestConda:
    OLD = (("pkg", "1.0", ()), ("_under_score", "1.0", ()), ("other", "1", ()))
    NEW = (("pkg", "2.0", ()), ("_under_score", "2.0", ()), ("needs", "1", ("pkg >=2",)))

    @pytest.fixture
    def channel(self, project: Project) -> Path:
        """Give a channel whose old packages are locked for three platforms, and that has newer ones since."""
        folder = project.root.parent / "channel"
        publish(folder, *self.OLD)
        project.spec(CONDA.format(channel=folder, asked='"pkg", "_under_score"'))
        assert lock_again(project) == []
        publish(folder, *self.OLD, *self.NEW)
        return folder

    def test_another_dependency_moves_nothing_on_any_platform(self, project: Project, channel: Path) -> None:
        before = versions(project)
        project.spec(CONDA.format(channel=channel, asked='"pkg", "_under_score", "other"'))
        assert lock_again(project) == []
        assert versions(project) == {title: {**found, "other": "1"} for title, found in before.items()}
        assert len(before) == 3

    def test_packages_that_another_dependency_moves_are_told_for_each_platform(self, project: Project, channel: Path) -> None:
        project.spec(CONDA.format(channel=channel, asked='"pkg", "_under_score", "needs"'))
        assert sorted(lock_again(project)) == [
            f"conda.{platform}: pkg 1.0 -> 2.0" for platform in ("linux-64", "linux-aarch64", "osx-arm64")
        ]
        assert {found["_under_score"] for found in versions(project).values()} == {"1.0"}

    @pytest.mark.parametrize("asked", ["pkg", "PKG"])
    def test_one_package_is_upgraded_by_its_name_on_each_platform(self, project: Project, channel: Path, asked: str) -> None:
        assert len(lock_again(project, asked)) == 3
        assert {tuple(found.items()) for found in versions(project).values()} == {(("_under_score", "1.0"), ("pkg", "2.0"))}

    def test_a_name_that_python_would_write_otherwise_is_upgraded(self, project: Project, channel: Path) -> None:
        assert len(lock_again(project, "_under_score")) == 3
        assert {found["_under_score"] for found in versions(project).values()} == {"2.0"}

    def test_a_misspelt_name_is_refused_with_the_right_one(self, project: Project, channel: Path) -> None:
        before = project.lock().read_bytes()
        for wrong, right in (("pkgg", "pkg"), ("under-scor", "_under_score")):
            with pytest.raises(UsageError, match=f"no package {wrong} is locked in work") as caught:
                lock_again(project, wrong)
            assert caught.value.hint == f"did you mean {right}?"
        assert project.lock().read_bytes() == before


class TestVenv:
    @pytest.fixture
    def newer(self, small: Project) -> Project:
        """Give a locked project of which an index has newer packages since."""
        assert lock_again(small)[1:] == []  # a line on what a wheelhouse does not serve
        make_wheel(small.wheelhouse, "alpha", "1.1", requires=("beta>=1",))
        make_wheel(small.wheelhouse, "beta", "1.6")
        make_wheel(small.wheelhouse, "gamma")
        return small

    def test_one_package_is_upgraded_and_told(self, newer: Project) -> None:
        assert lock_again(newer, "beta")[-1] == "venv.any: beta 1.5 -> 1.6"
        assert versions(newer) == {"venv.any": {"alpha": "1.0", "beta": "1.6"}}
        assert lock_again(newer, "beta")[-1] == "venv.any: beta stays 1.6"

    def test_another_requirement_moves_nothing(self, newer: Project) -> None:
        newer.spec('[venv]\nrequirements = ["alpha", "gamma"]\n')
        assert not any("->" in line for line in lock_again(newer))
        assert versions(newer) == {"venv.any": {"alpha": "1.0", "beta": "1.5", "gamma": "1.0"}}

    def test_packages_that_another_requirement_moves_are_told(self, newer: Project) -> None:
        newer.spec('[venv]\nrequirements = ["alpha>1", "beta"]\n')
        assert lock_again(newer)[-1] == "venv.any: alpha 1.0 -> 1.1"
        assert versions(newer) == {"venv.any": {"alpha": "1.1", "beta": "1.5"}}

    def test_a_misspelt_name_is_refused_with_the_right_one(self, newer: Project) -> None:
        done = newer.ozrepro("lock", "work", "--upgrade", "alpa", "betta", "nothing-like-it")
        assert done.returncode == 2
        assert "no package alpa, betta, nothing-like-it is locked in work\n  try: did you mean alpha, beta?" in done.stderr


class TestVenvForSeveralPythons:
    def test_the_locked_versions_for_each_python_stay(self, project: Project) -> None:
        spec = '[venv]\npython = ">=3.10,<3.13"\nrequirements = [{}]\n'
        for version, python in (("1.0", "<3.11"), ("2.0", ">=3.11")):
            make_wheel(project.wheelhouse, "alpha", version, python=python)
        make_wheel(project.wheelhouse, "beta")
        project.spec(spec.format('"alpha"'))
        lock_again(project)
        before = versions(project)["venv.any"]["alpha"]
        for version, python in (("1.1", "<3.11"), ("2.1", ">=3.11")):
            make_wheel(project.wheelhouse, "alpha", version, python=python)
        project.spec(spec.format('"alpha", "beta"'))
        lock_again(project)
        assert versions(project)["venv.any"] == {"alpha": before, "beta": "1.0"}
        assert lock_again(project, "alpha")[-1] == "venv.any: alpha 1.0 | 2.0 -> 1.1 | 2.1"


class TestModules:
    def test_the_other_cluster_stays_and_a_new_one_takes_its_versions(self, project: Project, site: Site) -> None:
        make_wheel(project.wheelhouse, "alpha", "1.0", requires=("numpy",))
        found = modular(project, site)
        found.project.spec(SPEC.format(load=quoted(found.scientific)))
        own = found.project
        lock_again(own, OZREPRO_METHOD="modules", OZREPRO_PLATFORM="milan")
        first = locked(own).sections
        make_wheel(project.wheelhouse, "alpha", "1.1", requires=("numpy",))
        lock_again(own, OZREPRO_METHOD="modules", OZREPRO_PLATFORM="skylake")
        assert {title: found["alpha"] for title, found in versions(own).items()} == {
            "modules.linux-64/milan": "1.0",
            "modules.linux-64/skylake": "1.0",
        }
        assert locked(own).sections[:1] == first
        said = lock_again(own, "alpha", "numpy", OZREPRO_METHOD="modules", OZREPRO_PLATFORM="skylake")
        assert "modules.linux-64/skylake: alpha 1.0 -> 1.1" in said
        assert any(line.startswith("modules.linux-64/skylake: numpy stays ") for line in said), "it comes with the modules"
        assert locked(own).sections[:1] == first


class TestContainer:
    def test_what_an_image_has_is_a_package_that_can_be_asked_for(self, project: Project) -> None:
        found = with_apptainer(project)
        (found.root / "base.sif").write_bytes(b"base")
        (found.root / "work.def").write_text("Bootstrap: localimage\nFrom: base.sif\n")
        found.spec('[container]\ndefinition = "work.def"\n')
        lock_again(found)
        with pytest.raises(UsageError, match="no package alpa is locked in work") as caught:
            lock_again(found, "alpa")
        assert caught.value.hint == "did you mean alpha?"
        assert lock_again(found, "alpha")[-1] == "container.linux-64: alpha stays 1.0"
        say_inside(found, contents(distributions={"alpha": ["2.0", ["alpha"]]}))
        assert lock_again(found, everything=True)[-1] == "container.linux-64: alpha 1.0 -> 2.0"

    @pytest.mark.parametrize(
        "table", ['image = "gone.sif"', 'from = "venv"\nbase = "gone.sif"', 'definition = "work.def"', 'image = "~/gone.sif"']
    )
    def test_an_image_file_that_this_machine_lacks_keeps_no_other_method_from_being_locked(
        self, project: Project, table: str
    ) -> None:
        found = with_apptainer(project)
        make_wheel(found.wheelhouse, "alpha", "1.0")
        (found.root / "work.def").write_text("Bootstrap: localimage\nFrom: gone.sif\n")
        found.spec(f'methods = ["container", "venv"]\n[venv]\nrequirements = ["alpha"]\n[container]\n{table}\n')
        done = found.ozrepro("lock")
        assert done.returncode == 0, done.stderr
        assert "not locked: container: there is no " in done.stderr
        assert "gone.sif, which its image is made of" in done.stderr
        assert done.stdout == "work: sessions/work.lock written (venv)\n"
        alone = found.ozrepro("lock", "--method", "container")
        assert alone.returncode == 4
        assert "gone.sif, which its image is made of" in alone.stderr
