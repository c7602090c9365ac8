"""The emulator as a folder that can be changed: it does what is asked, and counts what a Lustre client would send for it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.model import METADATA, QUIET
from ozrepro.store.forms import find_tools, why_no_mount
from tests.conftest import Project
from tests.wheels import make_wheel

REASON = Emulator.unavailable()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)

FAST = replace(QUIET, name="fast", mds_us=0, ost_us=0)
MODULES = 100

CHANGES = """\
import os
os.mkdir("d", 0o700)
with open("d/a", "wb") as stream:
    stream.write(b"one" * 1000)
os.chmod("d/a", 0o640)
os.utime("d/a", ns=(1, 2))
os.link("d/a", "d/second")
os.symlink("a", "d/link")
os.rename("d/a", "b")
with open("b", "ab") as stream:
    stream.write(b"two")
os.truncate("b", 3002)
os.unlink("d/second")
os.unlink("d/link")
os.rmdir("d")
assert os.listdir(".") == ["b"]
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Emulator, Path, Path]]:
    """Give an emulator of an empty folder, the folder, and where it is mounted."""
    source, mount = tmp_path / "source", tmp_path / "mount"
    source.mkdir()
    with Emulator(source, [mount], FAST, writable=True) as emulator:
        yield emulator, source, mount


def test_what_is_changed_through_a_mount_is_changed_and_counted(served: tuple[Emulator, Path, Path]) -> None:
    emulator, source, mount = served
    subprocess.run([sys.executable, "-I", "-S", "-c", CHANGES], cwd=mount, check=True)
    assert (source / "b").read_bytes() == b"one" * 1000 + b"tw"
    found = os.stat(source / "b")
    assert (stat.S_IMODE(found.st_mode), found.st_nlink) == (0o640, 1)
    sent = emulator.totals()
    # The folder, mode, times, second name, link, new name, length, and three removed.
    assert (sent.creates, sent.changes) == (1, 10)
    assert (sent.opens, sent.closes, sent.readdirs) == (1, 2, 1)
    assert (sent.lookups, sent.reads) == (0, 0)


def test_a_read_only_emulator_stays_one(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with Emulator(tmp_path / "source", [tmp_path / "mount"], FAST), pytest.raises(OSError, match="Read-only"):
        (tmp_path / "mount" / "a").touch()


def test_a_build_of_one_file_asks_for_no_small_file(served: tuple[Emulator, Path, Path], project: Project) -> None:
    """The packages' cache is elsewhere: what is fetched and unpacked into it is the same for both."""
    tools = find_tools(project.environ["PATH"], None)
    reason = tools if isinstance(tools, str) else why_no_mount(tools)
    if reason:
        pytest.skip(reason)
    emulator, source, mount = served
    modules = {f"large/part{number}.py": f"NUMBER = {number}\n" for number in range(MODULES)}
    make_wheel(project.wheelhouse, "large", modules={"large/__init__.py": "", **modules})
    project.spec('imports = ["large"]\n\n[venv]\nrequirements = ["large"]\n')
    project.done("lock", "work")
    cache, before, sent = str(project.root.parent / "cache"), emulator.totals().as_dict(), {}
    for form in ("tree", "file"):
        more = {"OZREPRO_STORE": str(mount / form), "OZREPRO_CACHE": cache, "OZREPRO_FORM": form}
        project.done("build", "work", **more)
        after = emulator.totals().as_dict()
        sent[form], before = {kind: after[kind] - before[kind] for kind in after}, after
        project.done("run", "work", "--", "python", "-c", "import large.part7", **more)
        before = emulator.totals().as_dict()
    (generation,) = (source / "file" / "gens").iterdir()
    assert {path.name for path in generation.iterdir()} == {"env", "env.sqfs", "start", "generation.json"}
    assert sent["file"]["create"] < 12
    metadata = {form: sum(sent[form][kind] for kind in METADATA) for form in sent}
    assert metadata["file"] < 160
    assert metadata["tree"] > 12 * MODULES
