"""The words that Apptainer is given, and what it says."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ozrepro.errors import BuildError, CommandFailed
from ozrepro.methods.container.apptainer import (
    BUNDLES,
    Failed,
    Mount,
    Program,
    Task,
    build,
    closed_words,
    exec_words,
    find_bundle,
    find_version,
    gpu_here,
    read_bind,
)

PROGRAM = Program("/opt/bin/apptainer", "apptainer", "1.4.5")
CLEAN = {"PATH": "/usr/bin:/bin"}


def script(folder: Path, body: str) -> str:
    """Write a program of the shell and return its path."""
    path = folder / "a program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("said", "kind", "version"),
    [
        ("apptainer version 1.4.5", "apptainer", "1.4.5"),
        ("apptainer version 1.3.0-1.el9", "apptainer", "1.3.0-1.el9"),
        ("apptainer version 1.5.0~rc.1+12-gabc", "apptainer", "1.5.0~rc.1+12-gabc"),
        ("singularity-ce version 4.1.2-1.el8", "singularity", "4.1.2-1.el8"),
        ("singularity-pro version 3.11-9", "singularity", "3.11-9"),
        ("singularity version 3.10.2", "singularity", "3.10.2"),
        ("Welcome to the cluster\napptainer version 1.2.0", "apptainer", "1.2.0"),
    ],
)
def test_a_program_is_known_by_what_it_says_of_itself(tmp_path: Path, said: str, kind: str, version: str) -> None:
    path = script(tmp_path, f"test \"$1\" = --version && echo '{said}'")
    assert find_version(path, CLEAN) == Program(path, kind, version)


@pytest.mark.parametrize("said", ["singularity version 3.8.7", "singularity-ce version 3.9.0", "singularity version 2.6.1-dist"])
def test_a_singularity_without_mount_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(BuildError, match=r"ozrepro needs Apptainer 1 or Singularity 3\.10") as caught:
        find_version(script(tmp_path, f"echo '{said}'"), CLEAN)
    assert said.rpartition(" ")[2] in caught.value.what
    assert "ozrepro status" in caught.value.hint


@pytest.mark.parametrize("said", ["2.6.1-dist", "", "GNU bash, version 5.2", "apptainer version unknown"])
def test_a_program_that_names_no_version_is_no_apptainer(tmp_path: Path, said: str) -> None:
    with pytest.raises(BuildError, match="no version of Apptainer or Singularity"):
        find_version(script(tmp_path, f"echo '{said}'"), CLEAN)


def test_a_program_that_fails_or_cannot_start_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="broken wrapper"):
        find_version(script(tmp_path, "echo broken wrapper >&2; exit 9"), CLEAN)
    with pytest.raises(CommandFailed, match="cannot start"):
        find_version(str(tmp_path / "gone"), CLEAN)


def test_the_names_of_variables_follow_the_program() -> None:
    assert (PROGRAM.variable_prefix, PROGRAM.home, PROGRAM.title) == ("APPTAINERENV_", "APPTAINER_HOME", "apptainer 1.4.5")
    other = Program("/s", "singularity", "4.1.2")
    assert (other.variable_prefix, other.home) == ("SINGULARITYENV_", "SINGULARITY_HOME")


def fields(word: str) -> list[str]:
    """Return the fields of a CSV line as another reader than ours sees them."""
    (row,) = csv.reader(io.StringIO(word, newline=""), strict=True)
    return row


@given(st.text(st.characters(exclude_characters="\0")), st.text(st.characters(exclude_characters="\0")), st.booleans())
@example('/a "b",c=d:e\n$HOME', "/x\\'y\r\n", True)
def test_any_path_can_be_written_in_a_mount(source: str, target: str, read_only: bool) -> None:
    expected = ["type=bind", f"source={source}", f"destination={target}", *(["ro"] if read_only else [])]
    assert fields(Mount(source, target, read_only).word()) == expected


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/fred/oz001", Mount("/fred/oz001", "/fred/oz001")),
        ("data set", Mount("/root/of it/data set", "/root/of it/data set")),
        ("/fred:/data", Mount("/fred", "/data")),
        ("/fred:/data:ro", Mount("/fred", "/data", read_only=True)),
        ("/fred:/data:rw", Mount("/fred", "/data")),
        ("/fred::ro", Mount("/fred", "/fred", read_only=True)),
        (r"/co\:lon,and 'more'", Mount("/co:lon,and 'more'", "/co:lon,and 'more'")),
        ("/a/./b/../c/", Mount("/a/c", "/a/c")),
    ],
)
def test_an_entry_of_bind_is_split_into_its_parts(text: str, mount: Mount) -> None:
    assert read_bind(text, "/root/of it") == mount


def test_home_and_variables_of_an_entry_are_the_caller_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("MY_DATA", "/fred/mine")
    assert read_bind("~/in:/in", "/r").source == "/home/me/in"
    assert read_bind("$MY_DATA/x:/in", "/r").source == "/fred/mine/x"
    assert read_bind(r"/a/\$HOME/$MY_DATA", "/r") == Mount("/a/$HOME/fred/mine", "/a/$HOME/fred/mine")
    assert read_bind(r"\$MY_DATA:/\$in/$in", "/r") == Mount("/r/$MY_DATA", "/$in/$in")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "is not SOURCE"), (":/a", "is not SOURCE"), ("/a:/b:rx", "is not SOURCE"), ("/a:/b:ro:x", "is not SOURCE"),
     ("/a:b", "'b' is not an absolute path inside"), ("/a:../b:ro", "absolute path")],
)  # fmt: skip
def test_a_malformed_entry_of_bind_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_bind(text, "/r")


_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/~\\"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)


@given(_NAMES, _NAMES)
def test_any_path_can_be_written_in_bind(source: str, target: str) -> None:
    def written(path: str) -> str:
        return path.replace(":", "\\:").replace("$", "\\$")

    assert read_bind(f"{written('/' + source)}:{written('/' + target)}:ro", "/r") == Mount(f"/{source}", f"/{target}", True)


def test_a_command_is_run_by_options_that_change_none_of_its_words() -> None:
    words = exec_words(PROGRAM, "/store/a b.sif", (Mount("/p q", "/p q"),), "nvidia")
    assert words == (
        *("/opt/bin/apptainer", "--quiet", "exec", "--no-eval", "--nv"),
        *("--mount", '"type=bind","source=/p q","destination=/p q"', "/store/a b.sif"),
    )
    assert "--rocm" in exec_words(PROGRAM, "i", (), "amd")
    assert exec_words(PROGRAM, "i", (), "") == ("/opt/bin/apptainer", "--quiet", "exec", "--no-eval", "i")
    assert {"--contain", "--no-home", "--cleanenv"} < set(closed_words(PROGRAM, "i"))


def test_the_gpu_is_told_by_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.touch()
    for driver, amd, expected in ((there, there, "nvidia"), (gone, there, "amd"), (gone, gone, "")):
        monkeypatch.setattr("ozrepro.methods.container.apptainer.DRIVER", str(driver))
        monkeypatch.setattr("ozrepro.methods.container.apptainer.AMD", str(amd))
        assert gpu_here() == expected


def test_the_caller_s_certificates_are_the_first_file_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "a.crt"
    file.touch()
    assert find_bundle({}) == ""
    assert find_bundle({BUNDLES[0]: str(tmp_path / "gone"), BUNDLES[-1]: str(file)}) == str(file)


def test_a_build_gives_apptainer_its_words_and_tells_the_steps(tmp_path: Path) -> None:
    body = (
        'for word; do printf "%s\\n" "$word" >&2; done\nprintf "%s\\n" "cache=$APPTAINER_CACHEDIR" "own=$OWN" "in=$PWD" >&2\n'
        'printf "\\033[34mINFO:   \\033[0m Creating SIF file...\\nINFO:    Starting build...\\nINFO:    Running post scriptlet\\n" >&2'
    )
    program = Program(script(tmp_path, body), "apptainer", "1", {"OWN": "of its module"})
    mounts = (Mount("/a:b", "/c,d", read_only=True),)
    task = Task("the source.def", {"A": "x y", "B": "$(z)"}, True, mounts, "/the cache", tmp_path)
    steps: list[str] = []
    said = build(program, task, "/out put.sif", CLEAN, steps.append)
    assert said[:12] == [
        *("build", "--no-https", "--mount", '"type=bind","source=/a:b","destination=/c,d","ro"'),
        *("--build-arg", "A=x y", "--build-arg", "B=$(z)", "/out put.sif", "the source.def"),
        *("cache=/the cache", "own=of its module"),
    ]
    assert said[12] == f"in={tmp_path}"
    assert steps == ["creating sif file", "running post scriptlet"]
    more = build(program, task, "/o", {**CLEAN, "APPTAINER_CACHEDIR": "/mine"}, steps.append)
    assert "cache=/mine" in more


COMMANDS = """\
WARNING: No default remote in use, falling back to default keyserver: https://keys.openpgp.org
INFO:    Starting build...
INFO:    Verifying bootstrap image /base.sif
INFO:    Extracting local image...
INFO:    Running post scriptlet
+ echo hello
+ echo why-on-stdout
+ sh -c echo because >&2; exit 3
because
FATAL:   While performing build: while running engine: while running %post section: exit status 3
"""
"""Standard error of Apptainer 1.4.5 as an ordinary user, of a definition whose last line of %post fails."""


def test_the_failing_command_and_its_log_are_taken_from_what_apptainer_prints() -> None:
    failed = Failed(255, COMMANDS.splitlines(), ["hello", "why-on-stdout"])
    assert failed.command() == "sh -c echo because >&2; exit 3"
    assert failed.log() == ["because", COMMANDS.splitlines()[-1]]


def test_a_command_that_says_why_on_its_standard_output_alone_is_answered_by_that() -> None:
    said = [line for line in COMMANDS.splitlines() if line != "because"]
    assert Failed(255, said, ["hello", "", "why-on-stdout"]).log() == ["hello", "why-on-stdout", said[-1]]


def test_a_long_log_keeps_its_end() -> None:
    head, end = COMMANDS.partition("because\n")[::2]
    failed = Failed(255, [*head.splitlines(), *(f"line {n}" for n in range(40)), end.strip()], [])
    assert failed.log() == [*(f"line {n}" for n in range(26, 40)), end.strip()]


def test_a_failure_before_post_names_no_command() -> None:
    said = ["INFO:    Starting build...", "FATAL:   While performing build: conveyor failed to get: requested access is denied"]
    failed = Failed(255, said, [])
    assert failed.command() == ""
    assert failed.log() == said


def test_a_failure_after_a_good_post_names_no_command_of_it() -> None:
    said = ["+ true", "INFO:    Creating SIF file...", "FATAL:   While performing build: no space left on device"]
    assert Failed(255, said, []).command() == ""
    assert Failed(255, said, []).log() == said


def test_a_build_that_fails_raises_what_was_said_on_both_streams(tmp_path: Path) -> None:
    program = Program(script(tmp_path, "echo out; echo '+ false' >&2; exit 7"), "apptainer", "1")
    with pytest.raises(Failed) as caught:
        build(program, Task("s", {}, False, (), "c", tmp_path), str(tmp_path / "i"), dict(os.environ), print)
    assert (caught.value.status, caught.value.said, caught.value.output) == (7, ("+ false",), ("out",))
