"""A real OCI registry on the loopback, with the base image in it, whose tags can be moved and whose requests are seen.

`Registry(containers, folder)` is a context that runs it. After `registry.change()` a tag means other content; a definition names
the image as `registry.address` and its name, for `apptainer build --no-https`; `registry.asked("GET *")` is what was asked for.
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import json
import re
import subprocess
import threading
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fake_cluster import BASE_PATH, SiteUnavailable, oci
from tests.fake_cluster.containers import NAME, TAG, Containers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

_ACCEPT = f"{oci.INDEX}, {oci.MANIFEST}"
_LINE = re.compile(r'^\S+ - \S+ \[[^]]*\] "(?P<request>[A-Z]+ \S+) HTTP/[\d.]+" ')
_SETTINGS = """
version: 0.1
log: {{level: info, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}", secret: none}}
"""


class Registry:
    """Runs Debian's docker-registry until it is stopped; started again, it has the same address."""

    def __init__(self, containers: Containers, folder: Path) -> None:
        self.containers = containers
        self.folder = folder
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._questions = 0
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        folder.mkdir(parents=True)
        self.start()
        self.push(containers.layout, containers.index, NAME, TAG)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """What stands before an image's name: `127.0.0.1:PORT`."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it says that it listens."""
        settings = self.folder / "settings.yml"
        settings.write_text(_SETTINGS.format(folder=json.dumps(str(self.folder / "data")), port=self._port), encoding="utf-8")
        self._lines.clear()
        self._process = subprocess.Popen(
            [self.containers.registry, "serve", str(settings)],
            env={"PATH": BASE_PATH, "OTEL_TRACES_EXPORTER": "none"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        said = self._wait(r"listening on 127\.0\.0\.1:(\d+)")
        self._port = int(said)

    def stop(self) -> None:
        """Vanish: from now on connections are refused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def push(self, layout: Path, digest: str, name: str, tag: str) -> None:
        """Put an image of a layout under a name and a tag, with all that it refers to."""
        self._put_manifest(name, tag, self._push_parts(layout, digest, name))

    def digest(self, name: str = NAME, tag: str = TAG) -> str:
        """Return what a tag means now, as clients ask it."""
        answer = self._ask("HEAD", f"/v2/{name}/manifests/{tag}", Accept=_ACCEPT)
        return str(answer.headers["Docker-Content-Digest"])

    def manifest(self, name: str, reference: str) -> dict[str, Any]:
        """Return the index or the manifest of a tag or digest."""
        found: dict[str, Any] = json.loads(self._ask("GET", f"/v2/{name}/manifests/{reference}", Accept=_ACCEPT).body)
        return found

    def move(self, name: str, tag: str, digest: str) -> None:
        """Let a tag mean an image that is there."""
        self._put_manifest(name, tag, self._ask("GET", f"/v2/{name}/manifests/{digest}", Accept=_ACCEPT).body)

    def change(self, name: str = NAME, tag: str = TAG, files: Mapping[str, str] | None = None) -> str:
        """Let a tag mean its image with these text files on top, and return the digest that it has now."""
        layer, packed = oci.small_layer(files or {"/etc/changed": "changed\n"})
        self._put_blob(name, packed)
        changed = {}
        for entry in self.manifest(name, tag)["manifests"]:
            found = self.manifest(name, entry["digest"])
            config = json.loads(self._ask("GET", f"/v2/{name}/blobs/{found['config']['digest']}").body)
            config["rootfs"]["diff_ids"].append(layer.diff_id)
            self._put_blob(name, oci.encode(config))
            content = oci.manifest(oci.encode(config), [*found["layers"], layer.descriptor])
            self._put_manifest(name, oci.digest_of(content), content)
            changed[entry["platform"]["architecture"]] = content
        index = oci.index(changed)
        self._put_manifest(name, tag, index)
        return oci.digest_of(index)

    def delete(self, name: str, digest: str) -> None:
        """Remove an image, as registries do with those that no tag means any more."""
        self._ask("DELETE", f"/v2/{name}/manifests/{digest}")

    def forget(self) -> None:
        """Forget the requests until now."""
        self.asked()
        with self._news:
            self._lines.clear()

    def asked(self, pattern: str = "*") -> list[str]:
        """Return what was asked for, as `GET /v2/python/manifests/3.11-bookworm`; tests' own questions too.

        The registry writes its log behind its answers: a question of our own is waited for there.
        """
        if self._process is not None:
            self._questions += 1
            self._ask("GET", f"/v2/?question={self._questions}")
            self._wait(rf"(question={self._questions} )")
        with self._news:
            found = [match["request"] for line in self._lines if (match := _LINE.match(line))]
        return [request for request in found if "/v2/?question=" not in request and fnmatch.fnmatchcase(request, pattern)]

    def _push_parts(self, layout: Path, digest: str, name: str) -> bytes:
        content = oci.blob(layout, digest).read_bytes()
        document = json.loads(content)
        for entry in document.get("manifests", ()):
            self._put_manifest(name, entry["digest"], self._push_parts(layout, entry["digest"], name))
        for entry in [*filter(None, [document.get("config")]), *document.get("layers", ())]:
            self._put_blob(name, oci.blob(layout, entry["digest"]).read_bytes())
        return content

    def _put_blob(self, name: str, content: bytes) -> None:
        place = self._ask("POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
        found = urllib.parse.urlsplit(place)
        query = f"{found.query}&" if found.query else ""
        digest = urllib.parse.quote(oci.digest_of(content))
        self._ask("PUT", f"{found.path}?{query}digest={digest}", content, **{"Content-Type": "application/octet-stream"})

    def _put_manifest(self, name: str, reference: str, content: bytes) -> None:
        self._ask("PUT", f"/v2/{name}/manifests/{reference}", content, **{"Content-Type": json.loads(content)["mediaType"]})

    def _ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> _Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"the registry answers {answer.status} to {method} {path}: {content[:500]!r}")
            return _Answer(content, dict(answer.headers))

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._lines.append("(ended)\n")
            self._news.notify_all()

    def _wait(self, pattern: str) -> str:
        """Wait for a line of the log and return the pattern's group."""

        def seen() -> str | None:
            return next((match[1] for line in self._lines if (match := re.search(pattern, line))), None)

        with self._news:
            self._news.wait_for(lambda: seen() or "(ended)\n" in self._lines, timeout=60)
            found = seen()
            if found is None:
                raise SiteUnavailable(f"the registry does not run: {''.join(self._lines[-5:])}")
            return found


class _Answer:
    """What the registry answered."""

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        self.body = body
        self.headers = headers
