"""Modules whose software the environment's file keeps: told, packed, compared, mounted over its own paths, and used when it is gone."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.fake_cluster import Site
from tests.fake_cluster.fixtures import OrdinaryProject, copy_site
from tests.methods.modules.modular import quoted
from tests.wheels import make_wheel

TOOLS = ("squashfuse_ll", "mksquashfs")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="squashfuse_ll or mksquashfs is not installed")

SPEC = """imports = ["yaml", "alpha"]

[modules]
load = [{load}]
keep = "{keep}"
[modules.venv]
requirements = ["alpha"]
"""
WHERE = """import alpha, json, os, sys, yaml
print(json.dumps([sys.prefix, sys.base_prefix, sys.executable, sys.path, yaml.__file__, os.getuid(),
    yaml.load("[1, 2.5]", yaml.CSafeLoader), sorted(os.listdir(os.path.dirname(yaml.__file__)))]))"""
RUN = ("run", "work", "--", "python", "-c", WHERE)


@dataclasses.dataclass(frozen=True)
class Kept:
    """A project of an ordinary user on a site of its own, whose software is root's and may be taken away."""

    project: OrdinaryProject
    site: Site

    @property
    def software(self) -> Path:
        """Where the site's software is."""
        return self.site.prefix / "apps" / "software"

    def asks(self, keep: str) -> None:
        """Describe the session so that it keeps this."""
        self.project.spec(SPEC.format(load=quoted(self.site.names["pyyaml"]), keep=keep))

    def modulefile(self, name: str) -> Path:
        """Return the file of a module."""
        return next((self.site.prefix / "apps" / "modulefiles").rglob(f"{self.site.names[name]}.lua"))

    def remove(self, *names: str) -> None:
        """Take modules away, software and file, as a site does that moves to a newer toolchain."""
        for name in names:
            self.modulefile(name).rename(self.site.prefix / f"{name}.lua")
            (self.software / self.site.names[name]).rename(self.site.prefix / f"the {name}")


@pytest.fixture
def kept(ordinary: OrdinaryProject, site: Site) -> Kept:
    """Give such a project, locked while it keeps nothing; the site's Python is one file with the shared one's."""
    folder = ordinary.root.parent / "the site"
    ordinary.root.parent.chmod(0o755)
    copied = copy_site(site, folder)
    # Without the bytecode of its packages, for which Python looks all the same.
    for name, more in (("python", ()), ("pyyaml", ("__pycache__",))):
        (folder / "apps" / "software" / name).unlink()
        source = site.prefix / "apps" / "software" / name
        target = folder / "apps" / "software" / name
        idle = shutil.ignore_patterns("pip", "include", "*-bare", "lib2to3", "asyncio", *more)
        shutil.copytree(source, target, symlinks=True, copy_function=os.link, ignore=idle)
    make_wheel(ordinary.wheelhouse, "alpha", "1.0")
    ordinary.account.give(ordinary.wheelhouse)
    environ = {"LMOD_CMD": copied.lmod_cmd, "MODULEPATH": copied.modulepath(), "OZREPRO_PLATFORM": "site", "OZREPRO_FORM": "file"}
    found = Kept(dataclasses.replace(ordinary, environ={**ordinary.environ, **environ}), copied)
    found.asks("")
    found.project.done("lock", "work")
    return found


class Opens:
    """Counts what is opened below a folder of the machine (inotify(7)): a file at the same path inside a mount is another one."""

    OPEN, ONLY_FOLDERS = 0x20, 0x01000000

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for base, _, _ in os.walk(folder):
            assert libc.inotify_add_watch(self._events, os.fsencode(base), self.OPEN | self.ONLY_FOLDERS) >= 0
        self.forget()

    def forget(self) -> int:
        """Return how many bytes of events there were, and forget them."""
        try:
            return len(os.read(self._events, 1 << 20))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Watch no more."""
        os.close(self._events)


def test_a_start_opens_nothing_of_the_sites_and_goes_on_when_its_modules_are_removed(kept: Kept) -> None:
    project, lock = kept.project, kept.project.lock().read_bytes()
    kept.asks("all")
    tree = project.ozrepro(*RUN, OZREPRO_FORM="tree")
    line = 'work: keep = "all" of [modules] has no effect on a folder; form = "file" in [tool.ozrepro] makes it a file'
    assert line in tree.stderr
    built = project.ozrepro("build", "work")
    assert built.returncode == 0, built.stderr
    assert re.search(r"work: keeping [\d,]+ files, [\d.]+ MiB, of 3 folders: ", built.stderr)
    assert "not kept" not in built.stderr
    first = project.done(*RUN)
    assert normal(first) == normal(tree.stdout)
    opens = Opens(kept.site.prefix / "apps")
    assert project.done(*RUN) == first
    assert opens.forget() == 0
    project.done(*RUN, OZREPRO_FORM="tree")
    assert opens.forget() > 0
    opens.close()
    kept.remove("python", "pyyaml", "gcc")
    assert project.done(*RUN) == first
    (project.root / ".ozrepro" / "ready").rename(project.root / "away")  # the next start looks at everything
    said = project.ozrepro(*RUN)
    assert (said.stdout, said.returncode) == (first, 0)
    assert "none of its 6 files is here" in said.stderr or "is gone; the environment's file keeps it as it was" in said.stderr
    assert "the environment's file keeps it as it was" in project.ozrepro("status").stderr
    assert "verified" in project.done("verify", "work", "--level", "2")
    assert "is gone" in project.done("diff", "work")
    again = project.ozrepro("build", "work", "--rebuild")
    assert again.returncode == 3
    assert "this machine has drifted from modules.linux-64/site" in again.stderr
    assert project.lock().read_bytes() == lock


def test_python_alone_is_kept_and_what_is_not_is_still_compared(kept: Kept) -> None:
    project = kept.project
    kept.asks("python")
    library = next((kept.software / kept.site.names["python"]).glob("lib/libpython3*.so.1.0"))
    content = library.read_bytes()
    library.unlink()  # it is one file with the shared site's
    library.write_bytes(content[:-1])
    refused = project.ozrepro("build", "work")
    assert refused.returncode == 3
    assert f"{library} was changed" in refused.stderr
    library.write_bytes(content)
    assert "of 2 folders: " in project.ozrepro("build", "work").stderr
    first = project.done(*RUN)
    assert kept.software.name in first
    kept.remove("python", "pyyaml")
    assert project.done(*RUN) == first
    kept.remove("gcc")
    drifted = project.ozrepro(*RUN)
    assert drifted.returncode == 3
    assert "module gcc/11.3.0: " in drifted.stderr
    assert "module python" not in drifted.stderr


def normal(said: str) -> list[object]:
    """Return what a program saw without the name of its generation."""
    found: list[object] = json.loads(re.sub(r"gens/[^/]*/", "gens/ONE/", said))
    return found
