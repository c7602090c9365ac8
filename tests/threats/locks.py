"""Hostile locks, each a good one with one thing changed, and the words that its refusal must have."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ozrepro.project.toml import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Table = dict[str, Any]

HIDDEN = "\u202e\u2066\u200b"
"""A right-to-left override, an isolate, a space of no width."""

ANY = "venv.any"
PACKAGE = "venv.any.package[0]"
FILE = "venv.any.package[0].files[0]"


@dataclass(frozen=True)
class Hostile:
    """One hostile lock: how it is made of a good one's text, and words of its refusal, the key's name first."""

    name: str
    make: Callable[[str], bytes]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def edited(text: str, change: Callable[[Table], object]) -> str:
    """Return a lock's text after a change to its table."""
    table = deepcopy(dict(loads(text)))
    change(table)
    return dumps(table)


def in_table(name: str, change: Callable[[Table], object], *words: str) -> Hostile:
    """Make a lock whose table was changed."""
    return Hostile(name, lambda text: edited(text, change).encode(), words)


def in_section(name: str, more: Mapping[str, object], *words: str) -> Hostile:
    """Make a lock with other values in its venv section."""
    return in_table(name, lambda lock: lock["venv"]["any"].update(more), *words)


def in_package(name: str, more: Mapping[str, object], *words: str) -> Hostile:
    """Make a lock with other values in its first package."""
    return in_table(name, lambda lock: lock["venv"]["any"]["package"][0].update(more), *words)


def in_file(name: str, more: Mapping[str, object], *words: str) -> Hostile:
    """Make a lock with other values in its first package's file."""
    return in_table(name, lambda lock: lock["venv"]["any"]["package"][0]["files"][0].update(more), *words)


def without(name: str, path: tuple[str | int, ...], *words: str) -> Hostile:
    """Make a lock that lacks a key."""

    def change(lock: Table) -> None:
        place: Any = lock
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]

    return in_table(name, change, *words)


def in_text(name: str, old: str, new: str, *words: str) -> Hostile:
    """Make a lock of which a piece of text was replaced."""

    def make(text: str) -> bytes:
        assert old in text, old
        return text.replace(old, new, 1).encode()

    return Hostile(name, make, words)


def whole(name: str, content: Callable[[str], bytes], *words: str) -> Hostile:
    """Make a lock of other bytes."""
    return Hostile(name, content, words)


_FIRST_FILE: tuple[str | int, ...] = ("venv", "any", "package", 0, "files", 0)

HEADER = (
    without("no-schema", ("schema",), "schema"),
    in_text("schema-text", "schema = 1", 'schema = "1"', "schema"),
    in_text("schema-flag", "schema = 1", "schema = true", "schema"),
    in_text("schema-zero", "schema = 1", "schema = 0", "schema"),
    in_text("schema-newer", "schema = 1", "schema = 99", "schema 99", "ozrepro"),
    in_text("schema-beyond-64-bits", "schema = 1", "schema = 0x" + "f" * 9000, "64 bits"),
    in_text("schema-of-9000-digits", "schema = 1", "schema = " + "9" * 9000, "is damaged"),
    in_table("session-other", lambda lock: lock.update(session="other"), "session", "'other'"),
    in_table("session-escapes", lambda lock: lock.update(session="\x1b]0;owned\x07\x1b[2J"), "session", "\\x1b"),
    in_text("session-table", 'session = "work"', "session = { a = 1 }", "session"),
    in_text("session-long", 'session = "work"', f'session = "{"x" * 1_000_000}"', "session"),
    in_table("unknown-top-key", lambda lock: lock.update(hooks="touch x"), "hooks", "unknown key"),
    in_table("unknown-top-table", lambda lock: lock.update(scripts={"post": "sh"}), "scripts", "unknown key"),
    in_table("method-no-table", lambda lock: lock.update(conda="x"), "conda"),
    in_table("platform-newline", lambda lock: lock["venv"].update({"a\n#SBATCH --x": {}}), "venv.", "platform"),
    in_table(
        "platform-dotdot",
        lambda lock: lock.setdefault("container", {}).update({"linux-64/../../x": {}}),
        "container.",
        "platform",
    ),
    in_table(
        "platform-absolute", lambda lock: lock.setdefault("container", {}).update({"/etc": {}}), "container./etc", "platform"
    ),
    in_table("platform-empty", lambda lock: lock.setdefault("container", {}).update({"": {}}), "container", "platform"),
    in_table("platform-bidi", lambda lock: lock["venv"].update({f"any{HIDDEN}": {}}), "venv", "platform", "\\u202e"),
    without("no-spec", ("venv", "any", "spec"), "venv.any.spec"),
    in_section("spec-short", {"spec": "sha256:abc"}, "venv.any.spec"),
    in_section("spec-uppercase", {"spec": "sha256:" + "A" * 64}, "venv.any.spec"),
    in_section("spec-md5", {"spec": "md5:" + "0" * 32}, "venv.any.spec"),
    in_text("spec-nested", "spec = ", "spec.a.b.c = 1\nformerly = ", "venv.any.spec"),
)

