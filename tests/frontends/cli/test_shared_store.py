"""A store shared with a group, as docs/how-to/store-place.md sets it up: two users, of whom one keeps his home closed."""

from __future__ import annotations

import grp
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN, Project
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNER, MEMBER = 20001, 20002
GROUP = next((entry for entry in grp.getgrall() if entry.gr_name == "users"), None)
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or GROUP is None or shutil.which("setpriv") is None,
    reason="only root may become two other users, by setpriv and of the group users",
)


@dataclass(frozen=True)
class User(Project):
    """A project of another user, whose commands are run as him."""

    uid: int = 0
    umask: str = "077"

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, of the group that shares the store."""
        assert GROUP is not None
        ids = [f"--reuid={self.uid}", f"--regid={self.uid}", f"--groups={GROUP.gr_gid}"]
        command = ["setpriv", *ids, "sh", "-c", f'umask {self.umask} && exec "$@"', "sh", str(BIN / words[0]), *words[1:]]
        return subprocess.run(command, cwd=self.root, env={**self.environ, **more}, capture_output=True, text=True, check=False)


def user(folder: Path, uid: int, name: str, project: Project, **more: str) -> User:
    """Give a user with a home that is closed to others, and the same session in it."""
    home = folder / name
    root = home / "project"
    (root / "sessions").mkdir(parents=True)
    own = {"HOME": str(home), "PIP_FIND_LINKS": str(folder / "wheels"), "OZREPRO_STORE": str(folder / "store"), **more}
    made = User(root, {**project.environ, **own}, uid)
    made.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha"]\n')
    subprocess.run(["chown", "-R", f"{uid}:{uid}", str(home)], check=True)
    home.chmod(0o700)
    return made


@pytest.fixture
def shared() -> Iterator[Path]:
    """Give a folder with a store in it that all may reach, as those of pytest are closed to others."""
    assert GROUP is not None
    folder = Path(tempfile.mkdtemp(prefix="ozrepro-shared-"))
    folder.chmod(0o755)
    store = folder / "store"
    store.mkdir()
    os.chown(store, OWNER, GROUP.gr_gid)
    store.chmod(0o2750)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def owner(shared: Path, project: Project) -> User:
    """Give the owner of the store, whose files are closed to others by his umask, with a session built."""
    (shared / "wheels").mkdir()
    make_wheel(shared / "wheels", "alpha", "1.0")
    made = user(shared, OWNER, "owner", project)
    if made.run("python", "-c", "pass").returncode != 0:
        pytest.skip("the Python of the tests cannot be started by other users")
    made.done("lock")
    made.done("build")
    return made


@pytest.fixture
def member(shared: Path, project: Project, owner: User) -> User:
    """Give another of the group, who has the same lock."""
    made = user(shared, MEMBER, "member", project, OZREPRO_STORE_GROUP="users")
    shutil.copyfile(owner.lock(), made.lock())
    return made


def test_a_member_starts_what_an_owner_with_a_closed_umask_has_built(member: User) -> None:
    assert member.done("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)") == "1.0\n"
    assert "files OK" in member.done("verify", "work", "--level", "2")
    assert member.done("store", "verify").endswith("work venv: whole\n")


def test_a_project_that_the_member_may_not_look_into_is_named_by_list(owner: User, member: User) -> None:
    unreadable = f"{owner.root}: Permission denied"
    listed = member.ozrepro("store", "list")
    assert listed.returncode == 0
    assert listed.stdout.splitlines()[1].endswith(f"work in {member.root}")
    assert listed.stderr == f"ozrepro: cannot be read: {unreadable}\n"
    member.lock().unlink()
    assert member.done("store", "list").splitlines()[1].endswith("unknown")
    found = json.loads(member.done("store", "list", "--json"))
    assert found["environments"][0]["used_by"] is None
    assert found["unreadable"] == [unreadable]


def test_a_clean_up_by_the_member_removes_nothing_and_says_why(owner: User, member: User) -> None:
    refused = member.ozrepro("store", "gc", "--yes")
    assert refused.returncode == 1
    assert f"what is needed is unknown while a lock cannot be read:\n  {owner.root}: Permission denied\n" in refused.stderr
    assert owner.done("run", "work", "--", "echo", "there") == "there\n"


def test_an_export_into_a_folder_that_is_closed_to_this_user_is_refused_in_words(owner: User, member: User) -> None:
    refused = member.ozrepro("export", "work", "--format", "requirements", "--output", str(owner.root / "out.txt"))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"ozrepro: {owner.root}/out.txt: cannot be written: Permission denied\n  try: --output ")


def test_a_folder_of_sessions_that_cannot_be_read_counts_as_one_with_locks(shared: Path, owner: User, member: User) -> None:
    (shared / "owner").chmod(0o755)
    (owner.root / "sessions").chmod(0o700)
    refused = member.ozrepro("store", "gc", "--yes")
    assert refused.returncode == 1
    assert f"{owner.root}/sessions: Permission denied" in refused.stderr


@pytest.mark.parametrize("name", ["", "names", "gens"])
def test_a_member_who_is_kept_out_is_told_the_command_for_the_owner(shared: Path, owner: User, member: User, name: str) -> None:
    place = shared / "store" / name
    place.chmod(0o700)
    refused = member.ozrepro("run", "work", "--", "true")
    assert refused.returncode == 1
    store = shared / "store"
    mend = f"chmod g+rX {store} {store / 'names'} {store / 'gens'}  # by the store's owner, uid {OWNER}"
    assert refused.stderr == f"ozrepro: {place}: cannot be read by the group that shares it\n  try: {mend}\n"
    assert mend in member.ozrepro("doctor").stdout
    subprocess.run(["setpriv", f"--reuid={OWNER}", "--clear-groups", "sh", "-c", mend], check=True)
    member.done("run", "work", "--", "true")


@pytest.mark.parametrize("name", ["names", "projects"])
def test_a_store_that_cannot_be_read_is_told_without_a_traceback(shared: Path, member: User, name: str) -> None:
    (shared / "store" / name).chmod(0o700)
    for action in ("list", "verify", "gc"):
        done = member.ozrepro("store", action)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or "cannot be read" in done.stderr
    assert f"the group cannot read {name} of the store" in member.ozrepro("doctor").stdout
