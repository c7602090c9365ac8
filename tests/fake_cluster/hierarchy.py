"""The toolchain tree of EasyBuild once more, in its hierarchical naming scheme: compilers and MPIs extend MODULEPATH."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from tests.fake_cluster import SiteUnavailable, easybuild, make, python

CORE = "modules/all/Core"
TOOLCHAIN = ("GCC/11.3.0", "OpenMPI/4.1.4")
BUNDLE = "SciPy-bundle/2022.05"
_KEPT = "ozrepro-test-hierarchy-"
_DONE = "made"


def made(lmod_cmd: str, prefix: Path | None = None) -> Path:
    """Return the tree's folder, in which CORE is what MODULEPATH begins with; made now unless it was before."""
    source = python.find()
    scripts = b"\0".join(Path(str(module.__file__)).read_bytes() for module in (easybuild, python)) + Path(__file__).read_bytes()
    name = f"{_KEPT}{os.geteuid()}-{hashlib.sha256(scripts).hexdigest()[:12]}"
    prefix = Path(os.path.abspath(prefix or Path("/var/tmp") / name))
    with make._alone(prefix):
        if prefix.is_dir() and make._trusted(prefix) and (prefix / _DONE).exists():
            return prefix
        make._clear(prefix)
        before = os.umask(0o022)
        try:
            tools = python.make_tools(source, prefix / "tools")
            _fill(tools, prefix, lmod_cmd)
            shutil.rmtree(tools)
            make._open_to_all(prefix)
            (prefix / _DONE).touch()
        finally:
            os.umask(before)
    return prefix


def _fill(tools: Path, prefix: Path, lmod_cmd: str) -> None:
    settings = tools / "easybuild" / "config.cfg"  # where it looks for them, since its home and settings are the tools' folder
    settings.parent.mkdir()
    settings.write_text("[config]\nmodule-naming-scheme = HierarchicalMNS\n", encoding="utf-8")
    easybuild.make(tools, prefix, lmod_cmd)
    if not (prefix / CORE / f"{TOOLCHAIN[0]}.lua").is_file():
        raise SiteUnavailable("EasyBuild wrote no hierarchy")
