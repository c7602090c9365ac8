"""Requirements that are commits of git repositories: built once when they are locked, wherever a user writes them."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ozrepro.project.toml import loads
from tests.conftest import Project
from tests.repositories import HOST, NEEDS_GIT, address, commit, git, make_repository, seen_at
from tests.wheels import make_wheel

pytestmark = NEEDS_GIT


@pytest.fixture
def hub(project: Project, tmp_path: Path) -> Path:
    """Give a folder whose repositories git finds at an https address; `project` has what builds them in its wheelhouse."""
    make_wheel(project.wheelhouse, "helper-tool", "1.0")
    make_wheel(project.wheelhouse, "beta", "1.0")
    project.environ.update(seen_at(tmp_path / "hub"))
    return tmp_path / "hub"


def locked(project: Project) -> dict[str, dict[str, object]]:
    """Return the packages of the lock by name."""
    return {item["name"]: item for item in loads(project.lock().read_text(encoding="utf-8"))["venv"]["any"]["package"]}


def spec(project: Project, *requirements: str) -> None:
    lines = ", ".join(map(json.dumps, requirements))
    project.spec(f'imports = ["gamma"]\n[venv]\nplatforms = ["linux-x86_64"]\nrequirements = [{lines}]\n')


def refused(project: Project, *words: str, **more: str) -> str:
    """Lock, insist that it fails without a traceback, and return what was said."""
    done = project.ozrepro("lock", "work", **more)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    return done.stderr


def without_git(project: Project, tmp_path: Path) -> str:
    """Return a PATH with the programs of the tests' own and Python, and no git."""
    folder = tmp_path / "no git"
    folder.mkdir()
    python = shutil.which("python3", path=project.environ["PATH"])
    assert python is not None
    (folder / "python3").symlink_to(python)
    return str(folder)


def test_a_commit_is_built_once_and_from_then_on_git_is_not_needed(project: Project, hub: Path, tmp_path: Path) -> None:
    spec(project, f"gamma @ {address('gamma', make_repository(hub, 'gamma'))}", "beta")
    project.done("lock", "work")
    text = project.lock().read_bytes()
    found = locked(project)["gamma"]
    assert found["url"] == address("gamma", git(hub / "lab" / "gamma", "rev-parse", "HEAD"))
    assert [item["name"] for item in found["files"]] == ["gamma-1.0-py3-none-any.whl"]  # type: ignore[attr-defined]
    shutil.rmtree(hub)
    path = without_git(project, tmp_path)
    project.done("lock", "work", PATH=path)
    assert project.lock().read_bytes() == text
    project.done("lock", "--check", "work", PATH=path)
    assert project.done("run", "work", "--", "python", "-c", "import gamma; print(gamma.BUILT_WITH)", PATH=path) == "1.0\n"


def test_another_machine_builds_the_commit_with_what_is_locked(project: Project, hub: Path, tmp_path: Path) -> None:
    spec(project, f"gamma @ {address('gamma', make_repository(hub, 'gamma'))}")
    project.done("lock", "work")
    text = project.lock().read_bytes()
    make_wheel(project.wheelhouse, "helper-tool", "2.0")
    elsewhere = {"OZREPRO_STORE": str(tmp_path / "store"), "OZREPRO_CACHE": str(tmp_path / "cache")}
    built = project.ozrepro("build", "work", **elsewhere)
    assert built.returncode == 0, built.stderr
    assert "building gamma 1.0 from" in built.stderr
    assert "byte for byte" not in built.stderr
    assert project.done("run", "work", "--", "python", "-c", "import gamma; print(gamma.BUILT_WITH)", **elsewhere) == "1.0\n"
    project.done("lock", "work", **elsewhere)
    assert project.lock().read_bytes() == text
    project.done("lock", "work", "--upgrade", **elsewhere)
    assert project.lock().read_bytes() != text


@pytest.mark.parametrize("where", ["nested", "group", "extra", "source"])
def test_a_commit_is_taken_wherever_requirements_are_written(project: Project, hub: Path, where: str) -> None:
    folder = "pkg/gamma" if where in ("nested", "source") else ""
    made = make_repository(hub, "gamma", folder=folder)
    line = f"gamma @ {address('gamma', made, folder)}"
    project_table = '[project]\nname = "mine"\nversion = "1"\n'
    pyproject = {
        "group": f'[dependency-groups]\ndev = ["{line}"]\n',
        "extra": f'{project_table}[project.optional-dependencies]\nx = ["{line}"]\ny = ["gone @ git+{HOST}/lab/gone@main"]\n'
        "[tool.uv]\npackage = false\n",
        "source": f'{project_table}dependencies = ["gamma"]\n[tool.uv]\npackage = false\n[tool.uv.sources]\n'
        f'gamma = {{ git = "{HOST}/lab/gamma", rev = "{made}", subdirectory = "{folder}" }}\n',
    }
    if where in pyproject:
        (project.root / "pyproject.toml").write_text(pyproject[where], encoding="utf-8")
    (project.root / "more").mkdir()
    (project.root / "more" / "in.txt").write_text(f"# a note\n{line} ; python_version >= '3.8'\n", encoding="utf-8")
    (project.root / "top.txt").write_text("-r more/in.txt\n", encoding="utf-8")
    words = {"nested": "-r top.txt", "group": "--group dev", "extra": "-e .[x]"}
    spec(project, words.get(where, "-e ."))
    project.done("lock", "work")
    assert locked(project)["gamma"]["url"] == address("gamma", made, folder)
    project.done("lock", "--check", "work")
    assert project.done("run", "work", "--", "python", "-c", "import gamma; print(gamma.BUILT_WITH)") == "1.0\n"


