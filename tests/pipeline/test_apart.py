"""Builds of files that are killed, run out of room, or find no folder to build in. OZREPRO_TEST_KILLS sets how many kills."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ozrepro.errors import BuildError, StoreError
from ozrepro.pipeline.apart import _in
from ozrepro.store import Store, audit
from tests.conftest import Project
from tests.fake_cluster.fixtures import OrdinaryProject
from tests.store.running import ENVIRON
from tests.wheels import make_wheel

TOOLS = ("squashfuse_ll", "mksquashfs")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="squashfuse_ll or mksquashfs is not installed")

KILLS = int(os.environ.get("OZREPRO_TEST_KILLS", "40")) // 4
SEED = os.environ.get("OZREPRO_TEST_SEED", "2026")
WAYS = (
    *(("SIGKILL", whom) for whom in ("parent", "child", "others", "all")),
    *(("SIGTERM", "parent"), ("SIGINT", "parent"), ("SIGTERM", "child"), ("SIGKILL", "parent")),
)


@pytest.fixture
def one(small: Project, tmp_path: Path) -> Project:
    """Give a locked project whose environment is built as one file, in a folder of the node of its own."""
    node = tmp_path / "node"
    node.mkdir()
    small.done("lock", "work")
    return dataclasses.replace(small, environ={**small.environ, "OZREPRO_FORM": "file", "TMPDIR": str(node)})


def node_of(project: Project) -> Path:
    return Path(project.environ["TMPDIR"])


def killed(project: Project, seconds: float, *way: str) -> list[int]:
    """Start a build, kill it that long after it has begun, and wait until all of it has ended.

    Returns how many of its processes were killed while it ran, its status, and those of what it left.
    """
    program = shutil.which("ozrepro", path=project.environ["PATH"])
    assert program is not None
    build = [program, "build", "work", "--rebuild"]
    if isinstance(project, OrdinaryProject):
        build = project.account.command(*build)
    words = [sys.executable, "-m", "tests.pipeline.reaper", str(seconds), *way, *build]
    environ = {**ENVIRON, **project.environ}
    done = subprocess.run(words, cwd=project.root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (way, done.stderr)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.slow
def test_a_killed_build_leaves_no_process_no_mount_and_nothing_broken(one: Project) -> None:
    one.done("build", "work")
    began = time.monotonic()
    assert killed(one, 0, "SIGCONT", "parent")[1] == 0
    span = (time.monotonic() - began) * 0.85
    before, ends = one.prefix(), Counter[str]()
    for number in range(3 * KILLS):
        if ends.total() - ends["late"] == KILLS:
            break
        chance, way = random.Random(f"{SEED} {number}"), WAYS[number % len(WAYS)]
        sent, status, *_ = killed(one, chance.uniform(0, span), *way)
        # A program that the build starts may fail without harm; whatever else is killed in time ends the build.
        in_time = bool(sent) if way[1] == "others" else status != 0
        ends[("ended" if status else "survived") if in_time else "late"] += 1
        if not sent:
            span *= 0.95
        found = audit.environments(Store(one.store()))
        assert [wrong for _, wrong in found.values()] == [[]]
    print(f"\n{KILLS} kills of running builds (seed {SEED}; {dict(ends)}): 0 broken, 0 left")
    assert ends.total() - ends["late"] == KILLS, ends
    assert ends["survived"] <= KILLS / 4, ends  # one way in eight
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    assert f"{one.root.parent}/" not in mounts  # others come and go meanwhile
    one.done("build", "work", "--rebuild")
    assert list(node_of(one).iterdir()) == []
    assert one.prefix() != before
    assert one.done("run", "work", "--", "python", "-c", "import alpha; print(1)") == "1\n"
    one.done("store", "gc", "--yes")
    assert list((one.store() / "gens").iterdir()) == [one.prefix().parent]


def test_temporary_files_that_programs_of_a_build_leave_go_with_its_folder(small: Project, tmp_path: Path) -> None:
    """As uv does where it is killed, whose lock stays."""
    node = tmp_path / "node"
    node.mkdir()
    text = "import os, tempfile\nos.close(tempfile.mkstemp()[0])\nWHERE = tempfile.gettempdir()\n"
    make_wheel(small.wheelhouse, "alpha", "1.0", requires=("beta>=1",), modules={"alpha.py": text})
    small.done("lock", "work")
    small.done("build", "work", "--form", "file", TMPDIR=str(node))
    assert list(node.iterdir()) == []
    assert small.done("run", "work", "--", "python", "-c", "import alpha; print(alpha.WHERE)", TMPDIR=str(node)) == f"{node}\n"


ORPHAN = """\
import os, signal, time
if "/ozrepro-build-" in os.environ["TMPDIR"]:
    with open({log!r}, "w") as stream:
        stream.write(str(os.getpid()))
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(300)
"""


def test_a_program_that_outlives_the_process_of_a_build_is_ended_before_the_folder_is_removed(
    small: Project, tmp_path: Path
) -> None:
    """Its path would lead into the store itself, as the folder that covers it goes with what it covers."""
    node, log = tmp_path / "node", tmp_path / "log"
    node.mkdir()
    make_wheel(small.wheelhouse, "alpha", "1.0", requires=("beta>=1",), modules={"alpha.py": ORPHAN.format(log=str(log))})
    small.done("lock", "work")
    refused = small.ozrepro("build", "work", "--form", "file", TMPDIR=str(node))
    assert refused.returncode == 1
    assert "ended with signal 9" in refused.stderr
    assert not os.path.exists(f"/proc/{log.read_text()}/ns/mnt")
    assert list((small.store() / "gens").iterdir()) == []
    assert list(node.iterdir()) == []


def test_an_ordinary_users_killed_build_ends_with_all_that_it_has_started(ordinary: OrdinaryProject) -> None:
    """In a user namespace, whose process gives up its rights on the way: the kernel could have forgotten who its parent is."""
    make_wheel(ordinary.wheelhouse, "alpha", "1.0")
    ordinary.account.give(ordinary.wheelhouse)
    ordinary.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha"]\n')
    node = ordinary.account.make_folder("node of")
    ordinary.done("lock", "work")
    one = dataclasses.replace(ordinary, environ={**ordinary.environ, "OZREPRO_FORM": "file", "TMPDIR": str(node)})
    for whom in ("parent", "child"):
        sent, status, *left = killed(one, -1, "SIGKILL", whom)
        assert sent == 1
        assert status != 0
        assert whom != "parent" or any(left), left  # the process that builds has not gone on to its end
    one.done("build", "work")
    assert list(node.iterdir()) == []
    node.rmdir()


def test_a_full_store_is_told_as_such_and_keeps_what_was_published(one: Project, small_disk: Path) -> None:
    cache = small_disk.with_name("cache")
    full = dataclasses.replace(
        one, environ={**one.environ, "OZREPRO_STORE": str(small_disk / "store"), "OZREPRO_CACHE": str(cache)}
    )
    full.done("build", "work")
    pages = sum(os.stat(path, follow_symlinks=False).st_blocks * 512 for path in small_disk.rglob("*"))
    subprocess.run(["mount", "-o", f"remount,size={pages + 8192}", str(small_disk)], check=True, capture_output=True)
    refused = full.ozrepro("build", "work", "--rebuild")
    assert refused.returncode == 1
    assert "cannot build an environment: No space left on device" in refused.stderr
    assert "/env.sqfs" in refused.stderr
    assert "try: check your quota" in refused.stderr
    assert len(list((small_disk / "store" / "gens").iterdir())) == 1
    assert full.done("run", "work", "--", "python", "-c", "import alpha; print(1)") == "1\n"


def test_a_full_folder_of_the_node_is_named_with_what_helps(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True, capture_output=True)
    with pytest.raises(StoreError) as caught, _in("/a/disk", small_disk):
        (small_disk / "large").write_bytes(bytes(2 << 20))
    assert str(caught.value.hint) == "TMPDIR=DIR, a folder of this node with more room, or OZREPRO_FORM=tree"
    assert "No space left on device" in caught.value.what
    with pytest.raises(BuildError), _in("/a/disk", small_disk):
        raise BuildError("another thing")


def test_a_build_whose_process_dies_says_how_and_what_to_do(one: Project, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o755)
    code = (
        "import sys; from ozrepro.faststart import ownpath; from ozrepro.__main__ import main;"
        f"ownpath.helper = lambda *words: [{str(program)!r}]; sys.exit(main())"
    )
    said = one.run("python", "-c", code, "build", "work")
    assert said.returncode == 1
    assert "the build of work in" in said.stderr
    assert "ended with signal 9" in said.stderr
    assert "try: the same command again, or OZREPRO_FORM=tree" in said.stderr
    assert list((one.store() / "gens").iterdir()) == []
