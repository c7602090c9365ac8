"""An ordinary user: who runs Apptainer on a cluster is never root, and as root it behaves otherwise.

Where the tests run as root, a user of their own is made, with the entries for user namespaces that Debian gives a new user,
and a folder outside /tmp and /home: Apptainer shows those to every program, so nothing there would prove what is bound.
Where the tests run as an ordinary user, it is that one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fake_cluster import BASE_PATH, SiteUnavailable, python

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = "ozrepro-test"
# For a machine whose useradd makes no such entries.
_SUBORDINATE = "700000-765535"


@dataclass(frozen=True)
class Account:
    """Whom commands are run as, and a folder that is theirs."""

    name: str
    uid: int
    gid: int
    folder: Path
    home: Path
    """For root's tests the home that /etc/passwd has: Apptainer mounts that one, whatever HOME says."""

    @property
    def borrowed(self) -> bool:
        """Whether it is another than the one who runs the tests."""
        return self.uid != os.geteuid()

    def command(self, *words: str | os.PathLike[str], network: bool = True) -> list[str]:
        """Return the command that runs words as this user; without a network, not even the loopback is up."""
        cut = [] if network else ["unshare", "--net"] if self.borrowed else ["unshare", "--user", "--map-current-user", "--net"]
        # setpriv looks a program up with root's rights and gives them up only then: env looks it up as the user.
        who = (
            ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--inh-caps=-all"]
            if self.borrowed
            else []
        )
        return [*cut, *who, "env", "--", *(os.fspath(word) for word in words)]

    def run(
        self,
        *words: str | os.PathLike[str],
        environ: Mapping[str, str],
        cwd: Path | None = None,
        network: bool = True,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in exactly this environment and return how it ended."""
        return subprocess.run(
            self.command(*words, network=network),
            env=environ,
            cwd=cwd or self.folder,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            umask=0o022,
            check=False,
        )

    def environ(self, *folders: Path) -> dict[str, str]:
        """Return what a login gives: a home, a name, and these folders before the usual ones on PATH."""
        path = os.pathsep.join([*map(str, folders), BASE_PATH])
        return {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name, "LANG": "C.UTF-8", "PATH": path}

    def give(self, path: Path) -> Path:
        """Make a file, or a folder with all in it, this user's, and return it."""
        if self.borrowed:
            for found in [path, *path.rglob("*")]:
                os.chown(found, self.uid, self.gid, follow_symlinks=False)
        return path

    def make_folder(self, name: str) -> Path:
        """Make a new folder of this user's below the account's; the name is a beginning."""
        return self.give(Path(tempfile.mkdtemp(prefix=f"{name} ", dir=self.folder)))

    def end_processes(self) -> None:
        """Kill what a test left running as the tests' own user, such as the mount of an Apptainer that was killed."""
        for process in Path("/proc").glob("[0-9]*") if self.borrowed else ():
            with contextlib.suppress(OSError):
                if process.stat().st_uid == self.uid:
                    os.kill(int(process.name), signal.SIGKILL)

    def empty_home(self) -> None:
        """Make the home as it was at first."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(mode=0o755, exist_ok=True)
        for left in self.home.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        self.give(self.home)


@contextlib.contextmanager
def borrow_account() -> Iterator[Account]:
    """Give the user to run as and a new folder, for as long as it is needed; no two processes have the same user."""
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_user()) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        elsewhere = [path for path in map(Path, ("/srv", "/opt", "/mnt")) if os.geteuid() == 0 and path.is_dir()]
        top = elsewhere[0] if elsewhere else Path(tempfile.gettempdir())
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="ozrepro-test-", dir=top, ignore_cleanup_errors=True))
        )
        folder.chmod(0o755)
        home = Path(found.pw_dir) if os.geteuid() == 0 else folder / "home"
        account = Account(found.pw_name, found.pw_uid, found.pw_gid, folder, home)
        stack.callback(account.end_processes)
        account.empty_home()
        yield account
        account.empty_home()


@contextlib.contextmanager
def _user() -> Iterator[pwd.struct_passwd]:
    """Give a user of the tests that no other process has, made when there is none."""
    for number in range(1, 100):
        name = NAME if number == 1 else f"{NAME}-{number}"
        lock = os.open(f"/var/tmp/{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # another process has this one
                continue
            yield _made(name)
            return
        finally:
            os.close(lock)
    raise SiteUnavailable("all users of the tests are in use, or /var/tmp has no file locks")


def _made(name: str) -> pwd.struct_passwd:
    """Return a user, made when there is none, with entries for user namespaces."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        made = subprocess.run(
            ["useradd", "--create-home", "--skel", "/nonexistent", name], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise SiteUnavailable(f"no user {name} can be made here: {made.stderr.strip()}") from None
        found = pwd.getpwnam(name)
    for kind in ("subuids", "subgids"):
        entries = Path(f"/etc/{kind.removesuffix('s')}")
        if not entries.exists() or not re.search(
            rf"^({name}|{found.pw_uid}):", entries.read_text(encoding="utf-8"), re.MULTILINE
        ):
            subprocess.run(["usermod", f"--add-{kind}", _SUBORDINATE, name], capture_output=True, check=False)
    return found


def check_rights(account: Account) -> None:
    """Say why this user could not run containers here; root opens /dev/fuse first, as a cluster's nodes have it."""
    fuse = Path("/dev/fuse")
    try:
        found = fuse.stat()
    except OSError as error:
        raise SiteUnavailable("no /dev/fuse here: images cannot be mounted") from error
    if account.borrowed and stat.S_ISCHR(found.st_mode) and found.st_mode & 0o006 != 0o006:
        fuse.chmod(0o666)
    words = ["test", "-w", str(fuse)]
    if account.run(*words, environ={"PATH": BASE_PATH}).returncode:
        raise SiteUnavailable(f"{account.name} may not write to /dev/fuse")
    namespaces = account.run("unshare", "--user", "--map-root-user", "--mount", "true", environ={"PATH": BASE_PATH})
    if namespaces.returncode:
        raise SiteUnavailable(f"no user namespaces for {account.name}: {namespaces.stderr.strip()}")


def make_python(account: Account) -> Path:
    """Return the bin folder of a venv that the user can run, with the packages of the one that the tests run in.

    Root's checkout and root's Python may lie where nobody else can look. Files are linked rather than copied where that
    is possible; they stay root's, so the user cannot change them.
    """
    program = getattr(sys, "_base_executable", sys.executable)
    asked = account.run(program, "-I", "-c", "import ensurepip, sys; print(sys.base_prefix)", environ={"PATH": BASE_PATH})
    if asked.stdout.strip() != sys.base_prefix:
        source = python._ask(program)
        patchelf = shutil.which("patchelf")
        if source is None or patchelf is None:
            raise SiteUnavailable(f"{account.name} cannot run {program}, and it cannot be copied")
        program = python.copy(source, account.folder / "python", patchelf)
    venv = account.folder / "venv"
    python.run([program, "-m", "venv", "--without-pip", str(venv)], "making the user's venv")
    own = Path(sys.prefix)
    packages = next((venv / "lib").glob("python*/site-packages"))
    shutil.rmtree(packages)
    shutil.copytree(
        next((own / "lib").glob("python*/site-packages")),
        packages,
        copy_function=_link,
        symlinks=True,
        ignore=shutil.ignore_patterns("*ozrepro*.pth", "__editable__*", "ozrepro"),
    )
    import ozrepro

    shutil.copytree(Path(ozrepro.__file__).parent, packages / "ozrepro", ignore=shutil.ignore_patterns("__pycache__"))
    for script in (own / "bin").iterdir():
        _copy_script(script, venv / "bin" / script.name, own, venv)
    return venv / "bin"


def _link(source: str, target: str) -> str:
    """Link a file that others can read, else copy it so that they can."""
    if os.stat(source).st_mode & 0o004:
        try:
            os.link(source, target)
        except OSError:  # another file system
            pass
        else:
            return target
    shutil.copy2(source, target)
    os.chmod(target, os.stat(target).st_mode | 0o444)
    return target


def _copy_script(script: Path, target: Path, own: Path, venv: Path) -> None:
    """Copy a program of a venv that is a script of its Python, or one of its own; links are made again with the venv."""
    if script.is_symlink() or not script.is_file() or target.exists():
        return
    content = script.read_bytes()
    if content.startswith((f"#!{own}/".encode(), b"#!/bin/sh\n'''exec'")):
        target.write_bytes(content.replace(f"{own}/".encode(), f"{venv}/".encode(), 1))
        target.chmod(0o755)
    elif content.startswith(b"\x7fELF"):
        _link(str(script), str(target))  # a program that a wheel brings, such as uv
