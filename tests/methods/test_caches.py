"""The installers' caches: where they cannot be locked, and that a published environment shares no file with anybody's."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ozrepro.errors import StoreError
from ozrepro.methods.reading import load_settings
from ozrepro.store import caches
from tests.conftest import BIN, Project
from tests.fake_cluster.channel import Channel
from tests.methods.conda.test_method import conda, describe
from tests.store import noflock

ERRORS = (errno.ENOLCK, errno.EINVAL, errno.EIO, errno.ESTALE, 524, errno.ENOSYS, errno.EOPNOTSUPP)
"""What flock(2) answers on some mounts: 524 is Linux' own ENOTSUPP, which leaks from NFS."""

needs_filter = pytest.mark.skipif(bool(noflock.why_not()), reason=noflock.why_not() or "it works")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")


@pytest.fixture(params=("uv", "conda"))
def kind(request: pytest.FixtureRequest) -> str:
    """Give the name of each installer's cache."""
    return str(request.param)


@pytest.fixture
def locked(small: Project, channel: Channel, kind: str) -> Iterator[Project]:
    """Give a project that is locked and not built, by the installer of that cache; its temporary files are its own."""
    found = small
    if kind == "conda":
        found = conda(small, channel)
        describe(found, "activates", "binary-prefix")
    temporary = found.root.parent / "temporary"
    temporary.mkdir()
    found.environ["TMPDIR"] = str(temporary)
    found.done("lock", "work")
    yield found
    subprocess.run(["chmod", "-R", "u+w", str(found.root.parent)], check=True)


def cache_of(project: Project, kind: str) -> Path:
    """Return the folder of an installer's cache in the project's store, which locking has made."""
    (folder,) = (project.store() / "cache").glob(f"*/{kind}")
    return folder


def shared(prefix: Path) -> list[Path]:
    """Return the files of an environment that have another name somewhere."""
    return [path for path in prefix.rglob("*") if not path.is_symlink() and path.is_file() and path.stat().st_nlink > 1]


@needs_filter
def test_where_no_cache_can_be_locked_the_cause_is_told_and_what_helps(locked: Project, kind: str) -> None:
    where = cache_of(locked, kind)
    for number in ERRORS:
        finished = locked.run(sys.executable, noflock.__file__, str(number), str(BIN / "ozrepro"), "build", "work")
        assert finished.returncode == 1
        assert f"{where}: the package cache cannot be locked: {os.strerror(number)} [errno {number}]" in finished.stderr
        assert "try: set OZREPRO_CACHE to a folder on a file system with working locks" in finished.stderr
        assert "requirements" not in finished.stderr
    assert locked.done("build", "work")


@needs_strace
@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS"])
def test_where_the_cache_cannot_be_locked_one_of_the_node_is_used_and_told(locked: Project, kind: str, error: str) -> None:
    lock = cache_of(locked, kind) / ".lock"
    words = ("strace", "-f", "-qq", "-o", os.devnull, "-P", str(lock), "-e", f"inject=flock:error={error}")
    finished = locked.run(*words, str(BIN / "ozrepro"), "build", "work")
    assert finished.returncode == 0, finished.stderr
    nearby = Path(locked.environ["TMPDIR"]) / f"ozrepro-cache-{os.geteuid()}" / kind
    (told,) = [line for line in finished.stderr.splitlines() if "cannot be locked" in line]
    assert str(lock.parent) in told
    assert f"{nearby} is used; OZREPRO_CACHE names another" in told
    assert nearby.is_dir()
    # The store's own bytecode alone, which needs no lock: each file has these two names and no other.
    kept = {path.stat().st_ino for path in (locked.store() / "cache").glob("*/bytecode/**/*") if path.is_file()}
    files = shared(locked.prefix())
    assert {(path.suffix, path.stat().st_nlink, path.stat().st_mode & 0o222) for path in files} <= {(".pyc", 2, 0)}
    assert [path for path in files if path.stat().st_ino not in kept] == []
    assert bool(files) == (kind == "uv")
    assert locked.done("verify", "work")


def test_files_are_shared_with_the_stores_own_cache_alone_and_write_protected_there(locked: Project) -> None:
    locked.done("build", "work")
    inside = {path.stat().st_ino for path in (locked.store() / "cache").rglob("*") if path.is_file()}
    files = shared(locked.prefix())
    assert files
    assert [path for path in files if path.stat().st_ino not in inside or path.stat().st_mode & 0o222] == []


