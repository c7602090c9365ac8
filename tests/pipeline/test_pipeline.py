"""From spec to environment: what is refused, what is built once, what is reused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ozrepro.faststart import ready
from ozrepro.methods.reading import load_lock
from ozrepro.project.lock import Lock, write_text
from tests.conftest import BIN, Project
from tests.methods.container.standin import boxed, contents, say_inside, with_apptainer
from tests.wheels import make_wheel


def test_a_session_without_a_lock_is_refused_with_the_command_that_makes_one(small: Project) -> None:
    refused = small.ozrepro("run", "work", "--", "true")
    assert refused.returncode == 3
    assert refused.stderr.splitlines()[-1] == "  try: ozrepro lock work, then commit work.lock"


def test_a_locked_session_is_built_at_its_first_run_and_reused(small: Project) -> None:
    small.done("lock")
    first = small.ozrepro("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)")
    assert first.stdout == "1.0\n"
    assert first.stderr == "ozrepro: building venv.any for work\n"
    again = small.ozrepro("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)")
    assert (again.stdout, again.stderr) == ("1.0\n", "")


def test_a_changed_spec_is_refused_before_anything_runs(built: Project) -> None:
    built.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha", "beta"]\n')
    refused = built.ozrepro("run", "work", "--", "echo", "ran")
    assert refused.returncode == 3
    assert refused.stdout == ""
    assert "is out of date: sessions/work.toml changed since venv.any was locked" in refused.stderr
    assert "try: ozrepro lock work" in refused.stderr


def test_a_comment_in_the_spec_changes_nothing(built: Project) -> None:
    path = built.root / "sessions" / "work.toml"
    path.write_text(path.read_text() + "# a word\n")
    assert built.ozrepro("run", "work", "--", "true").stderr == ""


def test_a_corrupt_lock_is_refused_before_anything_runs(built: Project) -> None:
    built.lock().write_text(built.lock().read_text()[:-40])
    refused = built.ozrepro("run", "work", "--", "echo", "ran")
    assert refused.returncode == 3
    assert refused.stdout == ""
    assert "is damaged" in refused.stderr


def test_a_lock_copied_from_another_session_is_refused(built: Project) -> None:
    built.spec('imports = ["alpha", "beta"]\n\n[venv]\nrequirements = ["alpha"]\n', "other")
    built.lock("other").write_bytes(built.lock().read_bytes())
    refused = built.ozrepro("run", "other", "--", "true")
    assert refused.returncode == 3
    assert "is the lock of 'work', not of 'other'" in refused.stderr


def test_a_tampered_environment_is_found_named_and_built_again(built: Project) -> None:
    module = next(built.prefix().glob("lib/python3*/site-packages/alpha.py"))
    module.chmod(0o644)
    module.write_text("VERSION = 'evil'\n")
    for words in (("store", "verify"), ("verify", "work")):
        found = built.ozrepro(*words)
        assert found.returncode == 1
        assert "site-packages/alpha.py: was changed" in found.stderr
        assert "ozrepro build work --rebuild" in found.stderr
    # uv links files from its cache: the edit changed the cache too, and the rebuild must not take it back.
    built.done("build", "--rebuild")
    built.done("verify", "work", "--level", "2")
    assert built.done("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)") == "1.0\n"


def test_an_environment_that_was_removed_is_built_again(built: Project) -> None:
    subprocess.run(["chmod", "-R", "u+w", str(built.store() / "gens")], check=True)
    subprocess.run(["rm", "-rf", str(built.store() / "gens")], check=True)
    assert built.ozrepro("run", "work", "--", "true").returncode == 0


def test_a_store_elsewhere_is_used_by_several_projects(built: Project, tmp_path: Path) -> None:
    store = tmp_path / "shared store"
    built.done("build", OZREPRO_STORE=str(store))
    assert (store / "names").is_dir()
    other = Project(tmp_path / "second", built.environ)
    (other.root / "sessions").mkdir(parents=True)
    other.spec((built.root / "sessions" / "work.toml").read_text())
    other.lock().write_bytes(built.lock().read_bytes())
    assert "was built before" in other.done("build", OZREPRO_STORE=str(store))
    built.lock().unlink()
    assert "nothing to remove" in built.done("store", "gc", OZREPRO_STORE=str(store)), "another project's lock uses it"


def test_twelve_first_runs_at_once_build_once(small: Project) -> None:
    small.done("lock")
    words = [str(BIN / "ozrepro"), "run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)"]
    running = [subprocess.Popen(words, cwd=small.root, env=small.environ, stdout=-1, stderr=-1, text=True) for _ in range(12)]
    ended = [(*process.communicate(), process.returncode) for process in running]
    assert [(out, status) for out, _, status in ended] == [("1.0\n", 0)] * 12
    assert sum("building" in errors for _, errors, _ in ended) == 1
    assert len(list((small.store() / "gens").iterdir())) == 1


def test_a_locked_session_runs_without_network(built: Project) -> None:
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this machine allows no network namespace to this user")
    done = built.run("unshare", "-rn", str(BIN / "ozrepro"), "run", "work", "--", "python", "-c", "import alpha")
    assert done.returncode == 0, done.stderr


def test_a_new_python_gets_its_own_environment_beside_the_old_one(built: Project) -> None:
    """The key holds the interpreter: here a spec that excludes the running one has no other to take."""
    import platform

    built.spec(f'[venv]\npython = "!={platform.python_version()},>=3.10"\nrequirements = ["alpha"]\n', "other")
    done = built.ozrepro("lock", "other", PATH=str(BIN))
    assert done.returncode in (0, 4)


def test_the_warning_about_future_packages_names_them(project: Project) -> None:
    make_wheel(project.wheelhouse, "alpha", tag="cp39-cp39-manylinux2014_x86_64")
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    failed = project.ozrepro("lock")
    assert failed.returncode == 1
    assert "alpha" in failed.stderr


class TestMadeFromAnotherSection:
    """A container's definition made from the venv's section of the same lock; a stand-in builds the images."""

    @pytest.fixture
    def made(self, small: Project) -> Project:
        """Give a locked project whose image is made from its venv."""
        found = with_apptainer(small)
        (found.root / "base.sif").write_bytes(b"base")
        found.spec(
            'methods = ["container", "venv"]\n[venv]\nrequirements = ["alpha"]\n[container]\nfrom = "venv"\nbase = "base.sif"\n'
        )
        found.done("lock")
        return found

    def moved(self, made: Project) -> None:
        """Lock a newer alpha for the venv alone."""
        make_wheel(made.wheelhouse, "alpha", "2.0")
        made.done("lock", "--method", "venv", "--upgrade")

    def test_the_files_of_the_method_that_it_is_made_from_are_named_when_one_has_changed(self, made: Project) -> None:
        (made.root / "needs.txt").write_text("alpha\n")
        spec = made.spec(
            'methods = ["container", "venv"]\n[venv]\nrequirements = ["-r needs.txt"]\n[container]\nfrom = "venv"\nbase = "base.sif"\n'
        )
        made.done("lock")
        (made.root / "needs.txt").write_text("beta\n")
        refused = made.ozrepro("build", "--method", "container")
        assert refused.returncode == 3
        assert f"one of sessions/{spec.name}, needs.txt changed since container." in refused.stderr

    def test_the_section_says_what_it_was_made_from_and_is_locked_after_it(self, made: Project) -> None:
        lock = load_lock(made.root, "work")
        assert lock is not None
        venv, image = lock.section("venv", "any"), lock.section("container", "linux-64")
        assert venv is not None
        assert image is not None
        assert image.content["of"] == {"section": "venv.any", "digest": venv.digest}
        assert "alpha==1.0 \\" in image.content["generated"]
        made.done("lock", "--check")
        before = made.lock().read_bytes()
        made.done("lock")
        assert made.lock().read_bytes() == before

    def test_a_section_made_from_one_that_is_another_now_is_out_of_date(self, made: Project) -> None:
        made.done("run", "work", "--", "true")
        self.moved(made)
        said = "container.linux-64 was built from venv.any, which has changed since"
        for words in (("run", "work", "--", "true"), ("build",)):
            refused = made.ozrepro(*words)
            assert refused.returncode == 3
            assert f"is out of date: {said}" in refused.stderr
            assert "try: ozrepro lock work" in refused.stderr
        checked = made.ozrepro("lock", "--check")
        assert checked.returncode == 3
        assert "container.linux-64: was built from venv.any, which has changed since" in checked.stdout + checked.stderr
        assert made.ozrepro("run", "work", "--method", "venv", "--", "true").returncode == 0

    def test_locking_again_makes_a_section_from_its_changed_source(self, made: Project) -> None:
        self.moved(made)
        made.done("lock")
        assert '"alpha==2.0 \\\\"' in made.lock().read_text()
        made.done("lock", "--check")

    def test_a_section_whose_source_was_taken_out_of_the_lock_is_out_of_date(self, made: Project) -> None:
        lock = load_lock(made.root, "work")
        assert lock is not None
        made.lock().write_text(write_text(Lock("work", tuple(item for item in lock.sections if item.method == "container"))))
        refused = made.ozrepro("run", "work", "--", "true")
        assert refused.returncode == 3
        assert "was built from venv.any, which has changed since" in refused.stderr


class TestImages:
    """What a start compares, and what a rebuild on another machine accepts."""

    def ready(self, project: Project) -> ready.Ready | None:
        return ready.find_ready(str(project.root), "work", None, project.environ)

    def test_an_image_replaced_by_one_with_its_size_and_time_is_not_taken_without_a_look(self, project: Project) -> None:
        found = boxed(project)
        found.done("run", "work", "--", "true")
        image = found.prefix() / "image.sif"
        taken = self.ready(found)
        assert taken is not None
        assert str(image) in taken.watched
        before = image.stat()
        other = found.root / "other"
        other.write_bytes(b"hostile!")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(other, found.root / "own image.sif")
        assert image.stat().st_size == before.st_size
        assert self.ready(found) is None
        refused = found.ozrepro("run", "work", "--", "echo", "ran")
        assert (refused.returncode, refused.stdout) == (3, "")
        assert "own image.sif: is another image than the one that was locked" in refused.stderr

    def test_an_image_whose_mode_was_changed_is_looked_at_and_taken_again(self, project: Project) -> None:
        found = boxed(project)
        found.done("run", "work", "--", "true")
        (found.root / "own image.sif").chmod(0o600)
        assert self.ready(found) is None
        found.done("run", "work", "--", "true")
        assert self.ready(found) is not None

    def test_an_image_with_other_versions_inside_is_refused_with_a_list_until_accepted(self, project: Project) -> None:
        found = with_apptainer(project)
        (found.root / "base.sif").write_bytes(b"base")
        (found.root / "sessions" / "work.def").write_text("Bootstrap: localimage\nFrom: base.sif\n%post\n  true\n")
        found.spec('[container]\ndefinition = "sessions/work.def"\n')
        found.done("lock")
        shutil.rmtree(found.store())
        say_inside(found, contents(distributions={"alpha": ["2.0", ["alpha"]], "beta": ["1.0", ["beta"]]}))
        refused = found.ozrepro("build")
        assert refused.returncode == 1
        assert "other versions inside than the lock:\n  ~ alpha 1.0 -> 2.0\n  + beta 1.0\n" in refused.stderr
        assert "--accept" in refused.stderr
        found.done("lock", "--accept", "--method", "container")
        found.done("build")
        assert '{ name = "alpha", version = "2.0" }' in found.lock().read_text()

    def test_an_image_of_other_bytes_with_the_same_versions_is_taken_and_told(self, project: Project) -> None:
        found = with_apptainer(project)
        (found.root / "base.sif").write_bytes(b"base")
        (found.root / "sessions" / "work.def").write_text("Bootstrap: localimage\nFrom: base.sif\n%post\n  true\n")
        found.spec('[container]\ndefinition = "sessions/work.def"\n')
        found.done("lock")
        shutil.rmtree(found.store())
        (found.root / "BUILD").write_text("2")
        done = found.ozrepro("build")
        assert done.returncode == 0, done.stderr
        assert "it has the same 2 packages as the locked one and the same files; only its bytes differ" in done.stderr

    def test_a_folder_that_is_copied_is_named_when_a_file_in_it_has_changed(self, project: Project) -> None:
        found = with_apptainer(project)
        (found.root / "base.sif").write_bytes(b"base")
        (found.root / "data").mkdir()
        for name in ("one.txt", "data/deep.txt", "data.csv"):
            (found.root / name).write_text("1")
        (found.root / "large").write_bytes(bytes((1 << 20) + 1))
        copied = "one.txt /opt/\n  data /opt/data\n  *.csv /opt/\n  large /opt/"
        (found.root / "sessions" / "work.def").write_text(f"Bootstrap: localimage\nFrom: base.sif\n%files\n  {copied}\n")
        found.spec('[container]\ndefinition = "sessions/work.def"\n')
        found.done("lock")
        found.done("build")
        (found.root / "data" / "deep.txt").write_text("2")
        files = "sessions/work.toml, sessions/work.def, one.txt, data/, *.csv, large"
        for words in (("build",), ("verify", "work")):
            refused = found.ozrepro(*words)
            assert refused.returncode == 3
            assert f"is out of date: one of {files} changed since container." in refused.stderr
        assert f"one of {files} changed" in found.done("status")
        assert found.done("run", "work", "--", "echo", "as locked") == "as locked\n", "a start must not read gigabytes"

    def test_an_image_is_not_built_in_a_job(self, project: Project) -> None:
        found = with_apptainer(project)
        (found.root / "base.sif").write_bytes(b"base")
        (found.root / "sessions" / "work.def").write_text("Bootstrap: localimage\nFrom: base.sif\n")
        found.spec('[container]\ndefinition = "sessions/work.def"\n')
        found.done("lock")
        shutil.rmtree(found.store())
        refused = found.ozrepro("build", SLURM_JOB_ID="7")
        assert refused.returncode == 1
        assert "an image is not built in a Slurm job" in refused.stderr
        assert "try: on a login node: ozrepro build" in refused.stderr

    def test_verify_looks_inside_again_and_lists_what_differs(self, project: Project) -> None:
        found = boxed(project)
        found.done("verify", "work", "--level", "2")
        found.lock().write_text(found.lock().read_text().replace("bash 5.2", "bash 5.3"))
        wrong = found.ozrepro("verify", "work", "--level", "2")
        assert wrong.returncode == 1
        assert "~ bash 5.3 -> 5.2" in wrong.stdout + wrong.stderr

    def test_a_bound_path_that_is_not_here_is_a_reason_to_take_another_method(self, small: Project) -> None:
        found = with_apptainer(small)
        (found.root / "own.sif").write_bytes(b"an image")
        there = found.root / "data"
        there.mkdir()
        tables = '[venv]\nrequirements = ["alpha"]\n[container]\nimage = "own.sif"\nbind = ["data:/data"]\n'
        found.spec(f'methods = ["container", "venv"]\n{tables}')
        found.done("lock")
        assert found.ozrepro("run", "work", "--", "true").returncode == 0
        there.rmdir()
        (found.root / "own.sif").touch()  # a warm start would leave the answer to Apptainer
        taken = found.ozrepro("run", "work", "--", "true")
        assert taken.returncode == 0
        assert f"skipping container: {there}, which bind names, is not here" in taken.stderr
        alone = found.ozrepro("run", "work", "--method", "container", "--", "true")
        assert alone.returncode == 4

    @pytest.mark.parametrize("key", ["SINGULARITY", "APPTAINER"])
    def test_a_singularity_is_taken_where_there_is_no_apptainer(self, project: Project, key: str) -> None:
        found = with_apptainer(project)
        program = found.root.parent / "stand in" / "apptainer"
        if key == "SINGULARITY":
            said = program.read_text().replace("apptainer version 1.4.5", "singularity-ce version 4.1.2")
            program.with_name("singularity").write_text(said)
            program.with_name("singularity").chmod(0o755)
            program.unlink()
        (found.root / "own.sif").write_bytes(b"an image")
        found.spec('[container]\nimage = "own.sif"\n')
        found.done("lock")
        code = 'printf "%s" "$' + key + "ENV_PYTHONNOUSERSITE$" + key + '_HOME"'
        assert found.done("run", "work", "--", "sh", "-c", code) == f"1{found.environ['HOME']}"
