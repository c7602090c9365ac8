"""Every method's environment as one file: built, started, looked at and rebuilt as a tree is, with nothing of a tree in the store."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.fake_cluster import Site
from tests.fake_cluster.channel import Channel
from tests.fake_cluster.fixtures import OrdinaryProject
from tests.methods.modules.modular import SPEC, modular, quoted
from tests.wheels import make_wheel

TOOLS = ("squashfuse_ll", "mksquashfs")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="squashfuse_ll or mksquashfs is not installed")

CONDA = """imports = ["numpy"]

[conda]

dependencies = ["python=3.10", "numpy=1.22"]
"""
WHERE = "import os, sys; print(sys.prefix, sys.executable, os.getuid())"


def with_file(project: Project) -> Project:
    """Return a project whose user asks for files."""
    return dataclasses.replace(project, environ={**project.environ, "OZREPRO_FORM": "file"})


@pytest.fixture
def venv(small: Project) -> Project:
    """Give a project of the venv method."""
    return small


@pytest.fixture
def modules(project: Project, site: Site) -> Project:
    """Give a project of the modules method."""
    found = modular(project, site)
    make_wheel(project.wheelhouse, "alpha", "1.0", requires=("numpy",))
    project.spec(SPEC.format(load=quoted(found.scientific)))
    return dataclasses.replace(found.project, environ={**found.project.environ, "OZREPRO_METHOD": "modules"})


@pytest.fixture
def conda(project: Project, channel: Channel) -> Project:
    """Give a project of the conda method."""
    project.spec(CONDA)
    return dataclasses.replace(project, environ={**project.environ, "CONDA_CHANNEL_ALIAS": channel.alias})


@pytest.fixture(params=["venv", "modules", "conda"])
def any_method(request: pytest.FixtureRequest) -> Project:
    """Give a locked project of each method, in a folder whose name has a space."""
    made: Project = request.getfixturevalue(request.param)
    made.done("lock", "work")
    return made


def test_one_lock_gives_the_same_program_from_a_tree_and_from_a_file(any_method: Project) -> None:
    lock, one = any_method.lock().read_bytes(), with_file(any_method)
    words = ("run", "work", "--", "python", "-c", WHERE)
    built = one.ozrepro("build", "work")
    assert built.returncode == 0, built.stderr
    assert "as one file" in built.stderr
    (generation,) = (one.store() / "gens").iterdir()
    assert sorted(path.name for path in generation.iterdir()) == ["env", "env.sqfs", "generation.json", "start"]
    assert list((generation / "env").iterdir()) == []
    first, warm = one.done(*words), one.done(*words)
    assert first == warm == f"{generation}/env {generation}/env/bin/python {os.getuid()}\n"
    assert any_method.lock().read_bytes() == lock
    tree = any_method.done(*words, OZREPRO_FORM="tree")
    assert tree.split("/gens/")[0] == first.split("/gens/")[0]
    assert tree != first


def test_a_file_is_described_verified_and_listed_as_a_tree_is(any_method: Project) -> None:
    one = with_file(any_method)
    one.done("build", "work")
    assert "verified" in one.done("verify", "work", "--level", "2")
    (item,) = [
        item for item in json.loads(one.done("status", "work", "--json"))["sessions"][0]["methods"] if "generation" in item
    ]
    assert item["files"] == 3
    assert item["bytes"] == os.stat(Path(item["generation"]) / "env.sqfs").st_size
    assert "whole" in one.done("store", "verify")
    assert one.done("store", "gc").startswith("nothing to remove")
    # What was built is taken where nothing says otherwise.
    assert any_method.done("run", "work", "--", "python", "-c", "print(1)") == "1\n"
    assert len(list((one.store() / "gens").iterdir())) == 1


def test_the_variables_of_a_session_are_those_of_the_tree(any_method: Project) -> None:
    def of(project: Project) -> dict[str, str]:
        said = project.done("run", "work", "--", "env", "-0", LD_LIBRARY_PATH="/the/caller's")
        found = dict(entry.partition("=")[::2] for entry in said.split("\0") if entry)
        generation = Path(found["VIRTUAL_ENV"] if "VIRTUAL_ENV" in found else found["CONDA_PREFIX"]).parent
        keys = ("OZREPRO_KEY", "OZREPRO_FORM", "_", "SHLVL", "PWD", "OLDPWD")
        return {name: value.replace(str(generation), "GENERATION") for name, value in found.items() if name not in keys}

    assert of(with_file(any_method)) == of(any_method)


def test_nox_runs_a_session_from_its_file(venv: Project) -> None:
    (venv.root / "noxfile.py").write_text(
        "import ozrepro\n\n\n@ozrepro.session\ndef work(session):\n"
        "    session.run('python', '-c', 'import alpha, sys; print(alpha.__file__)')\n"
        "    session.run('python', '-c', 'import os; os._exit(3)', success_codes=[3])\n"
    )
    one = with_file(venv)
    said = one.run("nox", "-s", "work")
    assert said.returncode == 0, said.stderr
    assert "/env/lib/python" in said.stdout
    again = one.run("nox", "-s", "work")
    assert (again.returncode, again.stdout) == (0, said.stdout)


def test_a_jobs_script_starts_the_file_without_python_and_activation_is_refused(venv: Project) -> None:
    one = with_file(venv)
    one.done("lock", "work")
    one.done("build", "work")
    one.done("activate", "work", "--output", "job.sh")
    said = one.run("bash", "job.sh", "python", "-c", "import alpha; print(alpha.__file__)")
    assert (said.returncode, "/env/lib/python" in said.stdout) == (0, True), said.stderr
    refused = one.ozrepro("activate", "work")
    assert refused.returncode == 2
    assert "is one file, which cannot be mounted for a shell that is already there" in refused.stderr
    launcher = one.ozrepro("run", "work", "--", "srun", "python")
    assert launcher.returncode == 1
    assert "try: srun … ozrepro run work -- python …" in launcher.stderr


def test_an_ordinary_user_builds_and_runs_a_file_without_a_network(ordinary: OrdinaryProject) -> None:
    for name, requires in (("alpha", ("beta>=1",)), ("beta", ())):
        make_wheel(ordinary.wheelhouse, name, "1.0", requires=requires)
    ordinary.account.give(ordinary.wheelhouse)
    ordinary.spec('imports = ["alpha", "beta"]\n\n[venv]\nrequirements = ["alpha"]\n')
    ordinary.done("lock", "work", OZREPRO_FORM="file")
    offline = ordinary.offline
    offline.done("build", "work", OZREPRO_FORM="file")
    said = offline.done("run", "work", "--", "python", "-c", f"import alpha; {WHERE}", OZREPRO_FORM="file")
    assert said.split()[-1] == str(ordinary.account.uid)
    made = offline.done("run", "work", "--", "sh", "-c", "touch made && stat -c %u made", OZREPRO_FORM="file")
    assert made.split() == [str(ordinary.account.uid)]


def test_where_no_file_can_be_made_the_tree_is_taken_and_said(venv: Project, tmp_path: Path) -> None:
    """The base PATH has both tools here, so their absence is shown by a machine without user namespaces, in one of its own."""
    venv.done("lock", "work")
    limited = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    program = shutil.which("ozrepro", path=venv.environ["PATH"])
    assert program is not None
    words = ("unshare", "-r", "-U", "sh", "-c", limited, "sh", program, "build", "work")
    said = venv.run(*words, OZREPRO_FORM="file")
    if "Permission denied" in said.stderr:
        pytest.skip("this user may not limit user namespaces")
    assert said.returncode == 0, said.stderr
    assert "work: the form is tree, not file: " in said.stderr
    assert " lets nobody make namespaces (sysctl user.max_user_namespaces = 0)" in said.stderr
    assert "; ask the centre for user namespaces and FUSE\n" in said.stderr


def test_launchers_start_the_tree_and_the_file_alike(any_method: Project) -> None:
    show = "import os, sys; print(sys.prefix, os.environ['OZREPRO_METHOD'], os.environ['OZREPRO_KEY'], *sys.argv[1:])"
    for one in (any_method, with_file(any_method)):
        one.done("build", "work")
        expected = one.done("run", "work", "--", "python", "-c", show, "a  b")
        launcher = str(one.store() / "bin" / "work" / "python")
        said = one.run(launcher, "-c", show, "a  b")
        assert (said.returncode, said.stdout) == (0, expected), said.stderr
        assert one.run(f"{launcher[:-6]}ozrepro-check").returncode == 0
        assert one.run(launcher, "-c", "raise SystemExit(42)").returncode == 42
        assert one.done("check", "work").endswith(" can start here\n")