def test_extras_and_versions_of_the_commit_s_package_count(project: Project, hub: Path) -> None:
    made = make_repository(hub, "gamma")
    spec(project, f"gamma[all] @ {address('gamma', made)} ; sys_platform == 'linux'", "gamma>=2")
    refused(project, "you require gamma>=2")
    other = make_repository(hub, "gamma", "2.0")
    spec(project, f"gamma @ {address('gamma', made)}", f"gamma @ {address('gamma', other)}")
    said = refused(project, address("gamma", made), address("gamma", other))
    assert "file://" not in said


def test_what_a_repository_lacks_is_named_with_the_next_step(project: Project, hub: Path, tmp_path: Path) -> None:
    made = make_repository(hub, "gamma", folder="python")
    where = f"{HOST}/lab/gamma"
    spec(project, f"gamma @ {address('gamma', 'ab' * 20)}")
    refused(project, f"{where}: has no commit {'ab' * 20}", f"git ls-remote {where}")
    spec(project, f"gamma @ {address('gamma', made)}")
    refused(project, "has no pyproject.toml or setup.py", "#subdirectory=python")
    spec(project, f"gamma @ {address('gamma', made, 'other/place')}")
    refused(project, "in other/place of the commit", "#subdirectory=python")
    git(hub / "lab" / "gamma", "tag", "--annotate", "-m", "x", "v1")
    spec(project, f"gamma @ {address('gamma', git(hub / 'lab' / 'gamma', 'rev-parse', 'v1'), 'python')}")
    refused(project, "is not a commit but a tag of one", f"write git+{where}@{made}")
    spec(project, f"gamma @ {address('gone', made)}")
    refused(project, f"{HOST}/lab/gone: cannot be cloned")
    refused(project, "there is no git on PATH", "module load git", PATH=without_git(project, tmp_path))
    make_repository(hub, "inner")
    git(hub / "lab" / "gamma", "submodule", "add", "--quiet", (hub / "lab" / "inner").as_uri(), "vendor/inner")
    spec(project, f"gamma @ {address('gamma', commit(hub / 'lab' / 'gamma'), 'python')}")
    refused(project, "has submodules, which are not fetched: vendor/inner")
    link = hub / "lab" / "gamma" / "out"
    link.symlink_to("/tmp")
    spec(project, f"gamma @ {address('gamma', commit(hub / 'lab' / 'gamma'), 'out')}")
    refused(project, "has")


def test_a_backend_that_fails_is_told_in_its_words(project: Project, hub: Path) -> None:
    made = make_repository(hub, "gamma", backend="def build_wheel(*words):\n    raise SystemExit('no compiler')\n")
    spec(project, f"gamma @ {address('gamma', made)}")
    refused(project, "cannot compile gamma", "no compiler")
    spec(project, f"other @ {address('gamma', make_repository(hub, 'gamma'))}")
    refused(project, "gamma")


class Locked(http.server.BaseHTTPRequestHandler):
    """Wants a login for everything."""

    def do_GET(self) -> None:
        """Refuse."""
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def guarded() -> Iterator[str]:
    """Give the address of a server that wants a login."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_repository_that_wants_a_login_is_told_and_nobody_is_asked(project: Project, hub: Path, guarded: str) -> None:
    project.environ["GIT_CONFIG_KEY_0"] = f"url.{guarded}/.insteadOf"
    project.environ["GIT_ASKPASS"] = project.environ["SSH_ASKPASS"] = "/bin/false"
    spec(project, f"gamma @ {address('gamma', 'ab' * 20)}")
    refused(project, f"{HOST}/lab/gamma: wants a login", "credential helper", f"git ls-remote {HOST}/lab/gamma")


def test_a_lock_that_names_another_commit_than_the_spec_is_refused(project: Project, hub: Path) -> None:
    made = make_repository(hub, "gamma")
    spec(project, f"gamma @ {address('gamma', made)}")
    project.done("lock", "work")
    text = project.lock().read_text(encoding="utf-8")
    project.lock().write_text(text.replace(made, "ab" * 20), encoding="utf-8")
    done = project.ozrepro("build", "work")
    assert done.returncode == 3
    assert "is neither in the spec nor in its requirement files" in done.stderr


def test_exports_name_the_commit(project: Project, hub: Path) -> None:
    made = make_repository(hub, "gamma", folder="python")
    spec(project, f"gamma @ {address('gamma', made, 'python')}", "beta")
    project.done("lock", "work")
    entry = loads(project.done("export", "work", "--format", "pylock"))["packages"][1]
    assert entry["vcs"] == {"type": "git", "url": f"{HOST}/lab/gamma", "commit-id": made, "subdirectory": "python"}
    project.done("export", "work", "--format", "pylock", "--output", "pylock.toml")
    again = project.ozrepro("lock", "work", "--from", "pylock.toml")
    assert again.returncode == 0, again.stderr
    assert "not taken over" not in again.stderr
    assert f"gamma @ {address('gamma', made, 'python')}\n" in project.done("export", "work", "--format", "requirements")
    definition = project.ozrepro("export", "work", "--format", "def")
    assert "gamma 1.0 is built from a commit" in definition.stderr
    assert "gamma" not in definition.stdout