SECTION = (
    in_section("unknown-section-key", {"post-install": "sh -c x"}, "venv.any.post-install", "unknown key"),
    in_section("unknown-key-escapes", {"\x1b[31m\nozrepro: all is well": 1}, "unknown key", "\\x1b", "\\n"),
    in_section("unknown-key-bidi", {f"pass{HIDDEN}": 1}, "unknown key", "\\u202e"),
    in_section("python-number", {"python": 3}, "venv.any.python"),
    in_section("python-garbage", {"python": "$(touch x)"}, "venv.any.python"),
    in_section("python-arbitrary", {"python": "=== anything"}, "venv.any.python"),
    in_section("python-digits", {"python": ">=" + "9" * 9000}, "venv.any.python"),
    in_section("python-other", {"python": ">=3.8"}, "venv.any.python", ">=3.10"),
    in_section("python-newline", {"python": ">=3.10\n"}, "venv.any.python"),
    in_section("imports-text", {"imports": "alpha"}, "venv.any.imports"),
    in_section("imports-other", {"imports": ["alpha", "antigravity"]}, "venv.any.imports", "antigravity"),
    in_section("imports-code", {"imports": ["os;import this"]}, "venv.any.imports"),
    in_section("imports-newline", {"imports": ["alpha\nimport this"]}, "venv.any.imports[0]"),
    in_section("imports-number", {"imports": [1]}, "venv.any.imports[0]"),
    in_section("imports-none", {"imports": []}, "venv.any.imports"),
    in_section("pass-preload", {"pass": ["LD_PRELOAD"]}, "venv.any.pass", "LD_PRELOAD"),
    in_section("pass-pythonpath", {"pass": ["PYTHONPATH", "BASH_ENV"]}, "venv.any.pass", "PYTHONPATH"),
    in_section("pass-assignment", {"pass": ["A=B"]}, "venv.any.pass"),
    in_section("pass-text", {"pass": "LD_PRELOAD"}, "venv.any.pass"),
    in_section("platforms-unknown", {"platforms": ["linux-x86_64; rm"]}, "venv.any.platforms[0]"),
    in_section("platforms-text", {"platforms": "linux-x86_64"}, "venv.any.platforms"),
    in_section("covers-array", {"covers": ["3.10"]}, "venv.any.covers"),
    in_section("covers-unknown", {"covers": {"plan9-mips": ["3.10"]}}, "venv.any.covers.plan9-mips", "is not known"),
    in_section("covers-text", {"covers": {"linux-x86_64": "3.10"}}, "venv.any.covers.linux-x86_64"),
    in_section("covers-garbage", {"covers": {"linux-x86_64": ["3.10", "$(x)"]}}, "venv.any.covers.linux-x86_64[1]"),
    in_section("project-smuggled", {"project": {"name": "own", "extras": []}}, "venv.any.project", "own"),
    in_section("project-text", {"project": "../other"}, "venv.any.project"),
    in_section("project-path", {"project": {"name": "own", "extras": [], "path": ".."}}, "venv.any.project.path"),
    in_section("package-table", {"package": {"name": "alpha"}}, "venv.any.package"),
    in_section("package-text", {"package": ["alpha==1.0"]}, "venv.any.package[0]"),
    in_section("package-none", {"package": []}, "venv.any.package", "alpha"),
    in_section("build-text", {"build": "helper"}, "venv.any.build"),
    in_table(
        "build-from-source",
        lambda lock: lock["venv"]["any"].update(
            build=[{"name": "evil", "version": "1.0", "files": [{"name": "evil-1.0.tar.gz", "sha256": "0" * 64}]}]
        ),
        "venv.any.build",
        "source archive",
    ),
    in_table(
        "build-unknown-key",
        lambda lock: lock["venv"]["any"].update(build=[{"name": "evil", "version": "1.0", "files": [], "run": "x"}]),
        "venv.any.build[0].run",
        "unknown key",
    ),
)

