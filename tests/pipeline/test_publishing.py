"""Crates of recorded runs, by the command: what is in the folder, what is refused, and that nothing is lost."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ozrepro.pipeline.records.reading import the_record
from ozrepro.store.writing import remove_tree
from tests.conftest import Project
from tests.fake_cluster.tools import make_tools
from tests.pipeline.crate import links, read_crate, recorded

WRITE = "import json, os; json.dump({'ozrepro_record': os.environ['OZREPRO_RECORD_ID']}, open('out put.json', 'w'))"


@pytest.fixture
def locked(small: Project) -> Project:
    """Give the small project locked, with an input and a result of a run."""
    small.done("lock", "work")
    (small.root / "data").mkdir()
    (small.root / "data" / "in put.csv").write_text("1,2\n")
    (small.root / "out put.json").write_text("{}\n")
    return small


def export(project: Project, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Export the recorded run."""
    return project.ozrepro("export", "--format", "ro-crate", *words, **more)


def left(project: Project) -> list[str]:
    """Return what is in the project's folder, hidden files too."""
    return sorted(os.listdir(project.root))


def written(project: Project, name: str, when: str) -> None:
    """Have a file written at a time."""
    seconds = dt.datetime.fromisoformat(when).timestamp()
    os.utime(project.root / name, (seconds, seconds))


