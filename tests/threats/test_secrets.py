"""Canary tokens wherever people keep passwords: none comes out into a lock, the store, a message, or a child's arguments."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from tests.threats.helpers import Index, add_own_package, make_project, serving
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Project

pytestmark = pytest.mark.slow


@dataclass
class Canaries:
    """A token for each hiding place. They hold what addresses must encode, so that both spellings are looked for."""

    made: dict[str, str] = field(default_factory=dict)

    def new(self, place: str, *, plain: bool = False) -> str:
        """Return the token of a place."""
        return self.made.setdefault(
            place, f"canary{len(self.made):02d}{'' if plain else '+/@:'}{place.lower().replace(' ', '')}z"
        )

    def found_in(self, content: bytes) -> list[str]:
        """Return the places whose token stands in `content`, in any spelling."""
        # The characters in the middle may be encoded; what stands before them is unique.
        return [place for place, token in self.made.items() if token.split("+")[0].encode() in content]


@dataclass
class Scene:
    """A project, its canaries, the index that wants one of them, and everything that was printed."""

    project: Project
    canaries: Canaries
    index: Index
    temporary: Path
    printed: list[bytes] = field(default_factory=list)
    traced: list[bytes] = field(default_factory=list)

    def ozrepro(self, *words: str, **more: str) -> int:
        """Run a command, keep what it prints and each word that it or a child of it was started with, and return its status."""
        strace = shutil.which("strace")
        if strace is None:
            done = self.project.ozrepro(*words, **more)
        else:
            log = self.temporary.parent / "trace"
            done = self.project.run(
                *(strace, "-f", "-qq", "-e", "trace=execve", "-s", "100000", "-o", str(log)),
                *(shutil.which("ozrepro", path=self.project.environ["PATH"]) or "ozrepro", *words),
                **more,
            )
            self.traced.append(log.read_bytes())
        self.printed.append((done.stdout + done.stderr).encode())
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    def check(self) -> None:
        """Insist that no token stands in anything produced."""
        leaks = {f"printed: {text[-500:]!r}": self.canaries.found_in(text) for text in self.printed}
        leaks |= {f"arguments: {text!r}": self.canaries.found_in(text) for text in self.traced}
        for path in self.files():
            leaks[f"file {path}"] = self.canaries.found_in(path.read_bytes())
            leaks[f"name {path}"] = self.canaries.found_in(os.fsencode(path))
        assert {where: places for where, places in leaks.items() if places} == {}

    def files(self) -> Iterator[Path]:
        """Give every file of the project and of the temporary folder, but those that hold tokens by the test's own doing."""
        cache = self.project.store() / "cache"
        for folder in (self.project.root, self.temporary):
            for path in sorted(folder.rglob("*")):
                own = ".git" in path.relative_to(folder).parts or path.is_relative_to(cache)
                if path.is_file() and not path.is_symlink() and not own:
                    yield path


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    canaries = Canaries()
    new = canaries.new
    project = make_project(tmp_path)
    for name in ("alpha", "beta", "helper-tool"):
        make_wheel(project.wheelhouse, name, requires=("beta",) if name == "alpha" else ())
    add_own_package(project)
    project.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha", "-e ."]\n')
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    home = tmp_path / "home"
    (home / ".netrc").write_text(
        f"machine 127.0.0.9\nlogin {new('netrc user', plain=True)}\npassword {new('netrc', plain=True)}\n", encoding="utf-8"
    )
    (home / ".netrc").chmod(0o600)
    (home / ".pypirc").write_text(f"[pypi]\nusername = __token__\npassword = {new('pypirc')}\n", encoding="utf-8")
    (project.root / ".git").mkdir()
    (project.root / ".git" / "config").write_text(
        f'[remote "origin"]\n\turl = https://me:{new("git remote", plain=True)}@git.example/x.git\n', encoding="utf-8"
    )
    with serving(project.wheelhouse, f"{new('index user')}:{new('index password')}") as index:
        environ = project.environ
        for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CONFIG_FILE"):
            del environ[name]
        main = index.url(index.login)
        other = main.replace("/simple/", "/other/").replace(index.url("").split("//")[1].split("/")[0], f"127.0.0.1:{index.port}")
        (home / ".config" / "pip").mkdir(parents=True)
        (home / ".config" / "pip" / "pip.conf").write_text(
            f"[global]\nindex-url = {main}\nextra-index-url =\n    {other}?token={new('query')}\n", encoding="utf-8"
        )
        for name in ("http_proxy", "https_proxy", "ALL_PROXY", "FTP_PROXY"):
            environ[name] = f"http://{new(name + ' user', plain=True)}:{new(name, plain=True)}@127.0.0.1:9"
        environ["no_proxy"] = "127.0.0.1,localhost"
        secrets = (
            "UV_INDEX_CORP_PASSWORD",
            "UV_INDEX_CORP_USERNAME",
            "UV_PUBLISH_TOKEN",
            "TWINE_PASSWORD",
            "AWS_SECRET_ACCESS_KEY",
        )
        tokens = (
            "GITHUB_TOKEN",
            "GH_TOKEN",
            "CI_JOB_TOKEN",
            "HF_TOKEN",
            "WANDB_API_KEY",
            "PGPASSWORD",
            "SLURM_JWT",
            "OPENAI_API_KEY",
        )
        for name in (*secrets, *tokens):
            environ[name] = new(name)
        environ |= {"TMPDIR": str(temporary), "USER": "someone-special", "LOGNAME": "someone-special"}
        index.query = f"sig={new('signed link', plain=True)}"
        yield Scene(project, canaries, index, temporary)


