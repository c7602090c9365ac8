"""Definition files, taken apart as Apptainer does, and written again with their bases pinned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.methods.container.definition import read_definition, with_first_lines, with_sources, with_test

SINGLE = """\
# The analysis.
Bootstrap: docker
From: python:3.11-bookworm   # Debian 12

%files
    sessions/analysis.py /opt/analysis.py
    # a comment
    "data set/one two.csv" /opt/data.csv
    wheels/*.whl

%post -c /bin/bash
    apt-get update
    pip install --no-cache-dir 'numpy==1.26.4' && rm -rf /root/.cache
    echo done

%environment
    export LC_ALL=C
"""
MULTI = """\
Bootstrap: docker
From: golang:1.22
Stage: build

%post
    go build

BOOTSTRAP: docker
Registry: https://ghcr.io
Namespace: owner
From: slim:{{ version }}
Stage: final

%arguments
    # what is built on
    version = 2.0

%files from build
    /root/hello /bin/hello
%files
    notes.txt

%post
    echo {{version}}
"""


def test_a_definition_of_one_stage_is_read_into_header_sections_and_files() -> None:
    found = read_definition(SINGLE, {})
    (stage,) = found.stages
    assert (stage.bootstrap, stage.source) == ("docker", "python:3.11-bookworm")
    assert stage.places == (1, 2)
    assert [(part.name, part.words, part.line) for part in stage.parts] == [
        ("files", "", 5),
        ("post", "-c /bin/bash", 11),
        ("environment", "", 16),
    ]
    assert found.copied() == ("sessions/analysis.py", "data set/one two.csv", "wheels/*.whl")
    assert stage.reference().name == "docker.io/library/python:3.11-bookworm"


def test_each_stage_has_its_own_base_and_files_of_another_stage_are_not_the_machine_s() -> None:
    found = read_definition(MULTI, {})
    assert [stage.reference().name for stage in found.stages] == ["docker.io/library/golang:1.22", "ghcr.io/owner/slim:2.0"]
    assert found.copied() == ("notes.txt",)
    assert found.arguments == {"version": "2.0"}


def test_a_given_value_beats_the_default_and_a_missing_one_is_named() -> None:
    assert read_definition(MULTI, {"version": "3"}).stages[1].source == "slim:3"
    with pytest.raises(ValueError, match=r"\{\{ missing \}\} has no value: write it into build-args or %arguments"):
        read_definition(SINGLE + "%labels\n  by {{missing}}\n", {})


def test_a_default_is_its_own_stage_s_and_keeps_its_quotes() -> None:
    text = "Bootstrap: docker\nFrom: a:{{v}}\n%arguments\nv=1\nBootstrap: docker\nFrom: b:{{v}}\n%arguments\nv='2'\n"
    assert [stage.source for stage in read_definition(text, {}).stages] == ["a:1", "b:'2'"]


def test_a_quote_that_is_not_closed_stands_for_itself() -> None:
    assert read_definition("Bootstrap: scratch\n%files\n  it's.txt /opt/\n  ''\n", {}).copied() == ("it's.txt",)


def test_a_file_of_the_project_is_named_from_it_whatever_the_project_s_path_is() -> None:
    """Apptainer splits the value of PWD at spaces; without a place in the image it would be a path of this machine."""
    lines = ["$PWD/a.py /opt/", '  "${PWD}/one two" /opt/', "$PWD/alone", '"$PWD"/a.py /opt', "$PWDX/a /opt", "# $PWD/a b"]
    files = "".join(f"{line}\n" for line in lines)
    found = read_definition(f"Bootstrap: docker\nFrom: a\n%files\n{files}%files from one\n$PWD/a /a\n%post\n$PWD/a b\n", {})
    assert found.copied() == ("./a.py", "./one two", "$PWD/alone", "$PWD/a.py", "$PWDX/a")
    left = "".join(f"{line}\n" for line in lines[2:])
    after = f'./a.py /opt/\n  "./one two" /opt/\n{left}%files from one\n$PWD/a /a\n%post\n$PWD/a b\n'
    assert with_sources(found, [None]).partition("%files\n")[2] == after


def test_files_of_an_app_are_copied_from_this_machine() -> None:
    assert read_definition("Bootstrap: scratch\n%appfiles tool\n  tool.py\n", {}).copied() == ("tool.py",)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "%post\n  echo Bootstrap: docker\n", "From: python\n"])
def test_a_definition_without_a_bootstrap_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="has no line `Bootstrap:`"):
        read_definition(text, {})


def test_a_heredoc_is_the_section_s_unless_a_line_of_it_begins_as_apptainer_s_own_do() -> None:
    """Apptainer knows no heredocs: a line that begins with Bootstrap: or whose first word has a % ends the section."""
    inner = "Bootstrap: docker\nFrom: a\n%post\ncat > /x <<END\n  Bootstrap: docker\nkey: value\n100 %done\nEND\necho x\n"
    (stage,) = read_definition(inner, {}).stages
    assert stage.parts[0].lines[1:5] == ("  Bootstrap: docker", "key: value", "100 %done", "END")
    assert len(read_definition(inner.replace("  Bootstrap:", "Bootstrap:"), {}).stages) == 2
    names = [part.name for part in read_definition(inner.replace("100 %done", "  %done 100"), {}).stages[0].parts]
    assert names == ["post", "done"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_of_windows_are_read_and_kept(end: str) -> None:
    found = read_definition(SINGLE.replace("\n", end), {})
    assert found.stages[0].source == "python:3.11-bookworm"
    assert found.copied()[0] == "sessions/analysis.py"
    again = with_sources(found, ["python@sha256:0"])
    assert again.split("\n")[2] == "From: python@sha256:0"
    assert again.replace("From: python@sha256:0", f"From: python:3.11-bookworm   # Debian 12{end[:-1]}") == found.text


@pytest.mark.parametrize("key", ["Registry", "Namespace"])
def test_registry_and_namespace_go_into_the_pinned_name(key: str) -> None:
    found = read_definition(f"Bootstrap: docker\n{key}: ghcr.io\nFrom: owner/name:1\n%post\nFrom: x\n", {})
    assert with_sources(found, ["P"]) == "Bootstrap: docker\nFrom: P\n%post\nFrom: x\n"


def test_a_stage_without_a_source_stays_as_it_is() -> None:
    found = read_definition(MULTI, {})
    assert with_sources(found, [None, None]) == MULTI
    pinned = with_sources(found, ["go@sha256:1", None])
    assert pinned == MULTI.replace("From: golang:1.22", "From: go@sha256:1")


_LINES = st.one_of(
    st.sampled_from(
        ["Bootstrap: docker", "bootstrap:localimage", "From: python:3.11", " from : {{ base }}", "Registry: ghcr.io", "Namespace: a",
         "%post", "  %files from build", "%arguments", "base = debian", "%", "%environment -x", "# From: x", "Stage: one", "\x0cFrom: y",
         "  Bootstrap: x", "cat <<END", "From:", "key: value # From: z"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\n{"), max_size=15),
)  # fmt: skip


@given(st.lists(_LINES, max_size=12), st.booleans())
def test_pinning_changes_only_the_lines_that_name_a_source(lines: list[str], ended: bool) -> None:
    text = "\n".join(["Bootstrap: docker", *lines]) + "\n" * ended
    found = read_definition(text, {"base": "debian"})
    before = text.removesuffix("\n").split("\n")
    after = with_sources(found, ["PINNED" for _ in found.stages]).removesuffix("\n").split("\n")
    named = {place for stage in found.stages for place in stage.places}
    kept = [
        line
        for number, line in enumerate(before)
        if number not in named or line.partition(":")[0].strip().lower() not in ("from", "registry", "namespace")
    ]
    assert [line for line in after if line != "From: PINNED"] == kept
    assert after.count("From: PINNED") == sum("from" in stage.header for stage in found.stages)


@given(st.lists(_LINES, max_size=12))
def test_every_line_of_a_section_is_kept_under_its_number(lines: list[str]) -> None:
    text = "\n".join(["Bootstrap: docker", *lines])
    for stage in read_definition(text, {"base": "x"}).stages:
        for part in stage.parts:
            whole = text.split("\n")
            assert whole[part.line - 1].strip().lstrip("%").lower().startswith(part.name)
            assert tuple(whole[part.line : part.line + len(part.lines)]) == part.lines


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("apt-get update", 12),
        ("pip install --no-cache-dir numpy==1.26.4", 13),
        ("rm -rf /root/.cache", 13),
        ("echo done", 14),
        ("not there", None),
        ("", None),
    ],
)
def test_a_failing_command_that_the_shell_printed_is_found_by_its_line(printed: str, line: int | None) -> None:
    assert read_definition(SINGLE, {}).line_of(printed) == line


def test_a_failing_command_with_arguments_or_written_twice_is_found_by_its_line() -> None:
    text = "Bootstrap: docker\nFrom: a\n%arguments\nv=1\n%post\npip install x=={{ v }}\ntrue\nfalse || exit 1\ntest -e /x || exit 1\n"
    found = read_definition(text, {})
    assert found.line_of("pip install x==1") == 6
    assert found.line_of("exit 1") is None
    assert found.line_of("test -e /x") == 9


def test_lines_are_put_in_front_of_each_post_and_nowhere_else() -> None:
    put = with_first_lines(MULTI, ["export A=1"])
    assert put.count("\n%post\nexport A=1\n") == 2
    assert put.replace("export A=1\n", "") == MULTI
    assert with_first_lines("%post -c /bin/bash\n", ["x"]) == "%post -c /bin/bash\nx\n"


def test_a_line_is_put_in_front_of_the_test_of_the_last_stage_which_keeps_its_status() -> None:
    plain = "Bootstrap: docker\nFrom: a\n%post\ntrue\n"
    assert with_test(plain, "x") == f"{plain}%test\nx\n"
    own = "Bootstrap: docker\nFrom: a\n%test\ngrep b /c\n%post\ntrue\n"
    assert with_test(own, "x") == own.replace("%test\n", "%test\nx\n")
    stages = "Bootstrap: docker\nFrom: a\nStage: one\n%test\ntrue\n\nBootstrap: docker\nFrom: b\nStage: two\n"
    assert with_test(stages, "x") == f"{stages}%test\nx\n"


def test_a_test_with_an_interpreter_of_its_own_is_left() -> None:
    text = "Bootstrap: docker\nFrom: a\n%test\n\n  #!/usr/bin/python3\nassert True\n"
    assert with_test(text, "x") == text
