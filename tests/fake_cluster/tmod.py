"""Real Environment Modules beside the system's Lmod, with which Debian's package conflicts, and the site's trees in its language.

The packages of Debian 12 and 13 are unpacked into folders of their own, as Apptainer is; they need `tclsh` and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fake_cluster import SiteUnavailable, debian

if TYPE_CHECKING:
    from tests.fake_cluster import Site

SUITES = {"5.2": "bookworm", "5.5": "trixie"}
"""The versions, and the Debian that has them."""

_NAME = "ozrepro-test-environment-modules"
_PLACES = re.compile(rb"(?<![\w./-])/(?:usr/lib/[\w-]+/modulecmd\.tcl|usr/share/modules|etc/environment-modules)")
_SCRIPT = "modulecmd.tcl"
_JOINED = re.compile(r'pathJoin\(root, ((?:"[^"]*"(?:, )?)+)\)')
_LINES = (
    (re.compile(r'local root = "(.*)"'), r"set root {\1}"),
    (re.compile(r'conflict\("(.*)"\)'), r"conflict \1"),
    (re.compile(r'prepend_path\("MODULEPATH", "(.*)"\)'), r"module use {\1}"),
    (re.compile(r'family\("(.*)"\)'), r"family \1"),
    (re.compile(r'depends_on\("(.*)"\)'), r"depends-on \1"),
    (re.compile(r'source_sh\("bash", "?(.*?)"?\)'), r'source-sh bash "\1"'),
    (re.compile(r'prepend_path\("(.*?)", "?(.*?)"?\)'), r'prepend-path \1 "\2"'),
    (re.compile(r'setenv\("(.*?)", "?(.*?)"?\)'), r'setenv \1 "\2"'),
)


def make(version: str) -> str:
    """Return the script of a version, unpacked if need be. Raises SiteUnavailable."""
    debian.install({"tclsh": "tcl"})
    folder = Path("/var/tmp") / f"{_NAME}-{os.geteuid()}-{version}-moved"
    if not folder.is_dir():
        made = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            debian.unpack(SUITES[version], ("environment-modules",), made)
            _move(made, folder)
            made.chmod(0o755)
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process made it meanwhile
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    found = [path for path in folder.glob(f"usr/lib/**/{_SCRIPT}") if not path.is_symlink()]
    if not found or folder.lstat().st_uid not in {0, os.geteuid()}:
        raise SiteUnavailable(f"{folder} has no {_SCRIPT} of this user's")
    return str(found[0])


def _move(made: Path, folder: Path) -> None:
    """Let the tool's files name each other where they will be."""
    for path in made.rglob("*"):
        if path.is_file() and not path.is_symlink():
            old = path.read_bytes()
            new = _PLACES.sub(lambda found: os.fsencode(folder) + found[0], old)
            if new != old and b"\0" not in old:
                path.write_bytes(new)


def home_of(script: str) -> str:
    """Return the folder with the files for shells."""
    return script[: script.index("/usr/lib/")] + "/usr/share/modules"


def as_tcl(lua: str) -> str:
    """Return a modulefile of the site's, which has the words of EasyBuild's, as EasyBuild writes it in Tcl."""
    body = re.sub(r"help\(\[==\[.*?\]==\]\)\n", "", lua, flags=re.DOTALL)
    lines = ["#%Module"]
    for line in body.splitlines():
        if not line.strip() or line.startswith(("whatis(", "extensions(")):
            continue
        text = _JOINED.sub(lambda found: '"$root/' + "/".join(re.findall(r'"([^"]*)"', found[1])) + '"', line)
        text = re.sub(r", root\)", ', "$root")', text)
        for form, tcl in _LINES:
            if form.fullmatch(text):
                lines.append(form.sub(tcl, text))
                break
        else:
            raise ValueError(f"{line!r} has no form in Tcl here")
    return "\n".join(lines) + "\n"


def make_tree(site: Site, folder: Path) -> str:
    """Write the OzSTAR-shaped tree in Tcl below a folder and return its first directory; the software is the site's own."""
    old = Path(site.roots["ozstar"]).parent
    for path in old.rglob("*.lua"):
        new = folder / str(path.relative_to(old)).removesuffix(".lua")
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(as_tcl(path.read_text(encoding="utf-8")).replace(str(old), str(folder)), encoding="utf-8")
    return str(folder / "core")
