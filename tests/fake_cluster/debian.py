"""What the machine's own Debian archive gives: packages to install, and packages of other suites without their suite.

The archive's address and key are those of the machine's own apt. Another suite is read through lists of its own in a
folder that is thrown away, with apt's check of signatures; the machine never hears of it, so nothing there is upgraded.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.fake_cluster import SiteUnavailable
from tests.fake_cluster.python import run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Hooks of the machine's apt are for its own packages; folders are set anew.
_NOT_TAKEN = ("Dir", "APT::Update::", "DPkg::", "RPM", "Binary")


@dataclass(frozen=True)
class Archive:
    """The Debian archive that this machine installs from."""

    uri: str

    def source(self, suite: str) -> str:
        """Return the line of a sources list for one suite."""
        signed = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
        return f"deb {signed}{self.uri} {suite} main"


def archive() -> Archive:
    """Return the machine's Debian archive; the one of security updates is another."""
    if not shutil.which("apt-get"):
        raise SiteUnavailable("no apt-get here: the container part of the site is made from Debian packages")
    found = _known()
    if found is None and os.geteuid() == 0:
        _update()  # a fresh machine knows addresses, and not yet whose they are
        found = _known()
    if found is None:
        raise SiteUnavailable("apt knows no Debian archive here")
    return found


def _known() -> Archive | None:
    """Return the first archive whose index says that it is Debian's."""
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    for line in run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"], "asking apt for its sources"
    ).splitlines():
        origin, label, uri = line.split("|")
        if (origin, label) == ("Debian", "Debian") and uri.startswith(("http://", "https://", "file:")):
            return Archive(uri.rstrip("/"))
    return None


def _update() -> None:
    try:
        run(["apt-get", "-q", "update"], "apt-get update", DEBIAN_FRONTEND="noninteractive")
    except RuntimeError as error:
        raise SiteUnavailable(f"apt-get update failed (no network?): {error}") from error


def install(programs: dict[str, str]) -> None:
    """Install the packages whose programs are missing; `programs` maps a program to the package that has it."""
    missing = sorted({package for program, package in programs.items() if not shutil.which(program, path=_everywhere())})
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SiteUnavailable(f"not installed: {', '.join(missing)}; only root on Debian can install them")
    _update()
    try:
        command = ["apt-get", "-qy", "install", "--no-install-recommends", *missing]
        run(command, "apt-get install", DEBIAN_FRONTEND="noninteractive")
    except RuntimeError as error:
        raise SiteUnavailable(f"cannot install {', '.join(missing)} (no network?): {error}") from error


def _everywhere() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def unpack(suite: str, packages: tuple[str, ...], folder: Path) -> None:
    """Download packages of a suite and unpack them together below a folder; nothing is installed."""
    private = folder / "apt"
    for needed in ("lists/partial", "cache/archives/partial", "parts", "debs"):
        (private / needed).mkdir(parents=True)
    (private / "sources.list").write_text(f"{archive().source(suite)}\n", encoding="utf-8")
    (private / "apt.conf").write_text(_configuration(private), encoding="utf-8")
    # It is read before the machine's own settings, so it says that there are none: what they say is copied in.
    environ = {"APT_CONFIG": str(private / "apt.conf")}
    try:
        run(["apt-get", "-q", "update"], f"reading the index of {suite}", **environ)
        # It downloads into the folder that it runs in.
        fetch = ["env", "-C", str(private / "debs"), "apt-get", "-q", "download", *packages]
        run(fetch, f"downloading {', '.join(packages)}", **environ)
    except RuntimeError as error:
        raise SiteUnavailable(f"no packages of Debian {suite} (no network?): {error}") from error
    for package in (private / "debs").glob("*.deb"):
        run(["dpkg-deb", "-x", str(package), str(folder)], f"unpacking {package.name}")
    shutil.rmtree(private)


def _configuration(private: Path) -> str:
    """Return the machine's settings of apt (a proxy, for one) with all folders that are written to in a private place."""
    dumped = run(["apt-config", "dump"], "reading apt's settings").splitlines()
    kept = [line for line in dumped if not re.match(rf"({'|'.join(_NOT_TAKEN)})\b", line)]
    folders = {
        "Dir::Etc::SourceList": private / "sources.list",
        "Dir::Etc::SourceParts": private / "parts",
        "Dir::Etc::Parts": private / "parts",
        "Dir::Etc::Main": "/dev/null",
        "Dir::State::Lists": private / "lists",
        "Dir::Cache": private / "cache",
    }
    return "\n".join([*kept, *(f'{key} "{path}";' for key, path in folders.items()), 'APT::Sandbox::User "root";']) + "\n"