_WHEEL = "alpha-1.0-py3-none-any.whl"


def _address(name: str, url: str) -> Hostile:
    return in_package(f"url-{name}", {"url": url}, f"{PACKAGE}.url")


PACKAGES = (
    in_package("unknown-package-key", {"scripts": ["x"]}, f"{PACKAGE}.scripts", "unknown key"),
    in_package("vcs", {"vcs": {"url": "https://e.example/x"}}, f"{PACKAGE}.vcs", "unknown key"),
    in_package("directory", {"directory": {"path": "."}}, f"{PACKAGE}.directory", "unknown key"),
    without("no-name", ("venv", "any", "package", 0, "name"), PACKAGE, "lacks name"),
    in_package("name-unnormalized", {"name": "Alpha"}, f"{PACKAGE}.name"),
    in_package("name-path", {"name": "../alpha"}, f"{PACKAGE}.name"),
    in_package("name-option", {"name": "--index-url=https://e.example"}, f"{PACKAGE}.name"),
    in_package("name-newline", {"name": "alpha\n--pre"}, f"{PACKAGE}.name"),
    in_package("name-bidi", {"name": f"alpha{HIDDEN}"}, f"{PACKAGE}.name"),
    in_package("name-number", {"name": 1}, f"{PACKAGE}.name"),
    in_package("name-other", {"name": "numpy"}, f"{FILE}.name", "'numpy'"),
    without("no-version", ("venv", "any", "package", 0, "version"), PACKAGE, "lacks version"),
    in_package("version-range", {"version": ">=1"}, f"{PACKAGE}.version"),
    in_package("version-newline", {"version": "1.0\n-e /other"}, f"{PACKAGE}.version"),
    in_package("version-option", {"version": "1.0 --hash=sha256:0"}, f"{PACKAGE}.version"),
    in_package("version-bidi", {"version": f"1.0{HIDDEN}"}, f"{PACKAGE}.version"),
    in_package("version-escape", {"version": "1.0\x1b[8m"}, f"{PACKAGE}.version"),
    in_package("version-digits", {"version": "9" * 9000}, f"{PACKAGE}.version"),
    in_text("version-number", 'version = "1.0"', "version = 1.0", f"{PACKAGE}.version"),
    in_package("marker-garbage", {"marker": "import os"}, f"{PACKAGE}.marker"),
    in_package("marker-call", {"marker": "__import__('os').system('x') == ''"}, f"{PACKAGE}.marker"),
    in_package("marker-newline", {"marker": "os_name == 'posix'\n-r /etc/passwd"}, f"{PACKAGE}.marker"),
    in_package("marker-bidi", {"marker": f"os_name == 'nt{HIDDEN}'"}, f"{PACKAGE}.marker"),
    in_package("marker-parentheses", {"marker": "(" * 5000 + "os_name == 'x'" + ")" * 5000}, f"{PACKAGE}.marker"),
    in_package("marker-escape", {"marker": "os_name == 'p\\x6fsix'"}, f"{PACKAGE}.marker"),
    in_package("marker-escape-newline", {"marker": "os_name == '\\n-r x'"}, f"{PACKAGE}.marker"),
    in_package("marker-bad-escape", {"marker": "os_name == '\\N{x}'"}, f"{PACKAGE}.marker"),
    in_package("marker-undecidable", {"marker": "os_name ~= 'posix'"}, f"{PACKAGE}.marker"),
    in_package("marker-unknown-variable", {"marker": "'x' in extras"}, f"{PACKAGE}.marker"),
    in_package("marker-digits", {"marker": f"python_version >= '{'9' * 6000}'"}, f"{PACKAGE}.marker"),
    in_package("marker-table", {"marker": {"a": "b"}}, f"{PACKAGE}.marker"),
    in_package("index-address", {"index": "https://e.example/simple"}, f"{PACKAGE}.index"),
    in_package("index-login", {"index": "https://user:word@e.example/simple"}, f"{PACKAGE}.index"),
    in_package("index-newline", {"index": "pypi\n--pre"}, f"{PACKAGE}.index"),
    in_package("index-path", {"index": "../../simple"}, f"{PACKAGE}.index"),
    _address("file", f"file:///tmp/{_WHEEL}"),
    _address("git", "git+https://e.example/alpha.git"),
    _address("ssh", f"ssh://git@e.example/{_WHEEL}"),
    _address("http", f"http://e.example/{_WHEEL}"),
    _address("ftp", f"ftp://e.example/{_WHEEL}"),
    _address("login", f"https://user:word@e.example/{_WHEEL}"),
    _address("backslash", f"https://good.example\\@e.example/{_WHEEL}"),
    _address("query", f"https://e.example/get?token=word&f={_WHEEL}"),
    _address("variable", f"https://e.example/${{HTTPS_PROXY}}/{_WHEEL}"),
    _address("relative", f"../{_WHEEL}"),
    _address("absolute", f"/tmp/{_WHEEL}"),
    _address("no-host", f"https:///{_WHEEL}"),
    _address("newline", f"https://e.example/{_WHEEL}\n-e /other"),
    _address("space", f"https://e.example/{_WHEEL} --pre.whl"),
    _address("directory", "https://e.example/simple/"),
    _address("not-in-the-spec", f"https://e.example/{_WHEEL}"),
    without("no-files", ("venv", "any", "package", 0, "files"), PACKAGE, "lacks files"),
    in_package("files-empty", {"files": []}, f"{PACKAGE}.files", "hash"),
    in_package("files-text", {"files": _WHEEL}, f"{PACKAGE}.files"),
    in_package("files-table", {"files": {"name": _WHEEL}}, f"{PACKAGE}.files"),
    in_package("file-text", {"files": [_WHEEL]}, f"{FILE}"),
    in_package(
        "older-than-the-spec-asks",
        {"version": "0.9", "files": [{"name": "alpha-0.9-py3-none-any.whl", "sha256": "0" * 64}]},
        "venv.any.package",
        "alpha",
        "0.9",
    ),
    in_table(
        "required-package-taken-out",
        lambda lock: lock["venv"]["any"].update(package=lock["venv"]["any"]["package"][1:]),
        "venv.any.package",
        "alpha",
    ),
)


