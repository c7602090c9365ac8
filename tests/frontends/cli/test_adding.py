"""`ozrepro add`: the description edited in place, locked, and as it was where that fails."""

from __future__ import annotations

import pytest

from ozrepro.frontends.cli.adding import way_to_add
from ozrepro.pipeline.session import open_session
from tests.conftest import Project
from tests.wheels import make_wheel

SPEC = """# mine
imports = ["alpha"]   # checked

[venv]
requirements = [
    "alpha",   # the first
]
"""


def test_a_package_is_put_into_the_description_and_the_lock(small: Project) -> None:
    path = small.spec(SPEC)
    small.done("lock")
    make_wheel(small.wheelhouse, "gamma", "1.0")
    done = small.ozrepro("add", "work", "gamma")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "work: sessions/work.lock written (venv)"
    assert done.stdout.splitlines()[1].startswith("+ gamma 1.0")
    assert path.read_text() == SPEC.replace("# the first\n", '# the first\n    "gamma",\n')
    assert "gamma added to venv.requirements of sessions/work.toml" in done.stderr
    assert small.done("lock", "--check") == "work: lock is up to date\n"


def test_the_only_session_need_not_be_named_and_a_version_is_replaced(small: Project) -> None:
    path = small.spec(SPEC)
    make_wheel(small.wheelhouse, "alpha", "9.0")
    done = small.ozrepro("add", "Alpha<9")
    assert done.returncode == 0, done.stderr
    assert "Alpha<9 takes the place of alpha in venv.requirements" in done.stderr
    assert '"Alpha<9",   # the first' in path.read_text()
    assert small.done("add", "Alpha<9") == "work: nothing to add: Alpha<9 is there\n"


def test_where_locking_fails_every_file_is_as_it_was(small: Project) -> None:
    path = small.spec(SPEC)
    small.done("lock")
    before = path.read_bytes(), small.lock().read_bytes()
    failed = small.ozrepro("add", "work", "nowhere-to-be-found")
    assert failed.returncode == 1
    assert "sessions/work.toml left as before" in failed.stderr
    assert (path.read_bytes(), small.lock().read_bytes()) == before


def test_what_is_no_package_and_what_is_no_session_is_refused_before_anything_is_written(small: Project) -> None:
    path = small.spec(SPEC)
    small.spec(SPEC, "other")
    before = path.read_bytes()
    for words, expected in (
        (("work",), "no package given"),
        (("nosuch", "beta"), "'nosuch' is not a session, and the session comes first"),
        (("work", "a b", "--what?"), "unrecognized arguments"),
        (("work", "a b", "c d"), "'c d' is not a requirement"),
        (("work", "beta", "--method", "conda"), "there is no [conda] table"),
    ):
        refused = small.ozrepro("add", *words)
        assert refused.returncode == 2, words
        assert expected in refused.stderr
    assert path.read_bytes() == before


def test_a_package_goes_into_every_method_that_names_packages(small: Project) -> None:
    path = small.spec('methods = ["modules", "container", "venv"]\n[modules]\nload = ["gcc/11"]\n[container]\n'
                      'definition = "a.def"\n[venv]\nrequirements = ["alpha"]\n')  # fmt: skip
    (small.root / "a.def").write_text("Bootstrap: docker\nFrom: x\n")
    done = small.ozrepro("add", "beta")
    assert done.returncode == 0, done.stderr
    assert "container stays as it is: its packages are in a.def; add beta to %post of a.def, such as: " in done.stderr
    assert "python3 -m pip install beta\n" in done.stderr
    assert "not locked: modules:" in done.stderr
    assert '[modules.venv]\nsystem-site-packages = true\nrequirements = ["beta"]' in path.read_text()
    assert '[venv]\nrequirements = ["alpha", "beta"]' in path.read_text()


def test_one_method_alone_is_edited_where_it_is_asked_for(small: Project) -> None:
    path = small.spec('methods = ["modules", "venv"]\n[modules]\nload = ["gcc/11"]\n[venv]\nrequirements = ["alpha"]\n')
    assert small.ozrepro("add", "work", "beta", "--method", "venv").returncode == 0
    assert "[modules.venv]" not in path.read_text()
    refused = small.ozrepro("add", "work", "beta", "--method", "nosuch")
    assert refused.returncode == 2


def test_a_package_goes_into_a_group_which_the_description_then_names(small: Project) -> None:
    path, project = small.spec(SPEC), small.root / "pyproject.toml"
    project.write_text(
        '[project]\nname = "x"\nversion = "1"\n[dependency-groups]\ndev = [{include-group = "more"}]  # mine\nmore = []\n'
    )
    make_wheel(small.wheelhouse, "gamma", "1.0")
    done = small.ozrepro("add", "--group", "dev", "gamma")
    assert done.returncode == 0, done.stderr
    assert 'dev = [{include-group = "more"}, "gamma"]  # mine' in project.read_text()
    assert '"--group dev",' in path.read_text()
    assert small.done("add", "--group", "dev", "gamma") == "work: nothing to add: gamma is there\n"


def test_a_group_that_no_method_takes_is_refused_before_anything_is_said_to_be_added(small: Project) -> None:
    small.spec('[conda]\ndependencies = ["six"]\n')
    project = small.root / "pyproject.toml"
    project.write_text('[project]\nname = "x"\nversion = "1"\n')
    refused = small.ozrepro("add", "--group", "dev", "gamma")
    assert refused.returncode == 2
    assert "added to" not in refused.stderr.replace("can be added to", "")
    assert "it takes no dependency group" in refused.stderr
    assert "ozrepro add work gamma\n" in refused.stderr
    assert project.read_text() == '[project]\nname = "x"\nversion = "1"\n'


@pytest.mark.parametrize(
    ("spec", "method", "expected"),
    [
        ('[venv]\nrequirements = ["alpha"]', "venv", "ozrepro add work beta"),
        ('[modules]\nload = ["gcc/11"]', "modules", "ozrepro add work beta"),
        ('[conda]\ndependencies = ["six"]', "conda", "ozrepro add work beta"),
        ('[conda]\nfile = "env.yml"', "conda", "add beta to dependencies of env.yml, then: ozrepro lock work"),
        ('[container]\nfrom = "venv"\n[venv]\nrequirements = []', "container", "ozrepro add work beta"),
        (
            '[container]\ndefinition = "a.def"',
            "container",
            "add beta to %post of a.def, such as: python3 -m pip install beta, then: ozrepro lock work",
        ),
        ('[container]\nimage = "docker://x/y:1"', "container", "name an image that has beta, then: ozrepro lock work"),
    ],
)
def test_each_method_has_its_own_way_to_get_a_package(project: Project, spec: str, method: str, expected: str) -> None:
    project.spec(spec)
    assert way_to_add(open_session(project.root, "work", {}), method, "beta") == expected
