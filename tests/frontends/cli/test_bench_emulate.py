"""`ozrepro bench --emulate`: real starts on the emulator, seen by this run alone, and what is left when it is ended early."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.mounting import SOURCE, is_mounted
from ozrepro.frontends.bench.lustre.profile import Profile, write_profile
from tests.conftest import BIN, Project
from tests.faststart import strace

REASON = Emulator.unavailable(in_place=True)
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)

_UNTRACED = strace.why_not()
needs_strace = pytest.mark.skipif(bool(_UNTRACED), reason=_UNTRACED or "strace works")


@pytest.fixture(autouse=True)
def nothing_left(built: Project) -> Iterator[None]:
    """Fail a test that leaves a mount for others to see, or an emulator of its own."""
    yield
    assert not is_mounted(str(built.prefix()))
    assert list(_emulators(built)) == []


def _emulators(project: Project) -> Iterator[int]:
    """Yield the emulators that were started from a project, known by its home; others may run on this machine."""
    home = f"HOME={project.environ['HOME']}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, variables = ((folder / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue  # it has ended
        if b"ozrepro.frontends.bench.lustre.emulator" in words and home in variables:
            yield int(folder.name)


def _result(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@needs_strace
def test_each_start_says_what_the_servers_were_asked_for_as_the_model_predicts(built: Project, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    words = ("--workload", "imports", "--state", "warm,cold-client", "--ranks", "1,2", "--rounds", "2", "--json", str(path))
    text = " ".join(built.done("bench", "work", "--form", "tree", "--emulate", "quiet", *words).split())
    found = _result(path)
    assert found["complete"]
    assert found["fs"] == {"type": "emulated lustre", "profile": "quiet"}
    assert found["profile"]["name"] == "quiet"
    assert "nothing was measured on a real one" in text
    asked = {(row["state"], row["ranks"]): row["requests"] for row in found["rows"]}
    assert set(asked) == {(state, ranks) for state in ("warm", "cold-client") for ranks in (1, 2)}
    alone = [row for row in found["rows"] if row["ranks"] == 1]
    assert [row["requests"] for row in alone] == [asked[row["state"], 1] for row in alone]
    cold, warm = asked["cold-client", 1], asked["warm", 1]
    assert (warm["lookup"], warm["glimpse"], warm["read"]) == (0, 0, 0)
    assert cold["lookup"] > 20
    # Two ranks on one node share what it keeps, and each opens its files.
    assert asked["cold-client", 2]["lookup"] == cold["lookup"]
    assert asked["cold-client", 2]["open"] > cold["open"]
    (predicted,) = [item["requests"] for item in found["counts"] if item["state"] == "cold-client"]
    for kind in ("lookup", "open", "close", "glimpse"):
        assert abs(predicted[kind] - cold[kind]) <= 0.03 * cold[kind] + 1, kind


@needs_strace
@pytest.mark.parametrize("other", [(), ("--profile", "storm")], ids=["its own", "another for the replay"])
def test_the_prediction_is_of_the_client_that_is_emulated(other: tuple[str, ...], built: Project, tmp_path: Path) -> None:
    """One that holds the lock on each file it opens, and reads in small parts: it closes nothing, and reads more often."""
    path, profile = tmp_path / "a.json", tmp_path / "own.toml"
    write_profile(Profile(name="own", open_lock_after=1, read_bytes=256 << 10, whole_bytes=0), profile)
    words = ("--workload", "imports", "--state", "warm,cold-client", "--rounds", "1", "--json", str(path))
    built.done("bench", "work", "--form", "tree", "--emulate", str(profile), *words, *other)
    found = _result(path)
    predicted, asked = ({item["state"]: item["requests"] for item in found[part]} for part in ("counts", "rows"))
    assert predicted["cold-client"]["open"] > 5
    assert predicted["cold-client"]["close"] == 0
    for state in ("cold-client", "warm"):
        for kind in ("lookup", "open", "close", "glimpse", "enqueue", "read"):
            assert abs(predicted[state][kind] - asked[state][kind]) <= 0.03 * asked[state][kind] + 1, (state, kind)
    assert {item["preset"] for item in found["replay"]} == {other[-1] if other else "own"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--state", "cold-client", "--fresh-nodes"), "--emulate has clients of its own"),
        (("--emulate", "none.toml"), "cannot read the profile"),
    ],
)
def test_bench_says_why_a_folder_cannot_be_emulated(built: Project, words: tuple[str, ...], said: str) -> None:
    done = built.ozrepro("bench", "work", "--form", "tree", "--emulate", "quiet", *words)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert said in done.stderr
    assert "try:" in done.stderr


def test_a_result_cannot_be_written_into_what_is_served(built: Project) -> None:
    path = built.prefix() / "bin" / "a.json"
    path.parent.chmod(0o755)
    done = built.ozrepro("bench", "work", "--form", "tree", "--emulate", "quiet", "--json", str(path))
    assert done.returncode == 2, done.stderr
    assert "is emulated" in done.stderr


def _started(project: Project, path: Path) -> subprocess.Popen[str]:
    """Start a long measurement and return when there is a row."""
    words = (
        "--rounds",
        "100000",
        "--workload",
        "empty",
        "--budget",
        "3000",
        "--json",
        str(path),
        "--form",
        "tree",
        "--emulate",
        "quiet",
    )
    process = subprocess.Popen(
        [str(BIN / "ozrepro"), "bench", "work", *words],
        cwd=project.root,
        env=project.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not path.exists() or not _result(path)["rows"]:
        assert process.poll() is None, process.communicate()
    return process


def test_an_interrupt_reports_what_was_measured_and_nobody_else_saw_a_mount(built: Project, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    process = _started(built, path)
    (daemon,) = _emulators(built)
    assert SOURCE in Path(f"/proc/{daemon}/mountinfo").read_text()
    assert not is_mounted(str(built.prefix()))
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert _result(path)["why"] == "interrupted"
    assert "The run is not complete: interrupted." in out


def test_a_killed_emulator_keeps_what_there_is_and_the_status_tells(built: Project, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    process = _started(built, path)
    (daemon,) = _emulators(built)
    os.kill(daemon, signal.SIGKILL)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    found = _result(path)
    assert found["rows"]
    assert (found["complete"], found["failed"]) == (False, True)
    assert "the emulator has ended: it was killed" in found["why"]
    assert "venv takes" in out


def test_a_killed_benchmark_takes_its_emulator_along(built: Project, tmp_path: Path) -> None:
    process = _started(built, tmp_path / "a.json")
    (daemon,) = _emulators(built)
    watched = os.pidfd_open(daemon)
    process.kill()
    process.communicate(timeout=120)
    ready, _, _ = select.select([watched], [], [], 60)
    os.close(watched)
    assert ready, "the emulator is still there"