def _name(name: str, file: str) -> Hostile:
    return in_file(f"file-{name}", {"name": file}, f"{FILE}.name")


def _hash(name: str, value: object) -> Hostile:
    return in_file(f"sha256-{name}", {"sha256": value}, f"{FILE}.sha256")


FILES = (
    in_file("unknown-file-key", {"url": "https://e.example/x"}, f"{FILE}.url", "unknown key"),
    in_file("file-path-key", {"path": "/tmp/x.whl"}, f"{FILE}.path", "unknown key"),
    in_file("hashes-table", {"hashes": {"md5": "0"}}, f"{FILE}.hashes", "unknown key"),
    without("file-without-name", (*_FIRST_FILE, "name"), FILE, "lacks name"),
    _name("relative", f"sub/{_WHEEL}"),
    _name("dotdot", f"../{_WHEEL}"),
    _name("absolute", f"/tmp/{_WHEEL}"),
    _name("backslash", f"..\\{_WHEEL}"),
    _name("address", f"https://e.example/{_WHEEL}"),
    _name("newline", f"{_WHEEL}\nevil-1.0-py3-none-any.whl"),
    _name("carriage-return", f"{_WHEEL}\r"),
    _name("bidi", f"alpha-1.0{HIDDEN}-py3-none-any.whl"),
    _name("escape", "alpha-1.0-py3-none-any\x1b[2K.whl"),
    _name("option", f"--pre-{_WHEEL}"),
    _name("shell", "alpha-1.0-$(touch x)-none-any.whl"),
    _name("other-distribution", "evil-1.0-py3-none-any.whl"),
    _name("other-version", "alpha-2.0-py3-none-any.whl"),
    _name("executable", "alpha-1.0.exe"),
    _name("long", f"alpha-1.0-{'a' * 300}-none-any.whl"),
    _name("tag-bomb", f"alpha-1.0-{'.'.join(['a'] * 60)}-{'.'.join(['b'] * 30)}-{'.'.join(['c'] * 20)}.whl"),
    _name("build-tag-digits", f"alpha-1.0-{'9' * 5000}-py3-none-any.whl"),
    in_file("size-text", {"size": "917"}, f"{FILE}.size"),
    in_file("size-negative", {"size": -1}, f"{FILE}.size"),
    in_file("size-flag", {"size": True}, f"{FILE}.size"),
    in_text("size-float", "size = ", "size = 1.5 #", "is damaged"),
    in_text("size-beyond-64-bits", "size = ", "size = 0x1" + "0" * 5000 + ", was = ", "64 bits"),
    in_file("source-archive", {"name": "alpha-1.0.tar.gz"}, f"{FILE}.name", "alpha", "build"),
    in_file("source-zip", {"name": "alpha-1.0.zip"}, f"{FILE}.name", "alpha", "build"),
    without("sha256-missing", (*_FIRST_FILE, "sha256"), FILE, "lacks sha256"),
    _hash("empty", ""),
    _hash("short", "0" * 63),
    _hash("long", "0" * 65),
    _hash("uppercase", "A" * 64),
    _hash("not-hexadecimal", "g" * 64),
    _hash("prefixed", "sha256:" + "0" * 57),
    _hash("md5", "0" * 32),
    _hash("newline", "0" * 64 + "\n"),
    _hash("second-option", "0" * 64 + " --hash=sha256:" + "1" * 64),
    _hash("list", ["0" * 64, "1" * 64]),
    _hash("number", 0),
)

