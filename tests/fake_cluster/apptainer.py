"""Real Apptainer, of Debian unstable, on an older Debian: unpacked with the C library that it needs into a private folder.

Nothing outside the folder is touched. Apptainer without setuid takes its folders from where its program lies, and its two
programs are told to use the private C library; what they start (mksquashfs, squashfuse) is the machine's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.fake_cluster import BASE_PATH, SiteUnavailable, debian
from tests.fake_cluster.python import run

# What Apptainer starts when it runs; and what making needs besides.
RUNNING = {"mksquashfs": "squashfs-tools", "squashfuse_ll": "squashfuse", "fusermount3": "fuse3", "newuidmap": "uidmap"}
MAKING = {"patchelf": "patchelf", "mmdebstrap": "mmdebstrap"}
_LIBRARIES = "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu"


def install(prefix: Path, scratch: Path) -> Path:
    """Put Apptainer into a prefix and return its program."""
    debian.unpack("unstable", ("apptainer", "libc6"), scratch)
    library = next((scratch / "usr" / "lib").glob("*/apptainer")).parent
    libc = prefix / "libc"
    libc.mkdir(parents=True)
    for path in library.glob("*.so*"):
        shutil.copy2(path, libc, follow_symlinks=False)
    (prefix / "bin").mkdir()
    program = Path(shutil.copy2(scratch / "usr" / "bin" / "apptainer", prefix / "bin"))
    shutil.copytree(library / "apptainer", prefix / "lib" / library.name / "apptainer")
    shutil.copytree(scratch / "etc" / "apptainer", prefix / "etc" / "apptainer")
    (prefix / "var" / "lib" / "apptainer" / "mnt" / "session").mkdir(parents=True)
    # Its second program, two folders deeper in Debian's layout than in its author's, takes PREFIX/lib for the prefix.
    for name in ("bin", "etc", "var"):
        (prefix / "lib" / name).symlink_to(f"../{name}")
    (prefix / "lib" / "lib").symlink_to(".")
    starter = prefix / "lib" / library.name / "apptainer" / "bin" / "starter"
    for path in (program, starter):
        # RPATH, not RUNPATH: what the programs load later must come from the same place, or no image can be unpacked.
        settings = ["--set-interpreter", f"{libc}/ld-linux-x86-64.so.2", "--set-rpath", f"{libc}:{_LIBRARIES}"]
        run(["patchelf", "--force-rpath", *settings, str(path)], "setting the C library")
    return program


def installed() -> Path | None:
    """Return the machine's own Apptainer, which an ordinary user takes rather than one made here."""
    found = shutil.which("apptainer") or shutil.which("singularity")
    return Path(found) if found and os.geteuid() != 0 else None


def version(program: Path) -> str:
    """Return what it calls itself: `1.4.5`."""
    done = subprocess.run([str(program), "--version"], env={"PATH": BASE_PATH}, capture_output=True, text=True, check=False)
    words = done.stdout.split()
    if done.returncode or not words:
        raise SiteUnavailable(f"{program} does not run: {done.stderr.strip()}")
    return words[-1]
