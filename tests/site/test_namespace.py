"""A mount namespace of an ordinary user's: how it is entered, which right is given on, and what refuses it.

Each process has one only, so that all of it is done by a child, as nobody where the tests are root.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import ctypes, os, threading
from ozrepro import process
from ozrepro.errors import OzreproError
from ozrepro.site.namespace import enter, may_mount

def ambient():
    line = process.run(["/bin/grep", "CapAmb", "/proc/self/status"], env={}, timeout=60).output
    return int(line.split()[1], 16)

if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
DUMPABLE = 4  # prctl(2): without it /proc/self is root's, as after a change of user
ctypes.CDLL(None).prctl(DUMPABLE, 1, 0, 0, 0)
"""


def child(code: str) -> str:
    """Return what the code prints, run by an ordinary user."""
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=False)
    if "Operation not permitted" in done.stderr or "No space left" in done.stderr:
        pytest.skip(f"users have no namespaces here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_user_keeps_his_name_and_may_mount_in_a_namespace_that_is_not_the_callers() -> None:
    said = child("""
before = os.readlink("/proc/self/ns/mnt"), os.geteuid(), os.getegid()
enter()
after = os.readlink("/proc/self/ns/mnt"), os.geteuid(), os.getegid()
print(before[0] != after[0], before[1:] == after[1:], "shared:" in open("/proc/self/mountinfo").read())
""")
    assert said == "True True False"


def test_threads_that_have_just_ended_are_waited_for() -> None:
    """A program that was run with a time limit leaves one for a moment; of 20 times that is met some time."""
    said = child("""
statuses = []
for _ in range(20):
    pid = os.fork()
    if not pid:
        process.run(["/bin/true"], env={}, timeout=60)
        try:
            enter()
        except OzreproError as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    statuses.append(os.waitpid(pid, 0)[1])
print(set(statuses))
""")
    assert said == "{0}"


def test_a_process_with_threads_cannot_enter_a_namespace_and_is_told_why() -> None:
    said = child("""
threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    enter()
except OzreproError as error:
    print(error)
""")
    assert said.startswith("folders cannot be served in their own place: this process has threads already\n  try: as root, or")


def test_a_namespace_in_which_nothing_is_allowed_is_an_error_that_says_what_to_look_at() -> None:
    """As AppArmor makes them for users; here the process may not write its own maps."""
    said = child("""
ctypes.CDLL(None).prctl(DUMPABLE, 0, 0, 0, 0)
try:
    enter()
except OzreproError as error:
    print(error)
""")
    assert said.startswith("folders cannot be served in their own place: /proc/self/setgroups: Permission denied\n  try: ")


def test_the_right_to_mount_is_given_on_meanwhile_and_to_nobody_afterwards() -> None:
    said = child("""
with may_mount():
    print(ambient())  # there is none to give
enter()
print(ambient())
with may_mount():
    print(ambient() == 1 << 21)
    with may_mount():
        pass
    print(ambient() == 1 << 21)
print(ambient())
""")
    assert said.split() == ["0", "0", "True", "True", "0"]
