"""The store's place, and locks tried by two real processes: also where flock is missing, and where it excludes nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.frontends.doctor.examination import examine
from ozrepro.frontends.doctor.finding import Finding
from ozrepro.frontends.doctor.stores import check_locks, check_store, judge
from ozrepro.site import Mount, mount_of
from ozrepro.store import Store
from tests.frontends.doctor.conftest import Patient
from tests.store import noflock

needs_filter = pytest.mark.skipif(bool(noflock.why_not()), reason=noflock.why_not() or "it works")
# A program whose flock(2) always fails with an errno, or (0) always succeeds without locking: Lustre's localflock, seen from two nodes.
FILTERED = "import os, sys; from tests.store.noflock import forbid; forbid('flock', int(sys.argv[1])); os.execvp(sys.argv[2], sys.argv[2:])"
LOCKS = """
import json, os
from pathlib import Path
from ozrepro.frontends.doctor.stores import check_locks
from ozrepro.frontends.doctor.surroundings import surroundings
from ozrepro.methods.reading import load_settings
place = surroundings(load_settings(Path.cwd(), os.environ), os.environ)
print(json.dumps([[item.level, item.seen] for item in check_locks(place)]))
"""


def levels(found: list[Finding]) -> list[str]:
    """Return the levels of what was found."""
    return [item.level for item in found]


def under_filter(patient: Patient, number: int, **more: str) -> list[list[str]]:
    """Return level and text of what the lock check finds in a process whose flock(2) always answers the same."""
    repository = Path(__file__).parent.parent.parent.parent
    words = [sys.executable, "-c", FILTERED, str(number), sys.executable, "-c", LOCKS]
    environ = {**patient.environ, "PYTHONPATH": str(repository), **more}
    done = subprocess.run(words, cwd=patient.root, env=environ, capture_output=True, text=True, check=True)
    found: list[list[str]] = json.loads(done.stdout)
    return found


def test_real_locks_exclude_a_second_process_and_nothing_is_left(patient: Patient) -> None:
    before = sorted(os.listdir(patient.root))
    (found,) = check_locks(patient.place())
    assert found.level == "fine"
    assert "refused to a second process" in found.seen
    assert sorted(os.listdir(patient.root)) == before


def test_file_locks_are_tried_in_the_store_where_there_is_one(patient: Patient) -> None:
    (patient.root / ".ozrepro").mkdir()
    assert ".ozrepro was refused" in check_locks(patient.place())[0].seen
    assert os.listdir(patient.root / ".ozrepro") == []


@needs_filter
def test_locks_that_exclude_nobody_are_wrong(patient: Patient) -> None:
    ((level, seen),) = under_filter(patient, 0)
    assert level == "wrong"
    assert "a second process met taken while it was held" in seen
    assert os.listdir(patient.root) == ["sessions"]
    ((level, seen),) = under_filter(patient, 0, OZREPRO_LOCKS="ticket")
    assert level == "note"
    assert seen.endswith("tickets are used")


@needs_filter
def test_a_mount_without_locks_is_a_note_unless_they_are_asked_for(patient: Patient) -> None:
    import errno

    ((level, seen),) = under_filter(patient, errno.ENOSYS)
    assert level == "note"
    assert seen.endswith("(ENOSYS)")
    ((level, _),) = under_filter(patient, errno.ENOLCK, OZREPRO_LOCKS="flock")
    assert level == "wrong"
    assert os.listdir(patient.root) == ["sessions"]


def test_locks_of_one_node_are_a_note(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Lustre can be mounted: its line of /proc/self/mountinfo stands in for it, as in the tests of the store."""
    monkeypatch.setattr("ozrepro.store.turn.mount_of", lambda path: Mount("/fred", "lustre", frozenset(("rw", "localflock"))))
    assert judge(patient.place(), "x", "refused", "taken").level == "note"
    assert judge(patient.place(OZREPRO_LOCKS="ticket"), "x", "refused", "taken").level == "fine"
    assert judge(patient.place(OZREPRO_LOCKS="flock"), "x", "refused", "taken").level == "fine"


def test_the_store_s_place_is_told_with_its_file_system(patient: Patient) -> None:
    (found,) = check_store(patient.place())
    mount = mount_of(patient.root)
    assert found.level == "fine"
    assert mount is None or found.seen.endswith(f"on {mount.kind}")


def test_a_store_that_everybody_may_write_to_is_wrong(patient: Patient) -> None:
    (patient.root / ".ozrepro").mkdir()
    (patient.root / ".ozrepro").chmod(0o777)
    (found,) = check_store(patient.place())
    assert found.level == "wrong"
    assert found.remedy[0].startswith("chmod o-w ")


@pytest.mark.parametrize("name", ["names", "gens/one"])
def test_a_store_that_the_group_may_enter_and_not_read_is_wrong_until_the_command_is_given(patient: Patient, name: str) -> None:
    store = patient.root / ".ozrepro"
    Store(store).open()
    (store / name).mkdir(exist_ok=True)
    (store / name).chmod(0o700)
    found = check_store(patient.place())
    assert levels(found) == ["wrong", "fine"]
    assert f"the group cannot read {name} of the store" in found[0].seen
    subprocess.run(["sh", "-c", found[0].remedy[0]], check=True)
    assert levels(check_store(patient.place())) == ["fine"]


def test_a_store_that_the_group_may_not_enter_is_fine_closed(patient: Patient) -> None:
    store = patient.root / ".ozrepro"
    Store(store).open()
    for folder in (store, store / "names"):
        folder.chmod(0o700)
    assert levels(check_store(patient.place())) == ["fine"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_store_of_another_user_is_wrong(patient: Patient) -> None:
    (patient.root / ".ozrepro").mkdir()
    os.chown(patient.root / ".ozrepro", 65534, 65534)
    assert levels(check_store(patient.place())) == ["wrong"]


def test_a_store_that_cannot_be_written_is_wrong(patient: Patient, small_disk: Path) -> None:
    """Also for root: the file system is mounted to be read only."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    place = patient.place(OZREPRO_STORE=str(small_disk / "store"))
    assert levels(check_store(place)) == ["wrong"]
    assert levels(check_locks(place)) == ["note"]


@pytest.mark.skipif(not os.access("/proc", os.W_OK), reason="/proc looks as it is to this user")
def test_a_place_that_takes_no_folders_is_wrong(patient: Patient) -> None:
    """Its mode says that root may write there, and nobody may."""
    assert levels(check_locks(patient.place(OZREPRO_STORE="/proc/store"))) == ["wrong"]


def test_a_store_in_a_home_with_a_quota_is_wrong(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """No home on Lustre can be had here: its line of /proc/self/mountinfo stands in for it, as in the tests of the site."""
    text = f"22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:40 / {patient.home} rw - lustre mds@o2ib:/home rw,flock\n"
    monkeypatch.setattr("ozrepro.site.mount_of", lambda path: mount_of(path, text))
    place = patient.place(OZREPRO_STORE=str(patient.home / "store"))
    found = list(examine(place, [check_store]))
    assert [(item.level, item.seen) for item in found[:1]] == [("wrong", "the store is in your home (a lustre file system)")]
    assert found[1].seen.startswith("the store ~/store is not made yet")


def test_outside_a_project_there_is_no_store_to_look_at(patient: Patient) -> None:
    (patient.root / "sessions").rmdir()
    assert "no project here" in check_store(patient.place())[0].seen
