"""environment.yml: what people write, every mistake with its line, and what a stranger might send."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import SpecError
from ozrepro.methods.conda.environment_yml import EnvironmentFile, read_environment, write_environment
from tests.calls import counted_calls

TEXT = """\
name: work
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.10
  - numpy>=1.26   # arrays
  - pip
  - pip:
      - emcee==3.1.6
      - "corner>=2"
variables:
  OMP_NUM_THREADS: 4
  ANSWER: "yes"
prefix: /home/someone/envs/work
"""


def test_a_usual_environment_file_is_read() -> None:
    assert read_environment(TEXT, "environment.yml") == EnvironmentFile(
        name="work",
        channels=("conda-forge", "nodefaults"),
        dependencies=("python=3.10", "numpy>=1.26", "pip"),
        pip=("emcee==3.1.6", "corner>=2"),
        variables={"OMP_NUM_THREADS": "4", "ANSWER": "yes"},
    )


def test_all_mistakes_of_an_environment_file_come_together_with_their_lines() -> None:
    text = (
        "nam: work\nchannels:\n  - https://me:secret@host/c\n  - conda-forge\ndependencies:\n  - numpy==\n  - -x\n  -\n"
        "  - pip:\n      - --index-url https://evil\n      - good\n  - npm:\n      - x\nvariables:\n  A: true\n  B-C: 1\n  A: 2\n"
    )
    with pytest.raises(SpecError) as caught:
        read_environment(text, "environment.yml")
    told = "\n".join(caught.value.problems)
    for line, word in (
        (1, "nam"),
        (3, "channels[0]"),
        (6, "numpy=="),
        (7, "-x"),
        (8, "not a package"),
        (10, "option"),
        (12, "npm"),
    ):
        assert any(item.startswith(f"line {line}, ") and word in item for item in caught.value.problems), (line, told)
    assert "did you mean 'name'?" in told
    assert "given twice" in told
    assert "secret" not in told


_WORD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=20)


@given(
    st.builds(
        EnvironmentFile,
        name=st.sampled_from(["", "a", "3.10", "yes", "null", "~"]),
        channels=st.lists(st.sampled_from(["conda-forge", "defaults", "https://host/c"]), max_size=3).map(tuple),
        dependencies=st.lists(
            st.sampled_from(["python=3.10", "numpy >=1,<2", "https://host/c::b", "x[build=1]"]), max_size=3
        ).map(tuple),
        pip=st.lists(st.sampled_from(["emcee==3.1.6", "a>=1; python_version<'4'"]), max_size=3).map(tuple),
        variables=st.dictionaries(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), _WORD | st.just(""), max_size=3),
        platforms=st.lists(st.sampled_from(["linux-64", "osx-arm64"]), max_size=2).map(tuple),
    )
)
def test_a_written_environment_file_is_read_back(file: EnvironmentFile) -> None:
    assert read_environment(write_environment(file), "environment.yml") == file


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "anchors and aliases"),
        ("a: !!python/object/apply:os.system ['true']\n", "tag"),
        ("a: !!binary aGk=\n", "tag"),
        ("[" * 5_000, "nest"),
        ("a:\n" + "".join(" " * n + "- a:\n" for n in range(2, 60, 2)), "nested too deeply"),
        ("---\na: 1\n---\nb: 2\n", "second document"),
        ("dependencies: [a\n", "not valid YAML"),
        ("a: \x00\n", "not valid YAML"),
        ("? [a, b]\n: c\n", "a key is a list"),
        ("- a\n", "environment file"),
        ("", "environment file"),
        ("x" * (17 << 20), "larger than"),
        ("name: a\n", "has no dependencies"),
        ("dependencies: [a]\nvariables:\n  A:\n", "variables.A: has no value"),
    ],
)
def test_hostile_environment_files_are_refused_at_once(text: str, said: str) -> None:
    with counted_calls() as calls, pytest.raises(SpecError, match=said):
        read_environment(text, "environment.yml")
    assert calls.count < 100_000  # 9,000 at most; the names of the first text are worth 9 ** 9 items


@given(st.text(max_size=60) | st.text("abc:-[]{}&*!|>'\"\n #%@`,?~", max_size=60))
def test_any_text_is_an_environment_file_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        read_environment(text, "environment.yml")