def in_git(project: Project) -> str:
    """Put the project under git and return its revision."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "sessions"), (*who, "commit", "-qm", "Lock")):
        subprocess.run(["git", *words], cwd=project.root, check=True, env=project.environ)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project.root, check=True, env=project.environ, capture_output=True, text=True
    ).stdout.strip()


def test_a_recorded_run_becomes_a_folder_with_its_lock_its_record_and_its_files(locked: Project) -> None:
    locked.done("build", "work")
    locked.done("run", "--record", "runs/", "work", "--", "python", "-c", WRITE)
    words = ("--record", "out put.json", "--input", "data/in put.csv", "--result", "out put.json", "--output", "my crate")
    done = export(locked, *words, OZREPRO_RECORD="runs")
    assert done.returncode == 0, done.stderr
    crate = locked.root / "my crate"
    record = the_record(str(crate / "ozrepro-record.json"), None)
    assert done.stdout == f"my crate: crate of the run {record.id} written\n"
    assert "states no license" in done.stderr
    text = (crate / "ro-crate-metadata.json").read_text()
    entities = read_crate(text, crate)
    names = sorted(path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_file())
    assert names == ["data/in put.csv", "out put.json", "ozrepro-record.json", "ro-crate-metadata.json", "sessions/work.lock"]
    assert (crate / "sessions" / "work.lock").read_bytes() == locked.lock().read_bytes()
    assert json.loads((crate / "out put.json").read_text()) == {"ozrepro_record": record.id}
    action = entities[f"#{record.id}"]
    assert links(action["result"]) == ["out%20put.json"]
    assert links(action["object"]) == ["data/in%20put.csv", "sessions/work.lock"]
    assert action["actionStatus"].endswith("/CompletedActionStatus")
    assert [entities[name]["name"] for name in links(entities["#program"]["softwareRequirements"])] == ["alpha", "beta"]
    assert str(locked.root.parent) not in text
    assert not [name for name in left(locked) if name.startswith(".my")]


def test_without_a_folder_the_metadata_is_printed_and_the_project_is_the_crate(locked: Project) -> None:
    (locked.root / "pyproject.toml").write_text('[project]\nname = "a"\nlicense = "BSD-3-Clause"\n')
    recorded(locked)
    before = left(locked)
    written(locked, "out put.json", "2026-11-29T15:56:00+00:00")
    words = ("--record", "run.json", "--result", "out put.json")
    first, second = export(locked, *words), export(locked, *words)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    entities = read_crate(first.stdout, locked.root)
    assert entities["./"]["license"] == {"@id": "https://spdx.org/licenses/BSD-3-Clause"}
    assert left(locked) == before
    assert first.stderr == ""


def test_files_of_another_time_than_the_run_s_are_told(locked: Project) -> None:
    recorded(locked)
    words = ("--record", "run.json", "--input", "data/in put.csv", "--result", "out put.json")
    written(locked, "data/in put.csv", "2026-11-29T15:56:00+00:00")
    for when, word in (("2026-11-29T15:54:00+00:00", "before"), ("2026-11-29T15:58:00+00:00", "after")):
        written(locked, "out put.json", when)
        said = export(locked, *words).stderr
        assert f"out put.json was last written {word} the run: it may not be its result" in said
        assert "data/in put.csv was written after the run began: it may have read another content" in said


def test_a_folder_that_is_there_is_not_touched(locked: Project) -> None:
    recorded(locked)
    (locked.root / "crate").mkdir()
    (locked.root / "crate" / "mine.txt").write_text("mine")
    refused = export(locked, "--record", "run.json", "--output", "crate")
    assert (refused.returncode, "crate: is there already" in refused.stderr) == (1, True)
    assert [path.name for path in (locked.root / "crate").iterdir()] == ["mine.txt"]
    nowhere = export(locked, "--record", "run.json", "--output", "no/such/crate")
    assert (nowhere.returncode, "no/such/crate: cannot be written: No such file" in nowhere.stderr) == (1, True)


def test_files_that_no_crate_can_hold_are_refused_together_and_nothing_is_made(locked: Project, tmp_path: Path) -> None:
    recorded(locked)
    (tmp_path / "outside").write_text("x")
    (locked.root / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(locked.root / "pipe")
    before = left(locked)
    wrong = ("--input", str(tmp_path / "outside"), "--input", "absent", "--result", "data", "--result", "pipe")
    refused = export(locked, "--record", "run.json", *wrong, "--result", "ro-crate-metadata.json", "--output", "crate")
    assert refused.returncode == 2
    for line in (
        f"{tmp_path / 'outside'}: lies outside of the project",
        "absent: No such file or directory",
        "data: is a folder; name its files",
        "pipe: is not a file",
        "ro-crate-metadata.json: is the name of a file that the crate has itself",
    ):
        assert line in refused.stderr
    assert left(locked) == before
    kept = export(locked, "--record", "run.json", "--input", "link", "data/in put.csv", "--output", "crate")
    assert kept.returncode == 0, kept.stderr
    assert (locked.root / "crate" / "data" / "in put.csv").exists(), "a shell's pattern gives several"
    assert (locked.root / "crate" / "link").read_text() == "x", "a link of the project's may lead to a scratch disk"


def test_the_lock_is_the_run_s_own_also_when_the_project_has_another_now(locked: Project) -> None:
    old = locked.lock().read_bytes()
    revision = in_git(locked)
    recorded(locked, git={"revision": revision, "dirty": []})
    locked.lock().write_bytes(old.replace(b'version = "1.5"', b'version = "1.4"').replace(b"beta-1.5", b"beta-1.4"))
    refused = export(locked, "--record", "run.json")
    assert refused.returncode == 3
    assert "work.lock: is not the lock that the run was made with" in refused.stderr
    assert f"--output DIR, which takes that of the revision {revision[:12]}" in refused.stderr
    done = export(locked, "--record", "run.json", "--output", "crate")
    assert done.returncode == 0, done.stderr
    crate = locked.root / "crate"
    assert (crate / "sessions" / "work.lock").read_bytes() == old
    assert "pkg:pypi/beta@1.5" in read_crate((crate / "ro-crate-metadata.json").read_text(), crate)


def test_a_run_whose_lock_is_nowhere_is_refused(locked: Project) -> None:
    recorded(locked)
    locked.lock().write_text(f"{locked.lock().read_text()}# changed\n")
    refused = export(locked, "--record", "run.json", "--output", "crate")
    assert (refused.returncode, "git log -- sessions/work.lock" in refused.stderr) == (3, True)
    locked.lock().unlink()
    refused = export(locked, "--record", "run.json", "--output", "crate")
    assert (refused.returncode, "is not the lock that the run was made with" in refused.stderr) == (3, True)
    assert "crate" not in left(locked)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "is a record of schema 2; this ozrepro reads up to 1"),
        ({"start": "yesterday"}, "'yesterday' is not a time in UTC"),
        ({"end": "2026-11-29T15:56:40Z", "status": None}, "was skipped by nox"),
        ({"session": "../../etc"}, "is not a session's name"),
    ],
)
def test_a_record_that_is_no_run_of_this_version_is_refused_by_its_own_words(
    locked: Project, change: dict[str, Any], words: str
) -> None:
    path = recorded(locked)
    table = {key: value for key, value in {**json.loads(path.read_text()), **change}.items() if value is not None}
    path.write_text(json.dumps(table))
    refused = export(locked, "--record", "run.json", "--output", "crate")
    assert (refused.returncode, words in refused.stderr, "Traceback" in refused.stderr) == (2, True, False), refused.stderr
    assert "crate" not in left(locked)


def test_a_record_that_is_cut_or_no_json_or_absent_is_refused(locked: Project) -> None:
    path = recorded(locked)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"\xff\xfe", b"", b"[]"):
        path.write_bytes(content)
        refused = export(locked, "--record", "run.json")
        assert (refused.returncode, refused.stdout, "Traceback" in refused.stderr) == (2, "", False), content
        assert "try: " in refused.stderr
    path.unlink()
    assert export(locked, "--record", "run.json").returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "ro-crate"), "no record given"),
        (("--format", "ro-crate", "--record", "run.json", "other"), "is of the session work, not of other"),
        (("--format", "ro-crate", "--record", "run.json", "--method", "venv"), "--method has no effect on ro-crate"),
        (("--format", "cyclonedx"), "no session given"),
        (
            ("--format", "cyclonedx", "work", "--record", "run.json", "--input", "x"),
            "--record, --input: only for --format ro-crate",
        ),
        (("--format", "ro-crat", "work"), "did you mean ro-crate?"),
    ],
)
def test_options_that_do_not_fit_the_format_are_refused(locked: Project, words: tuple[str, ...], said: str) -> None:
    recorded(locked)
    refused = locked.ozrepro("export", *words)
    assert (refused.returncode, refused.stdout, said in refused.stderr) == (2, "", True), refused.stderr


def test_a_run_without_an_end_is_told(locked: Project) -> None:
    recorded(locked, end=None, status=None)
    done = export(locked, "--record", "run.json")
    assert done.returncode == 0, done.stderr
    assert "the record has no end, so the crate calls the run active" in done.stderr


def test_a_full_disk_leaves_nothing_behind(locked: Project, small_disk: Path) -> None:
    recorded(locked)
    subprocess.run(["mount", "-o", "remount,size=64k", str(small_disk)], check=True)
    (locked.root / "large").write_bytes(os.urandom(1 << 20))
    refused = export(locked, "--record", "run.json", "--result", "large", "--output", str(small_disk / "crate"))
    assert (refused.returncode, "No space left on device" in refused.stderr) == (1, True), refused.stderr
    assert os.listdir(small_disk) == []


def test_a_crate_needs_neither_the_environment_nor_the_spec(locked: Project) -> None:
    recorded(locked)
    remove_tree(locked.store())
    (locked.root / "sessions" / "work.toml").rename(locked.root / "sessions" / "other.toml")
    done = export(locked, "--record", "run.json")
    assert done.returncode == 0, done.stderr
    assert read_crate(done.stdout, locked.root)


INLINE = """
import json, sys
from rocrate.vocabs import RO_CRATE

