"""A toolchain tree as EasyBuild itself writes it: real modulefiles over empty prefixes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.fake_cluster import BASE_PATH
from tests.fake_cluster.python import install_tool, run

EASYBUILD = "5.4.1"
EASYCONFIG = "SciPy-bundle-2022.05-foss-2022a.eb"
BUNDLE = "SciPy-bundle/2022.05-foss-2022a"


def make(tools: Path, prefix: Path, lmod_cmd: str) -> None:
    """Let EasyBuild write the modulefiles of foss-2022a and of all that it stands on."""
    install_tool(tools, f"easybuild=={EASYBUILD}")
    words = [EASYCONFIG, "--module-only", "--force", "--robot", "--module-syntax=Lua", "--modules-tool=Lmod"]
    words += [f"--prefix={tools / 'easybuild'}", f"--installpath={prefix}", f"--tmpdir={tools / 'tmp'}"]
    if os.geteuid() == 0:
        words.append("--allow-use-as-root-and-accept-consequences")
    python = str(tools / "bin" / "python")
    # A home of its own: nobody's EasyBuild settings or Lmod caches are read or written.
    own = {"HOME": str(tools), "XDG_CONFIG_HOME": str(tools), "XDG_CONFIG_DIRS": str(tools), "EB_PYTHON": python}
    run(
        [str(tools / "bin" / "eb"), *words],
        "EasyBuild",
        **own,
        LMOD_CMD=lmod_cmd,
        MODULEPATH="",
        PATH=f"{tools / 'bin'}:{os.path.dirname(lmod_cmd)}:{BASE_PATH}",
    )
    for folder in (prefix / "modules").iterdir():
        if folder.name != "all":
            shutil.rmtree(folder)  # the same modulefiles by subject, as links
    for log in prefix.glob("software/*/*/easybuild/*.log*"):
        log.unlink()
