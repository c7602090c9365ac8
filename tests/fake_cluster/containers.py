"""Makes the container part of the test site: `python -m tests.fake_cluster.containers [--prefix DIR]`.

Real Apptainer, a base image of Debian 12 with its Python 3.11 as a registry would hold it, and the same as a SIF file.
All of it is kept outside the repository, as the site is; what marks it as whole is its containers.json, renamed there last.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fake_cluster import SiteUnavailable, apptainer, debian, make, oci, ordinary, python

DESCRIPTION = "containers.json"
SUITE = "bookworm"
NAME, TAG = "python", "3.11-bookworm"
ENVIRON = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
PACKAGES = ("python3", "python3-venv", "python3-pip", "python-is-python3", "ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# Compressing at the usual level takes 30 s of processor time for an image of 150 MB, and proves nothing.
QUICK = {"APPTAINER_MKSQUASHFS_ARGS": "-Xcompression-level 1"}
_KEPT = "ozrepro-test-containers-"
_WEEK = 7 * 24 * 3600


@dataclass(frozen=True)
class Containers:
    """What the container part offers."""

    prefix: Path
    digest: str
    """Of the scripts that made it and of the machine's Debian."""
    program: str
    """Apptainer."""
    version: str
    """Apptainer's."""
    registry: str
    """The registry's program."""
    manifest: str
    """The digest of the base image's manifest for this machine."""
    index: str
    """The digest that the base image's tag has: an index of two platforms."""
    base_sif_digest: str

    @property
    def bin(self) -> Path:
        """The folder of Apptainer's program, for PATH."""
        return Path(self.program).parent

    @property
    def layout(self) -> Path:
        """The base image as an OCI layout."""
        return self.prefix / "base"

    @property
    def base(self) -> Path:
        """The base image as a SIF file, for `Bootstrap: localimage`."""
        return self.prefix / "base.sif"


def make_containers(prefix: Path, digest: str, account: ordinary.Account) -> Containers:
    """Make everything in an empty folder; the SIF is built by an ordinary user, as every other will be."""
    with tempfile.TemporaryDirectory(prefix=".making-", dir=prefix) as scratch:
        work = Path(scratch)
        program = apptainer.installed() or apptainer.install(prefix / "apptainer", work / "apptainer")
        (work / "registry").mkdir()
        debian.unpack(SUITE, ("docker-registry",), work / "registry")
        (prefix / "bin").mkdir()
        registry = shutil.copy2(work / "registry" / "usr" / "bin" / "docker-registry", prefix / "bin")
        index, manifest = oci.write(prefix / "base", _root_file_system(work), ENVIRON)
    make._open_to_all(prefix)
    prefix.chmod(0o755)
    _build(program, prefix, account)
    return Containers(
        prefix=prefix,
        digest=digest,
        program=str(program),
        version=apptainer.version(program),
        registry=str(registry),
        manifest=manifest,
        index=index,
        base_sif_digest=hashlib.sha256((prefix / "base.sif").read_bytes()).hexdigest(),
    )


def _root_file_system(work: Path) -> Path:
    """Return a tar of Debian 12 with Python, as mmdebstrap makes it."""
    target = work / "base.tar"
    # Public Python images have a pip that installs where it is told to; Debian's own refuses to.
    hook = '--customize-hook=rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED'
    unread = [
        f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info", "i18n", "perl/5*/unicore/lib")
    ]
    # So that pip in %post trusts what the machine trusts: a site's network may have a certificate authority of its own.
    trusted = [f"--customize-hook=upload {BUNDLE} {BUNDLE}"] if os.path.exists(BUNDLE) else []
    what = ["--variant=minbase", f"--include={','.join(PACKAGES)}", "--skip=output/dev", hook, *trusted, *unread]
    command = ["mmdebstrap", "--quiet", *what, SUITE, str(target), debian.archive().source(SUITE)]
    try:
        # Made by an ordinary user, it is written by the users that the user maps: the folder must be everybody's.
        python.run(command, "making the base image", TMPDIR="/var/tmp")
    except RuntimeError as error:
        raise SiteUnavailable(f"no base image (no network?): {str(error).splitlines()[-1]}") from error
    return target


