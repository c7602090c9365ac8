"""Quotas, in the words of quota and lfs as their sources and pages print them: neither can be had with a quota here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ozrepro.frontends.doctor.examination import examine
from ozrepro.frontends.doctor.quota import Quota, check_quota, read_quotas
from tests.frontends.doctor.conftest import Patient

# quota(1) of the Linux quota tools 4.06, options -w and -p: the graces are numbers. Numbers of a user on NFS.
LINUX = """\
Disk quotas for user reader (uid 1002):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
server:/export/home 10485760  20971520 22020096       0  120000   200000   220000       0"""
LINUX_OVER = """\
Disk quotas for user reader (uid 1002):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
/home           103709696*  104857600 115343360 1754006400  999000*  1000000 1100000 1754006400"""

# lfs-quota(1) and print_quota() of lustre/utils/lfs.c with -q: no head; a name of over 15 characters has a line of its own.
LUSTRE = "          /home  1048576       0 20971520       -   23000       0  200000       -"
LUSTRE_LONG = "/home/astro/somebody\n                4098576       0 5242880       -    9000       0   10000       -"
LUSTRE_OVER = "          /home 21971520* 20971520 31457280 6d23h59m59s  208000* 200000  210000    none"
# OzSTAR's own page on file systems shows brackets, and a grace that is empty at the end.
LUSTRE_BRACKETS = "          /home [1041408]  5242880 6291456       -     [0]       0       0        "
LUSTRE_DEFAULTS = f"{LUSTRE}\nuid 1002 is using default block quota setting\nuid 1002 is using default file quota setting"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINUX, Quota("server:/export/home", 10485760 * 1024, 20971520 * 1024, 120000, 200000)),
        (LINUX_OVER, Quota("/home", 103709696 * 1024, 104857600 * 1024, 999000, 1000000)),
        (LUSTRE, Quota("/home", 1 << 30, 20 << 30, 23000, 200000)),
        (LUSTRE_LONG, Quota("/home/astro/somebody", 4098576 << 10, 5 << 30, 9000, 10000)),
        (LUSTRE_OVER, Quota("/home", 21971520 << 10, 20 << 30, 208000, 200000)),
        (LUSTRE_BRACKETS, Quota("/home", 1041408 << 10, 5 << 30, 0, 0)),
        (LUSTRE_DEFAULTS, Quota("/home", 1 << 30, 20 << 30, 23000, 200000)),
    ],
)
def test_each_form_of_a_quota_tool_s_output_is_read(text: str, expected: Quota) -> None:
    """Both tools, with stars, brackets, graces and a wrapped name."""
    assert list(read_quotas(text)) == [expected]


def test_a_wrapped_name_without_numbers_is_no_quota() -> None:
    """A note between two lines is not taken for the numbers of a name."""
    assert list(read_quotas("/n/very/long/path\nuid 1 is using default block quota setting\n1 2 3 - 4 5 6 -")) == []


def test_the_tools_are_asked_for_this_user_and_this_home(patient: Patient, tmp_path: Path) -> None:
    """No name of a user is needed: lfs takes the number."""
    log = tmp_path / "log"
    patient.program("quota", LINUX, log=log)
    patient.program("lfs", LUSTRE, log=log)
    assert [item.level for item in check_quota(patient.place())] == ["fine"] * 4
    assert log.read_text().splitlines() == ["-w -p", f"quota -q -u {os.getuid()} {patient.home}"]


def test_a_full_quota_is_wrong_in_bytes_and_in_files(patient: Patient) -> None:
    """The command's status says that a quota is exceeded; what it prints counts."""
    patient.program("quota", LINUX_OVER, status=1)
    space, files = check_quota(patient.place())
    assert (space.level, files.level) == ("wrong", "wrong")
    assert space.seen == "/home: 99 GiB used of 100 GiB (98 %)"
    assert files.seen == "/home: 999,000 files of 1,000,000 (99 %)"
    assert "--inodes" in files.remedy[0]


def test_a_finding_on_the_quota_does_not_tell_the_home_s_path(patient: Patient) -> None:
    """What lfs prints begins with the folder that it was asked for."""
    patient.program("lfs", f"{patient.home}\n   4098576 0 5242880 - 9000 0 10000 -")
    told = list(examine(patient.place(), [check_quota]))
    assert [item.seen for item in told] == ["~: 3.9 GiB used of 5.0 GiB (78 %)", "~: 9,000 files of 10,000 (90 %)"]
    assert [item.level for item in told] == ["fine", "wrong"]


@pytest.mark.parametrize(
    ("name", "says", "errors", "status", "level"),
    [
        ("quota", "Disk quotas for user reader (uid 1002): none", "", 0, "fine"),
        # quota 4.06 where no file system has quotas prints nothing and ends with 1.
        ("quota", "", "", 1, "fine"),
        ("lfs", "", "lfs quota: '/home/reader' not on a mounted Lustre filesystem", 1, "fine"),
        ("lfs", "", "user quotas are not enabled.", 1, "fine"),
        ("quota", "Home: 12 of 20 GB, ask support for more", "", 0, "note"),
        ("lfs", "", "Permission denied.", 1, "note"),
    ],
)
def test_a_missing_quota_is_fine_and_unknown_words_are_a_note(
    patient: Patient, name: str, says: str, errors: str, status: int, level: str
) -> None:
    """No quota is fine; a site's own words are a note."""
    patient.program(name, says, errors=errors, status=status)
    assert [item.level for item in check_quota(patient.place())] == [level]


def test_a_machine_without_quota_tools_gives_no_finding(patient: Patient) -> None:
    """It is said that the quota cannot be read."""
    found = check_quota(patient.place(PATH="/nowhere"))
    assert [(item.level, item.seen) for item in found] == [("note", "no quota or lfs command: the home's quota cannot be read")]


def test_a_program_of_the_home_is_never_run(patient: Patient, tmp_path: Path) -> None:
    """Not by its folder, and not through a link from elsewhere."""
    ran = tmp_path / "ran"
    own = patient.plant("bin/quota", f"#!/bin/sh\ntouch {ran}\n")
    own.chmod(0o755)
    (patient.bin / "lfs").symlink_to(own)
    check_quota(patient.place(PATH=f"{own.parent}:{patient.bin}"))
    assert not ran.exists()