def change(path: Path) -> None:
    """Change a file's content and nothing else that a program can set: not its inode, its size, its mode, its time."""
    before = path.stat()
    path.chmod(0o644)
    with open(path, "r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes((first[0] ^ 1,)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(before.st_mode)
    assert path.stat()[:7] == before[:7]


@needs_strace
def test_a_rebuild_opens_no_file_that_was_compared_before_and_finds_each_that_was_changed(locked: Project, kind: str) -> None:
    if kind == "uv":  # without imports, which would read what they load
        locked.spec('[venv]\nrequirements = ["alpha", "beta"]\n')
    else:
        describe(locked, "activates", "mpich")
    locked.done("lock", "work")
    locked.done("build", "work")
    words = (
        "strace",
        "-f",
        "-qq",
        "-z",
        "-s",
        "500",
        "-e",
        "trace=open,openat",
        str(BIN / "ozrepro"),
        "build",
        "work",
        "--rebuild",
    )
    for finished in (locked.run(*words), locked.run(*words)):
        assert finished.returncode == 0, finished.stderr
    prefix, files = locked.prefix(), shared(locked.prefix())
    assert len(files) >= (4 if kind == "uv" else 2)
    opened = [path for path in files if f"/{prefix.parent.name}/env/{path.relative_to(prefix)}" in finished.stderr]
    # What a package requires, and what activates it, is read each time for what it says.
    assert [path for path in opened if path.name != "METADATA" and "/etc/conda/" not in str(path)] == []
    content = [path for path in files if ".dist-info/" not in str(path)]  # the others uv reads itself
    for path in content:
        change(path)
    whole = {path.relative_to(prefix): path.stat().st_ino for path in content}
    locked.done("build", "work", "--rebuild")
    assert locked.done("verify", "work")
    assert [path for path, inode in whole.items() if (locked.prefix() / path).stat().st_ino == inode] == []


def test_no_file_is_shared_with_a_cache_outside_the_store(locked: Project) -> None:
    own = str(locked.root.parent / "own cache")
    locked.done("build", "work", OZREPRO_CACHE=own)
    assert shared(locked.prefix()) == []
    links = [path for path in locked.prefix().rglob("*") if path.is_symlink()]
    assert [path for path in links if str(path.resolve()).startswith(own)] == []


def test_another_environment_of_uv_keeps_its_modes_and_its_edits_to_itself(small: Project, tmp_path: Path) -> None:
    cache, other = str(tmp_path / "uv cache"), tmp_path / "other"
    environ = {"UV_CACHE_DIR": cache, "UV_LINK_MODE": "hardlink"}
    small.run("uv", "venv", str(other), "--python", sys.executable, **environ)
    python = ("--python", str(other / "bin" / "python"), "--no-index", "--find-links", str(small.wheelhouse))
    done = small.run("uv", "pip", "install", *python, "alpha", "beta", **environ)
    assert done.returncode == 0, done.stderr
    (module,) = other.glob("lib/python3*/site-packages/alpha.py")
    before = module.stat()
    small.done("lock", "work", **environ)
    small.done("build", "work", **environ)
    assert (module.stat().st_mode, module.stat().st_ctime_ns) == (before.st_mode, before.st_ctime_ns)
    module.write_text("EDITED = 1\n")
    assert small.done("verify", "work")


def test_a_cache_of_the_node_that_somebody_may_have_planted_is_refused(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("fcntl.flock", _refuse)
    planted = tmp_path / f"ozrepro-cache-{os.geteuid()}"
    planted.symlink_to(tmp_path)
    with pytest.raises(StoreError, match="planted"):
        caches.lockable(load_settings(project.root, {}), "uv")


def _refuse(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_an_image_is_linked_from_the_stores_own_cache_and_copied_from_any_other(project: Project, tmp_path: Path) -> None:
    settings = load_settings(project.root, {})
    inside, outside = settings.store / "cache" / "x", tmp_path / "x"
    inside.parent.mkdir(parents=True)
    for source, links in ((inside, 2), (outside, 1)):
        source.write_bytes(b"image")
        caches.take(settings, source, settings.store / f"{links}")
        assert (settings.store / f"{links}").read_bytes() == b"image"
        assert source.stat().st_nlink == links