def _build(program: Path, prefix: Path, account: ordinary.Account) -> None:
    """Let the ordinary user build the SIF in a folder of theirs, and keep it."""
    folder = account.make_folder("base")
    environ = {**account.environ(), **QUICK}
    done = account.run(program, "build", folder / "base.sif", f"oci:{prefix / 'base'}", environ=environ)
    if done.returncode:
        raise RuntimeError(f"the base image was not built ({done.returncode}):\n{done.stderr[-2000:]}")
    draft = prefix / "base.sif.new"
    shutil.copyfile(folder / "base.sif", draft)
    draft.chmod(0o755)
    draft.replace(prefix / "base.sif")
    shutil.rmtree(folder)


def wanted_digest() -> str:
    """Return what tells one container part from another, as a site's digest does."""
    modules = (apptainer, debian, oci)
    scripts = [Path(str(module.__file__)).read_bytes() for module in modules] + [Path(__file__).read_bytes()]
    own = apptainer.installed()
    here = [platform.freedesktop_os_release().get("VERSION_ID", "").encode(), str(own or "").encode()]
    here.append(Path(BUNDLE).read_bytes() if os.path.exists(BUNDLE) else b"")
    return "-".join(hashlib.sha256(b"\0".join(parts)).hexdigest()[:12] for parts in (scripts, here))


def load_containers(prefix: Path) -> Containers:
    """Read a made container part's description; one that was never finished has none."""
    try:
        return Containers(**{**json.loads((prefix / DESCRIPTION).read_text(encoding="utf-8")), "prefix": prefix})
    except (OSError, ValueError, TypeError) as error:
        raise SiteUnavailable(f"{prefix} is not a finished container part: {error}") from error


def default_prefix(digest: str) -> Path:
    """Return where it is kept: the user's own choice, else a folder outside the repository named by the digest."""
    given = os.environ.get("OZREPRO_TEST_CONTAINERS")
    return Path(given) if given else Path("/var/tmp") / f"{_KEPT}{os.geteuid()}-{digest}"


def make_cached(account: ordinary.Account, prefix: Path | None = None) -> Containers:
    """Return the container part, made now unless a whole one of the same digest is there."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SiteUnavailable("the container part is made for Linux on x86-64 only")
    debian.install(apptainer.RUNNING)
    ordinary.check_rights(account)
    digest = wanted_digest()
    prefix = Path(os.path.abspath(prefix or default_prefix(digest)))
    with contextlib.suppress(SiteUnavailable):
        if (found := load_containers(prefix)).digest == digest and make._trusted(prefix):
            with contextlib.suppress(OSError):
                os.utime(prefix / DESCRIPTION)  # still in use
            return found
    debian.install(apptainer.MAKING)
    with make._alone(prefix):
        with contextlib.suppress(SiteUnavailable):
            if (found := load_containers(prefix)).digest == digest:
                return found  # another process made it meanwhile
        (prefix / DESCRIPTION).unlink(missing_ok=True)  # first of all: what is half removed is not whole
        make._clear(prefix)
        before = os.umask(0o022)
        try:
            made = make_containers(prefix, digest, account)
            draft = prefix / f"{DESCRIPTION}.new"
            draft.write_text(json.dumps({**dataclasses.asdict(made), "prefix": str(prefix)}, indent=1) + "\n", encoding="utf-8")
            draft.replace(prefix / DESCRIPTION)
        finally:
            os.umask(before)
    _forget_old(prefix)
    return made


def _forget_old(prefix: Path) -> None:
    """Remove this user's container parts of other digests that nothing has used for a week."""
    own = f"{_KEPT}{os.geteuid()}-"
    for old in prefix.parent.glob(f"{own}*") if prefix.name.startswith(own) else ():
        with contextlib.suppress(OSError):
            used = old / DESCRIPTION if (old / DESCRIPTION).exists() else old
            if old != prefix and old.is_dir() and make._trusted(old) and time.time() - used.stat().st_mtime > _WEEK:
                shutil.rmtree(old)


def main() -> int:
    """Make the container part and print its description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", type=Path, help="where; else $OZREPRO_TEST_CONTAINERS, else a folder below /var/tmp")
    prefix = parser.parse_args().prefix
    try:
        with ordinary.borrow_account() as account:
            made = make_cached(account, prefix)
    except SiteUnavailable as reason:
        print(f"cannot make the container part: {reason}", file=sys.stderr)
        return 1
    print(json.dumps({**dataclasses.asdict(made), "prefix": str(made.prefix)}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