assert RO_CRATE["@id"] == "https://w3id.org/ro/crate/1.1/context"
path = sys.argv[1]
table = json.load(open(path))
terms = {name: "https://w3id.org/ro/terms/workflow-run#" + name for name in ("environment", "sha256")}
table["@context"] = {**RO_CRATE["@context"], **terms}
json.dump(table, open(path, "w"))
"""
"""Puts the contexts themselves in the place of their addresses: the validator would fetch them."""

KNOWN = {
    "process-run-crate-0.5_3.2": "The Application SHOULD have a url",
    "process-run-crate-0.5_5.1": "The SoftwareApplication id SHOULD be an absolute URI",
    "process-run-crate-0.5_8.6": "The Action SHOULD have an agent",
    "ro-crate-1.1_22.2": "representing the `author`",
    "ro-crate-1.1_22.3": "The `publisher` property",
}
"""The recommendations that a crate does not follow, as docs/how-to/publish-a-run.md says."""


@pytest.mark.site
@pytest.mark.network
def test_a_crate_keeps_all_that_its_profile_requires_and_the_page_says_what_it_only_recommends(locked: Project) -> None:
    tools = make_tools("roc-validator", ["roc-validator==0.13.0", "rocrate==0.13.0"])
    (locked.root / "pyproject.toml").write_text('[project]\nname = "a"\nlicense = "MIT"\n')
    git, machine = {"revision": "0" * 40, "dirty": ["data/in put.csv"]}, {"cpu": "v3", "cpus": 2, "omp": "2"}
    recorded(locked, git=git, machine=machine, status=1)
    words = ("--record", "run.json", "--input", "data/in put.csv", "--result", "out put.json", "--output", "crate")
    assert export(locked, *words).returncode == 0
    metadata = locked.root / "crate" / "ro-crate-metadata.json"

    def issues(level: str) -> dict[str, str]:
        report = locked.root / f"{level}.json"
        validate = ("validate", "-p", "process-run-crate", "-l", level, "-f", "json", "-o", str(report), "crate")
        done = locked.run(str(tools / "rocrate-validator"), "-y", *validate)
        assert report.exists(), done.stdout + done.stderr
        return {item["check"]["identifier"]: item["message"] for item in json.loads(report.read_text())["issues"]}

    assert locked.run(str(tools / "python"), "-c", INLINE, str(metadata)).returncode == 0
    assert issues("required") == {}
    found = issues("recommended")
    assert found.keys() == KNOWN.keys(), found
    assert all(words in found[check] for check, words in KNOWN.items())
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "publish-a-run.md").read_text()
    assert all(f"`{check}`" in page for check in KNOWN)
    table = json.loads(metadata.read_text())
    next(entity for entity in table["@graph"] if entity["@id"] == "./").pop("datePublished")
    metadata.write_text(json.dumps(table))
    assert any("datePublished" in message for message in issues("required").values()), "a validator that takes all proves nothing"