def test_nothing_that_is_produced_holds_a_secret(scene: Scene) -> None:
    assert len(scene.canaries.made) >= 25
    assert scene.ozrepro("lock", "work") == 0, scene.printed[-1].decode()
    assert any(path.startswith("/simple/") for path in scene.index.asked)
    for words in (
        ("build", "work"),
        ("run", "work", "--", "python", "-c", "import alpha"),
        ("status",),
        ("status", "--json"),
        ("verify", "work", "--level", "2"),
        ("diff", "work"),
        ("export", "work", "--format", "pylock"),
        ("export", "work", "--format", "requirements"),
        ("export", "work", "--format", "cyclonedx"),
        ("store", "list", "--json"),
        ("store", "verify"),
        ("store", "gc"),
        ("lock", "work", "--check"),
        ("lock", "work", "--upgrade"),
    ):
        assert scene.ozrepro(*words) == 0, (words, scene.printed[-1].decode())
    scene.check()
    check_anonymous(scene)


def check_anonymous(scene: Scene) -> None:
    """Insist that the lock tells nothing of the person, the machine or the day."""
    text = scene.project.lock().read_text(encoding="utf-8")
    today = datetime.now(timezone.utc)
    personal = [
        str(scene.project.root),
        str(scene.project.root.parent),
        scene.project.environ["HOME"],
        "someone-special",
        "127.0.0.1",
        str(scene.index.port),
        "://",
        today.strftime("%Y-%m-%d"),
        socket.gethostname(),
    ]
    user = getpass.getuser()
    assert [word for word in personal if word in text] == []
    assert re.search(rf"\b{re.escape(user)}\b", text) is None
    assert re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d", text) is None


def _wrong_password(scene: Scene) -> dict[str, str]:
    return {"PIP_INDEX_URL": scene.index.url(f"{scene.canaries.new('wrong user')}:{scene.canaries.new('wrong password')}")}


def _closed_port(scene: Scene) -> dict[str, str]:
    user, password = (scene.canaries.new(place, plain=True) for place in ("closed user", "closed password"))
    return {"PIP_INDEX_URL": f"http://{user}:{password}@127.0.0.1:9/simple"}


def _query(scene: Scene) -> dict[str, str]:
    # This one has no package; the index of pip.conf is searched after it.
    return {"PIP_INDEX_URL": f"http://127.0.0.1:{scene.index.port}/none/?token={scene.canaries.new('query2', plain=True)}"}


def _at_sign(scene: Scene) -> dict[str, str]:
    first, second = (scene.canaries.new(place, plain=True) for place in ("first half", "second half"))
    return {"PIP_INDEX_URL": f"http://user:{first}@{second}@127.0.0.1:9/simple"}


def _slash(scene: Scene) -> dict[str, str]:
    return {"UV_INDEX_URL": f"http://user:a/{scene.canaries.new('slash', plain=True)}@127.0.0.1:9/simple"}


def _no_address(scene: Scene) -> dict[str, str]:
    return {"UV_DEFAULT_INDEX": f"corp=ht!tp://user:{scene.canaries.new('invalid', plain=True)}@[bad/simple"}


