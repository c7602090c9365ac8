"""Candidates: the built methods of a lock, and any other environment."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.environment import Environment
from ozrepro.errors import BuildError, LockError, NoMethodError, UsageError
from ozrepro.frontends.bench.candidate import Candidate, beside, find, of_environment, roots_of
from ozrepro.frontends.bench.host import fs_facts, host_facts
from tests.conftest import Project
from tests.wheels import make_wheel


def test_the_built_method_of_a_lock_is_a_candidate(built: Project) -> None:
    found = find(built.root, "work", built.environ)
    [one] = found.candidates
    assert (one.name, one.prefix) == ("venv", str(built.prefix()))
    assert one.versions == {"alpha": "1.0", "beta": "1.5"}
    assert one.files > 0
    assert one.bytes > 0
    assert one.build_seconds is not None
    assert one.roots[0] == str(built.prefix())
    assert found.lock == hashlib.sha256(built.lock().read_bytes()).hexdigest()
    assert found.refused == ()


def test_a_package_of_several_versions_in_the_lock_has_the_one_that_was_built(project: Project) -> None:
    """Others are for other Pythons; one that no version is installed of is none of the candidate's."""
    for version in ("1.0", "2.0"):
        make_wheel(project.wheelhouse, "alpha", version)
        make_wheel(project.wheelhouse, "beta", version)
    older = [
        'alpha==1.0; python_version<"3.12"',
        'alpha==2.0; python_version>="3.12"',
    ]
    gone = ['beta==1.0; python_version<"3.6"', 'beta==2.0; python_version>="3.40"']
    listed = ", ".join(f"'{line}'" for line in (*older, *gone))
    project.spec(f"[venv]\nrequirements = [{listed}]\n")
    project.done("lock", "work")
    assert "1.0" in project.lock().read_text(encoding="utf-8")
    project.done("build", "work")
    [one] = find(project.root, "work", project.environ).candidates
    assert one.versions["alpha"] == ("2.0" if sys.version_info >= (3, 12) else "1.0")
    assert "beta" not in one.versions


def test_a_method_that_is_not_locked_or_not_built_is_told_with_its_reason(built: Project) -> None:
    spec = built.root / "sessions" / "work.toml"
    spec.write_text(spec.read_text() + '[conda]\ndependencies = ["python=3.12"]\n')
    found = find(built.root, "work", built.environ)
    assert [candidate.name for candidate in found.candidates] == ["venv"]
    assert found.refused == ("conda: not locked for this platform (linux-64): ozrepro lock work --method conda",)


@pytest.mark.parametrize("methods", [(), ("venv",)])
def test_a_method_that_is_not_built_is_told_apart_and_a_failed_build_of_all_there_is_ends_with_its_error(
    small: Project, methods: tuple[str, ...]
) -> None:
    small.done("lock", "work")
    found = find(small.root, "work", small.environ, methods)
    assert (found.candidates, found.refused, found.unbuilt) == ((), (), ("venv",))

    def full(method: str, form: str) -> None:
        raise BuildError(f"{method}: no space left for a {form}")

    with pytest.raises(BuildError, match="venv: no space left for a tree"):
        find(small.root, "work", small.environ, methods, full)


def test_a_session_without_a_lock_says_how_to_lock_it(small: Project) -> None:
    for methods in ((), ("venv",)):
        with pytest.raises(LockError, match="no lock file"):
            find(small.root, "work", small.environ, methods)


def test_without_a_lock_a_method_that_cannot_be_locked_is_told_with_what_it_lacks(small: Project) -> None:
    spec = small.root / "sessions" / "work.toml"
    spec.write_text(spec.read_text() + '\n[container]\nimage = "hello.sif"\n')
    nothing = {**small.environ, "PATH": ""}
    with pytest.raises(NoMethodError, match="container: no Apptainer here"):
        find(small.root, "work", nothing, ("container",))
    with pytest.raises(LockError, match="no lock file"):
        find(small.root, "work", nothing)


def test_a_method_that_is_asked_for_must_be_there(built: Project) -> None:
    with pytest.raises(UsageError, match="unknown method 'magic'"):
        find(built.root, "work", built.environ, ("magic",))
    with pytest.raises(UsageError, match="describes no method 'conda'"):
        find(built.root, "work", built.environ, ("venv", "conda"))
    spec = built.root / "sessions" / "work.toml"
    spec.write_text(spec.read_text() + '[conda]\ndependencies = ["python=3.12"]\n')
    with pytest.raises(NoMethodError, match=r"conda: not locked for this platform .*\n  try: ozrepro lock work --method conda"):
        find(built.root, "work", built.environ, ("conda",))
    with pytest.raises(NoMethodError, match=r"not every requested method of .*\n  conda: not locked for this platform"):
        find(built.root, "work", built.environ, ("venv", "conda"))


@pytest.mark.parametrize("methods", [(), ("venv",)])
def test_a_lock_that_no_longer_answers_the_spec_is_the_error_that_run_has(built: Project, methods: tuple[str, ...]) -> None:
    built.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha"]\n')
    with pytest.raises(LockError, match=r"is out of date: sessions/work.toml changed") as caught:
        find(built.root, "work", built.environ, methods)
    assert f"ozrepro: {caught.value}" in built.ozrepro("run", "work", "--method", "venv", "--", "true").stderr


def test_what_is_nearest_to_being_measured_is_what_is_to_be_done(built: Project) -> None:
    built.spec('imports = ["alpha"]\n\n[conda]\ndependencies = ["python=3.12"]\n\n[venv]\nrequirements = ["alpha"]\n')
    with pytest.raises(LockError, match=r"is out of date.*\n  try: ozrepro lock work"):
        find(built.root, "work", built.environ, ("conda", "venv"))


