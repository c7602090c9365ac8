"""The script that is run in an image: its parts, with this machine's Python, on files as package tools write them."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from ozrepro.python import look
from tests.wheels import make_wheel


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_script_needs_nothing_but_the_standard_library_of_an_old_python() -> None:
    """It is sent as text to whatever Python an image has: 3.6 knows no walrus, no annotations of builtins, no positional marks."""
    source = Path(look.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= {"base64", "hashlib", "json", "os", "re", "stat", "subprocess", "sys"}
    assert not any(isinstance(node, (ast.ImportFrom, ast.JoinedStr, ast.AnnAssign, ast.NamedExpr)) for node in ast.walk(tree))
    assert not any(argument.annotation for node in ast.walk(tree) if isinstance(node, ast.arguments) for argument in node.args)


def test_distributions_are_those_that_python_finds_first(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write(
        first / "Zope.Interface-6.0.dist-info" / "METADATA",
        "Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 6.0\n\nName: no\n",
    )
    write(first / "odd__name-1.egg-info", "Name: odd__name\nVersion: 1\n")
    write(first / "folder-2.egg-info" / "PKG-INFO", "Name: Folder\nVersion: 2\n")
    write(first / "damaged-3.dist-info" / "other", "")
    write(second / "zope_interface-5.0.dist-info" / "METADATA", "Name: zope_interface\nVersion: 5.0\n")
    write(second / "more-1.dist-info" / "METADATA", "Name: more\nVersion: 1\n")
    found = look.distributions((str(first), str(tmp_path / "gone"), str(second)))
    assert {name: version for name, (version, _) in found.items()} == {
        "zope-interface": "6.0",
        "odd-name": "1",
        "folder": "2",
        "more": "1",
    }


def test_the_names_to_import_are_those_of_what_was_installed(tmp_path: Path) -> None:
    folder = tmp_path / "thing-1.dist-info"
    record = "\n".join(
        (
            *("../../../bin/thing,sha256=x,5", "thing/__init__.py,sha256=x,5", "thing/deep/part.py,,", "single.py,,"),
            *("_speed.cpython-311-x86_64-linux-gnu.so,,", '"thing/with,comma.txt",sha256=x,5', "thing-1.dist-info/RECORD,,"),
            *("__pycache__/single.cpython-311.pyc,,", "9lives/__init__.py,,", "distutils-precedence.pth,,"),
        )
    )
    write(folder / "RECORD", record + "\n")
    write(folder / "top_level.txt", "thing\nfrom_list\nnot-a-name\n")
    assert look.importable(str(folder)) == ["_speed", "from_list", "single", "thing"]
    assert look.importable(str(tmp_path / "gone.dist-info")) == []


def test_the_names_to_import_of_a_real_wheel_are_found(tmp_path: Path) -> None:
    import zipfile

    wheel = make_wheel(tmp_path / "wheels", "alpha", "1.0", modules={"alpha/__init__.py": "", "beta.py": ""})
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (info,) = (tmp_path / "site").glob("*.dist-info")
    assert look.fields(str(info / "METADATA")) == ("alpha", "1.0")
    assert look.importable(str(info)) == ["alpha", "beta"]


DPKG = """\
Package: bash
Essential: yes
Status: install ok installed
Priority: required
Description: GNU Bourne Again SHell
 Package: not-this
Version: 5.2.15-2+b2

Package: removed
Status: deinstall ok config-files
Version: 1.0

Package: half
Status: install ok installed

Package: zlib1g
Status: install ok installed
Version: 1:1.2.13.dfsg-1
"""
APK = "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\n\nP:busybox\nV:1.36.1-r5\n\n"


def test_packages_of_debian_and_alpine_are_read_from_their_databases(tmp_path: Path) -> None:
    dpkg, apk = write(tmp_path / "status", DPKG), write(tmp_path / "installed", APK)
    assert look.stanzas(str(dpkg), "Package: ", "Version: ") == {"bash 5.2.15-2+b2", "zlib1g 1:1.2.13.dfsg-1"}
    assert look.stanzas(str(apk), "P:", "V:") == {"musl 1.2.4-r2", "busybox 1.36.1-r5"}
    assert look.stanzas(str(tmp_path / "gone"), "P:", "V:") == set()


def test_conda_s_packages_are_read_from_the_environment_s_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "conda-meta" / "python-dateutil-2.9.0-pyhd8ed1ab_0.json", "{}")
    write(tmp_path / "conda-meta" / "history", "")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert "python-dateutil 2.9.0 pyhd8ed1ab_0" in look.system()


def seen(root: Path, monkeypatch: pytest.MonkeyPatch, *passed_over: str) -> tuple[str, int]:
    """Return the digest of a tree that stands for an image's root."""
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda _: walk(root))
    try:
        return look.tree(frozenset(passed_over))
    finally:
        monkeypatch.setattr(os, "walk", walk)


def test_the_digest_of_a_tree_is_of_path_mode_and_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a" / "file", "x")
    (tmp_path / "a" / "link").symlink_to("file")
    (tmp_path / "folder link").symlink_to("a")
    before = seen(tmp_path, monkeypatch)
    assert before[1] == 3
    os.utime(file, (1, 1))
    write(tmp_path / "a" / "__pycache__" / "m.cpython-311.pyc", "dates")
    write(tmp_path / "a" / "m.pyc", "dates")
    os.mkfifo(tmp_path / "a" / "pipe")
    assert seen(tmp_path, monkeypatch) == before
    digests = {before[0]}
    file.write_text("y")
    digests.add(seen(tmp_path, monkeypatch)[0])
    file.chmod(0o755)
    digests.add(seen(tmp_path, monkeypatch)[0])
    (tmp_path / "folder link").unlink()
    (tmp_path / "folder link").symlink_to("b")
    digests.add(seen(tmp_path, monkeypatch)[0])
    file.rename(tmp_path / "a" / "other")
    digests.add(seen(tmp_path, monkeypatch)[0])
    assert len(digests) == 5


def test_mounts_and_what_no_two_builds_have_alike_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", "x")
    before = seen(tmp_path, monkeypatch)
    write(tmp_path / "var" / "log" / "apt.log", "12:00")
    write(tmp_path / "hosts", "1")
    assert seen(tmp_path, monkeypatch, str(tmp_path / "var" / "log"), str(tmp_path / "hosts")) == before
    assert seen(tmp_path, monkeypatch) != before
    assert "/proc" in look.mounts()
    assert "/" not in look.mounts()