def _links(scene: Scene) -> dict[str, str]:
    return {"PIP_FIND_LINKS": f"http://user:{scene.canaries.new('links', plain=True)}@127.0.0.1:9/files"}


@pytest.mark.parametrize("kind", [_wrong_password, _closed_port, _query, _at_sign, _slash, _no_address, _links])
def test_no_failure_tells_a_secret(scene: Scene, kind: object) -> None:
    """An index that refuses, is not there, or has no valid address: uv's own words are passed on, without the login."""
    assert callable(kind)
    more: dict[str, str] = kind(scene)
    scene.project.environ["UV_HTTP_RETRIES"] = "0"
    assert scene.ozrepro("lock", "work", **more) == (0 if kind is _query else 1)
    scene.project.lock().unlink(missing_ok=True)
    assert scene.ozrepro("run", "work", "--", "true", **more) == 3
    scene.check()


def test_no_failing_build_tells_a_secret(scene: Scene) -> None:
    assert scene.ozrepro("lock", "work") == 0
    good = scene.project.lock().read_text(encoding="utf-8")
    scene.project.environ["UV_HTTP_RETRIES"] = "0"
    flipped = good.replace(re.findall(r'sha256 = "([0-9a-f]{64})', good)[0], "0" * 64)
    for text, status in ((flipped, 1), (good.replace('version = "1.0"', 'version = "1.1"', 1), 3)):
        scene.project.lock().write_text(text, encoding="utf-8")
        assert scene.ozrepro("build", "work") == status
        assert scene.ozrepro("run", "work", "--", "true") == status
    scene.project.lock().write_text(good, encoding="utf-8")
    assert scene.ozrepro("build", "work", **_wrong_password(scene), OZREPRO_CACHE=str(scene.temporary.parent / "c")) == 1
    assert scene.ozrepro("export", "work", "--format", "pylock", **_closed_port(scene)) == 1
    scene.check()


@pytest.mark.parametrize(
    "requirement",
    [
        "alpha @ https://user:{canary}@example.org/alpha-1.0-py3-none-any.whl",
        "alpha @ git+https://user:{canary}@example.org/alpha.git",
        "alpha @ http://{canary}@example.org/alpha-1.0-py3-none-any.whl",
        "alpha @ https://example.org/alpha-1.0-py3-none-any.whl?token={canary}",
        "--index-url https://user:{canary}@example.org/simple",
        "--extra-index-url=https://{canary}:x@example.org/simple",
        "alpha https://user:{canary}@example.org",
    ],
)
def test_a_secret_in_the_spec_is_refused_without_being_repeated(scene: Scene, requirement: str) -> None:
    text = requirement.format(canary=scene.canaries.new("spec", plain=True))
    scene.project.spec(f'[venv]\nrequirements = ["{text}"]\n')
    for words in (("lock", "work"), ("run", "work", "--", "true")):
        assert scene.ozrepro(*words) == 2
        assert b"venv.requirements[0]" in scene.printed[-1]
    assert scene.canaries.found_in(b"".join(scene.printed)) == []


def test_a_secret_in_pyproject_is_refused_without_being_repeated(scene: Scene) -> None:
    canary = scene.canaries.new("pyproject", plain=True)
    for address in (f"https://user:{canary}@example.org/simple", f"https://example.org/simple?key={canary}"):
        (scene.project.root / "pyproject.toml").write_text(f'[tool.ozrepro.indexes]\ncorp = "{address}"\n', encoding="utf-8")
        assert scene.ozrepro("lock", "work") == 2
        assert b"tool.ozrepro.indexes.corp" in scene.printed[-1]
    assert scene.canaries.found_in(b"".join(scene.printed)) == []


def test_a_variable_in_an_address_is_never_put_in(scene: Scene) -> None:
    """What uv does: it replaces ${NAME} in addresses, of requirement files too: the server must never be asked for a password."""
    url = f"https://127.0.0.1:{scene.index.port}/${{UV_INDEX_CORP_PASSWORD}}/alpha-1.0-py3-none-any.whl"
    (scene.project.root / "more.txt").write_text(f"alpha @ {url}\n", encoding="utf-8")
    for requirement in (f"alpha @ {url}", "-r more.txt"):
        scene.project.spec(f'[venv]\nrequirements = ["{requirement}"]\n')
        assert scene.ozrepro("lock", "work") == 2, scene.printed[-1]
    assert scene.index.asked == []
    scene.check()