def test_any_environment_can_be_a_candidate_with_files_and_bytes_counted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("12345")
    (tmp_path / "link").symlink_to("nowhere")
    found = of_environment("mine", Environment(path=(str(tmp_path),)), tmp_path)
    assert (found.files, found.bytes) == (2, 5 + len("nowhere"))
    assert found.about().name == "mine"


def test_the_roots_are_the_folders_of_a_shared_file_system_outermost_only(tmp_path: Path) -> None:
    for name in ("prefix/bin", "apps/numpy/bin", "apps/numpy/lib/python3.11/site-packages", "apps/gcc/lib64"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "apps" / "gcc")
    variables = {
        "PYTHONPATH": f"{tmp_path}/apps/numpy/lib/python3.11/site-packages",
        "LD_LIBRARY_PATH": f"{tmp_path}/link/lib64:/usr/lib:/nowhere",
        "OTHER": "no path",
    }
    found = roots_of(
        Environment(path=(f"{tmp_path}/prefix/bin", f"{tmp_path}/apps/numpy/bin"), variables=variables), f"{tmp_path}/prefix"
    )
    assert found == tuple(f"{tmp_path}/{name}" for name in ("apps/gcc", "apps/numpy", "link", "prefix"))


def test_an_images_root_is_the_folder_of_its_file(tmp_path: Path) -> None:
    for name in ("gen/env", "project", "apps/apptainer/bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "project" / "own.sif").write_text("image")
    image = tmp_path / "gen" / "env" / "image.sif"
    image.symlink_to(tmp_path / "project" / "own.sif")
    apptainer = str(tmp_path / "apps" / "apptainer" / "bin")
    environment = Environment(
        base=(apptainer,), prefix=(f"{apptainer}/apptainer", "exec", str(image)), container_env_prefix="APPTAINERENV_"
    )
    found = of_environment("container", environment, image.parent)
    assert found.roots == tuple(f"{tmp_path}/{name}" for name in ("apps/apptainer", "gen/env", "project"))


def test_a_moved_candidate_has_its_own_paths_moved_and_no_others(tmp_path: Path) -> None:
    old, new = str(tmp_path / "env"), str(tmp_path / "copy" / "env")
    environment = Environment(
        path=(f"{old}/bin", f"{old}-other/bin", "/usr/bin"),
        variables={"A": f"{old}/lib:{old}:/x{old}", "B": f"{old}2"},
        prefix=("run", f'type=bind,"source={old}"', f"{old}/image.sif"),
    )
    moved = Candidate("x", environment, old, (old, "/apps")).moved(new)
    assert moved.prefix == new
    assert moved.roots == (new, "/apps")
    assert moved.environment.path == (f"{new}/bin", f"{old}-other/bin", "/usr/bin")
    assert moved.environment.variables == {"A": f"{new}/lib:{new}:/x{old}", "B": f"{old}2"}
    assert moved.environment.prefix == ("run", f'type=bind,"source={new}"', f"{new}/image.sif")


def test_what_a_look_found_is_taken_over_and_an_interpreter_elsewhere_is_asked_too(here: Candidate, tmp_path: Path) -> None:
    seen = here.seen({"base": str(tmp_path / "apps"), "python": "3.11.2", "blas": "openblas 0.3"})
    assert seen.base == str(tmp_path / "apps")
    assert seen.versions == {"python": "3.11.2", "blas": "openblas 0.3"}
    assert str(tmp_path / "apps") in seen.roots
    assert here.seen({"base": "/usr", "python": "3.11.2"}).roots == here.roots
    image = replace(here, environment=Environment(container_env_prefix="APPTAINERENV_"))
    assert image.seen({"base": "/opt", "python": "3.11.2"}).base == "/opt, inside the image"


def test_the_facts_of_the_machine_name_no_user(tmp_path: Path) -> None:
    text = str(host_facts(2)) + str(fs_facts([str(tmp_path)]))
    assert os.path.expanduser("~") not in text
    assert fs_facts([str(tmp_path)])["type"]
    assert host_facts(2)["cpus"] == 2


def test_a_store_on_a_disk_of_this_node_does_not_make_shared_modules_local() -> None:
    """The requests go to the servers that others wait for, wherever the environment is."""
    told = fs_facts(["/scratch/store", "/apps/gcc", "/apps/numpy"], MOUNTS)
    assert (told["type"], told["also"]) == ("lustre", ["xfs"])
    assert fs_facts(["/scratch/store"], MOUNTS) == {"type": "xfs", "options": ["relatime", "rw"]}
    assert fs_facts(["/nowhere"], "") == {"type": "", "options": []}


MOUNTS = """\
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 8:2 / /scratch rw,relatime - xfs /dev/sda2 rw
23 21 0:50 / /apps rw,relatime - lustre 10.0.0.1@o2ib:/apps rw,flock
"""


def test_what_lies_on_a_disk_of_this_node_is_not_asked_of_the_file_system_that_all_share() -> None:
    """A container's program may be installed on the node; a module's is on a shared file system, perhaps another one."""
    text = "\n".join(
        f"{number} 1 0:{number} / {point} rw - {kind} {kind} rw"
        for number, (point, kind) in enumerate((("/", "ext4"), ("/fred", "lustre"), ("/apps", "nfs4"), ("/tmp", "tmpfs")))
    )
    folders = ("/fred/env", "/apps/python", "/opt/apptainer", "/tmp/tree")
    assert beside(folders, "/fred/env", text) == ("/fred/env", "/apps/python")
    assert beside(folders, "/opt/env", text) == folders
    assert beside(folders, "/fred/env", "") == folders
