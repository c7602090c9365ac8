"""Asking a registry for a tag's digest, over real HTTP from a small server."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ozrepro.errors import BuildError
from ozrepro.methods.container import registry
from ozrepro.methods.container.reference import read_reference
from ozrepro.methods.container.registry import digest_of

INDEX = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(INDEX).hexdigest()}"
LOGIN = base64.b64encode(b"me:s3cret").decode()


@dataclass(frozen=True)
class Answer:
    """What the server says: a status, headers, and a body; `cut` announces more of it than comes."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = INDEX
    cut: bool = False


@dataclass
class Asked:
    """One request that a server got."""

    path: str
    accept: str
    authorization: str


@dataclass
class Registry:
    """A server on loopback that answers by `rule`, and what it was asked."""

    port: int = 0
    rule: Callable[[Asked], Answer] = lambda asked: Answer()
    asked: list[Asked] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"http://{self.host}"

    @property
    def aliases(self) -> dict[str, str]:
        """Return the settings that have this one stand for Docker Hub."""
        return {"docker.io": self.address}


@contextmanager
def serving() -> Iterator[Registry]:
    found = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            names = ("Accept", "Authorization")
            asked = Asked(self.path, *(self.headers.get(name, "") for name in names))
            found.asked.append(asked)
            answer = found.rule(asked)
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) + answer.cut))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub() -> Iterator[Registry]:
    """Give a registry that stands for Docker Hub."""
    with serving() as found:
        yield found