BYTES = (
    whole("empty", lambda text: b"", "schema"),
    whole("no-toml", lambda text: b"\x7fELF\x02\x01\x01", "is damaged"),
    whole("invalid-utf-8", lambda text: text.encode().replace(b'"1.0"', b'"1.\xff\xfe"'), "UTF-8"),
    whole("utf-16", lambda text: text.encode("utf-16"), "UTF-8"),
    whole("nul", lambda text: text.encode().replace(b"alpha", b"al\0pha"), "is damaged"),
    whole("json", lambda text: b'{"schema": 1, "session": "work"}', "is damaged"),
    whole("cut-off", lambda text: text.encode()[: len(text) // 2], ".lock"),
    whole("10-megabytes", lambda text: text.encode() + b"#" + b"x" * 10_000_000, "larger"),
    whole("10-megabyte-string", lambda text: f'session = "{"x" * 10_000_000}"\n{text}'.encode(), "larger"),
    whole("nested-arrays", lambda text: text.encode() + b"\n[x]\na = " + b"[" * 9000 + b"]" * 9000, "nest"),
    whole("nested-tables", lambda text: text.encode() + b"\n[x]\na = " + b"{a=" * 500 + b"1" + b"}" * 500, "nest"),
    whole("dotted-key", lambda text: b"a." * 20_000 + b"a = 1\n" + text.encode(), "line 1"),
    whole("table-of-5000-parts", lambda text: text.encode() + b"[" + b"a." * 5000 + b"a]\n", "is damaged"),
    whole("20000-unknown-keys", lambda text: "".join(f"k{n} = 1\n" for n in range(20_000)).encode() + text.encode(), "k0"),
    whole("3000-unknown-tables", lambda text: text.encode() + "".join(f"[t{n}]\n" for n in range(3000)).encode(), "t0"),
    whole(
        "20000-bad-packages",
        lambda text: text.encode() + b"[[venv.any.package]]\n" * 20_000,
        "venv.any.package[2]",
        "and more",
    ),
    whole("duplicate-key", lambda text: text.replace("schema = 1", "schema = 1\nschema = 1").encode(), "is damaged"),
    whole("duplicate-table", lambda text: text.encode() + b"\n[venv.any]\n", "is damaged"),
    whole("merge-conflict", lambda text: text.replace("session", "<<<<<<< ours\nsession").encode(), "merge conflict", "line"),
    whole("diff-marker", lambda text: text.encode() + b">>>>>>> theirs\n", "merge conflict", "line"),
)

ALL = (*HEADER, *SECTION, *PACKAGES, *FILES, *BYTES)