@pytest.fixture
def other() -> Iterator[Registry]:
    """Give a second host."""
    with serving() as found:
        yield found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give a home without logins."""
    return tmp_path


def keep_login(home: Path, name: str, coded: str = LOGIN, file: str = ".docker/config.json") -> None:
    """Write a login as `docker login` does."""
    path = home / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"auths": {name: {"auth": coded}}}))


def ask(hub: Registry, home: Path, name: str = "python:3.11") -> str:
    return digest_of(read_reference(name), hub.aliases, {"HOME": str(home)})


def needs_token(realm: str) -> Callable[[Asked], Answer]:
    """Return a registry that wants a token from `realm`, which it gives itself where it is asked for one."""

    def rule(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return Answer(body=json.dumps({"token": "the-token"}).encode())
        if asked.authorization == "Bearer the-token":
            return Answer()
        scope = "repository:library/python:pull"
        challenge = f'Bearer realm="{realm}",service="registry.example",scope="{scope}"'
        return Answer(401, (("WWW-Authenticate", challenge),), b"")

    return rule


def test_a_tag_has_the_digest_of_its_index_and_nothing_else_is_asked(hub: Registry, home: Path) -> None:
    hub.rule = lambda asked: Answer(headers=(("Docker-Content-Digest", DIGEST),))
    assert ask(hub, home) == DIGEST
    assert [item.path for item in hub.asked] == ["/v2/library/python/manifests/3.11"]
    first, *more = hub.asked[0].accept.split(", ")
    assert first == "application/vnd.oci.image.index.v1+json"
    assert "application/vnd.docker.distribution.manifest.v2+json" in more
    assert hub.asked[0].authorization == ""


def test_a_registry_that_names_no_digest_is_taken_by_its_content(hub: Registry, home: Path) -> None:
    assert ask(hub, home) == DIGEST


def test_a_mirror_under_a_path_is_asked_under_it(hub: Registry, home: Path) -> None:
    aliases = {"ghcr.io": f"{hub.address}/cache/ghcr/"}
    digest_of(read_reference("ghcr.io/owner/name:1"), aliases, {"HOME": str(home)})
    assert hub.asked[0].path == "/v2/cache/ghcr/owner/name/manifests/1"


def test_a_token_is_fetched_and_used(hub: Registry, home: Path) -> None:
    hub.rule = needs_token(f"{hub.address}/token")
    assert ask(hub, home) == DIGEST
    assert [item.path.partition("?")[0] for item in hub.asked] == [
        "/v2/library/python/manifests/3.11",
        "/token",
        "/v2/library/python/manifests/3.11",
    ]
    assert "scope=repository%3Alibrary%2Fpython%3Apull" in hub.asked[1].path
    assert "service=registry.example" in hub.asked[1].path
    assert hub.asked[1].authorization == ""


@pytest.mark.parametrize("file", [".apptainer/docker-config.json", ".singularity/docker-config.json", ".docker/config.json"])
def test_a_login_that_is_kept_for_the_host_is_sent_for_the_token(hub: Registry, home: Path, file: str) -> None:
    keep_login(home, hub.host, file=file)
    hub.rule = needs_token(f"{hub.address}/token")
    ask(hub, home)
    assert [item.authorization for item in hub.asked] == ["", f"Basic {LOGIN}", "Bearer the-token"]


def test_a_login_is_sent_plain_where_the_registry_asks_for_that(hub: Registry, home: Path) -> None:
    keep_login(home, hub.host)
    hub.rule = lambda asked: Answer() if asked.authorization else Answer(401, (("WWW-Authenticate", 'Basic realm="x"'),), b"")
    assert ask(hub, home) == DIGEST
    assert [item.authorization for item in hub.asked] == ["", f"Basic {LOGIN}"]


@pytest.mark.parametrize("name", ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"])
def test_a_login_for_docker_hub_is_not_sent_to_the_host_that_stands_for_it(hub: Registry, home: Path, name: str) -> None:
    """Else a stranger's pyproject.toml, which names any host for docker.io, would get the caller's password."""
    keep_login(home, name)
    hub.rule = needs_token(f"{hub.address}/token")
    ask(hub, home)
    assert LOGIN not in "".join(item.authorization for item in hub.asked)


def test_a_login_for_docker_hub_is_found_for_its_own_host(home: Path) -> None:
    keep_login(home, "https://index.docker.io/v1/")
    assert registry._login("registry-1.docker.io", {"HOME": str(home)}) == LOGIN
    assert registry._login("ghcr.io", {"HOME": str(home)}) is None


@pytest.mark.parametrize("realm", ["http://{other}/token", "http://127.0.0.1.evil.example/", "http://localhost@evil.example/",
                                   "ftp://127.0.0.1/", "file:///etc/passwd", "//evil.example/", ""])  # fmt: skip
def test_a_token_is_never_asked_for_in_the_clear_elsewhere(hub: Registry, home: Path, realm: str) -> None:
    keep_login(home, hub.host)
    hub.rule = needs_token(realm.format(other="mirror.example"))
    with pytest.raises(BuildError, match="it sends logins to"):
        ask(hub, home)
    assert len(hub.asked) == 1


def test_no_login_follows_a_redirect_to_another_host(hub: Registry, other: Registry, home: Path) -> None:
    keep_login(home, hub.host)

    def rule(asked: Asked) -> Answer:
        if asked.authorization:
            return Answer(307, (("Location", f"{other.address}/blob"),), b"")
        return Answer(401, (("WWW-Authenticate", 'Basic realm="x"'),), b"")

    hub.rule = rule
    assert ask(hub, home) == DIGEST
    assert [item.authorization for item in other.asked] == [""]


@pytest.mark.parametrize(
    ("content", "file"),
    [("{", ".docker/config.json"), ('{"auths": []}', ".docker/config.json"), ('{"auths": {"HOST": {"auth": 5}}}', ".docker/config.json"),
     ('{"auths": {"HOST": {"auth": "?"}}}', ".apptainer/docker-config.json")],
)  # fmt: skip
def test_a_damaged_login_file_is_passed_over(hub: Registry, home: Path, content: str, file: str) -> None:
    (home / file).parent.mkdir()
    (home / file).write_text(content.replace("HOST", hub.host))
    hub.rule = needs_token(f"{hub.address}/token")
    assert ask(hub, home) == DIGEST


@pytest.mark.parametrize(
    ("answer", "what", "hint"),
    [
        (Answer(404, body=b"{}"), "the registry has no such image", "check the name"),
        (Answer(401, body=b""), "without a login", "apptainer registry login"),
        (Answer(403, body=b""), "without a login", "apptainer registry login"),
        (Answer(429, body=b""), "the registry answers 429 for library/python", "the same command again"),
        (Answer(headers=(("Docker-Content-Digest", f"sha256:{'0' * 64}"),)), "another digest than it should", "again"),
        (Answer(headers=(("Docker-Content-Digest", "md5:1"),)), "'md5:1', which is not a sha256 digest", ""),
        (Answer(cut=True), "its answer was cut off", "registries"),
        (Answer(body=b"x" * ((8 << 20) + 1)), "larger than a manifest", ""),
        (Answer(401, (("WWW-Authenticate", 'Bearer realm="REALM"'),)), "it gives no token", ""),
    ],
)
def test_an_answer_that_gives_no_digest_is_an_error_with_its_name(
    hub: Registry, home: Path, answer: Answer, what: str, hint: str
) -> None:
    headers = tuple((name, value.replace("REALM", f"{hub.address}/token")) for name, value in answer.headers)
    hub.rule = lambda asked: replace(answer, headers=headers) if asked.path.startswith("/v2") else Answer(body=b"[]")
    with pytest.raises(BuildError) as caught:
        ask(hub, home)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.where in ("docker.io/library/python:3.11", hub.host)


def test_other_content_under_a_pinned_digest_is_refused(hub: Registry, home: Path) -> None:
    assert ask(hub, home, f"python@{DIGEST}") == DIGEST
    assert hub.asked[0].path == f"/v2/library/python/manifests/{DIGEST}"
    with pytest.raises(BuildError, match="another digest"):
        ask(hub, home, f"python@sha256:{'0' * 64}")


def test_a_token_table_that_never_ends_is_refused(hub: Registry, home: Path) -> None:
    nested = needs_token(f"{hub.address}/token")
    hub.rule = lambda asked: Answer(body=b"[" * 200_000) if asked.path.startswith("/token") else nested(asked)
    with pytest.raises(BuildError, match="cannot be reached"):
        ask(hub, home)


def test_a_registry_that_is_not_there_is_said_with_its_host_and_what_to_do(home: Path) -> None:
    with serving() as gone:
        pass
    with pytest.raises(BuildError) as caught:
        ask(gone, home)
    assert caught.value.where == gone.host
    assert "Connection refused" in caught.value.what
    assert "[tool.ozrepro.registries]" in caught.value.hint


def test_a_server_that_speaks_no_http_is_an_error_of_ours(home: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            connection = listening.accept()[0]
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(BuildError, match="cannot be reached"):
            ask(Registry(listening.getsockname()[1]), home)
        thread.join()
