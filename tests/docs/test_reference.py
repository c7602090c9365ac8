"""The reference names everything that the code has: commands, options, keys, variables, exit codes, public names."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

import ozrepro
from ozrepro import environment, errors
from ozrepro.errors import LockError, SpecError
from ozrepro.frontends import activation
from ozrepro.frontends import nox as noxbackend
from ozrepro.frontends.cli.program import parser
from ozrepro.methods.conda import activating, virtual
from ozrepro.methods.conda import lock as conda_lock
from ozrepro.methods.container import lock as container_lock
from ozrepro.methods.container.lock import Base
from ozrepro.methods.modules import lock as modules_lock
from ozrepro.methods.modules import method as modules
from ozrepro.methods.reading import load_settings, parse_spec, read_text
from ozrepro.methods.registry import BUILTIN as METHODS
from ozrepro.methods.registry import read_section
from ozrepro.modulesystem import record
from ozrepro.project import settings
from ozrepro.project.lock import Section
from ozrepro.project.toml import TOMLDecodeError, loads
from ozrepro.python import indexes
from ozrepro.site import look_around
from tests.docs.pages import DOCS, ROOT, Command, all_pages, fences, steps
from tests.keys import keys_of

REFERENCE = DOCS / "reference"
Parser = argparse.ArgumentParser


def page(name: str) -> str:
    """Return a page of the reference."""
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def subparsers(of: Parser) -> dict[str, Parser]:
    """Return the commands of a parser."""
    groups = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}


COMMANDS = subparsers(parser())
ALL = [(name, made) for name, made in COMMANDS.items()] + [
    (f"{name} {action}", inner) for name, made in COMMANDS.items() for action, inner in subparsers(made).items()
]


OF_PROJECTS = {"extras", "compiles", "overridden", "path", "marker"}
"""Keys of the local projects, which the page describes with the `venv` method."""


def one_line(text: str) -> str:
    """Return a text with each run of white space as one space."""
    return " ".join(text.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_with_an_example(name: str) -> None:
    """The page's examples run the command, and the index links to it."""
    run = [step.text for step in steps(REFERENCE / f"{name}.md") if isinstance(step, Command)]
    assert any(re.match(rf"(\w+=\S+ )*ozrepro {name}\b", text) for text in run)
    assert f"[`ozrepro {name}`]({name}.md)" in page("index")


@pytest.mark.parametrize(("name", "made"), [pytest.param(*item, id=item[0]) for item in ALL])
def test_the_synopsis_of_a_command_s_page_is_that_of_its_help(name: str, made: Parser) -> None:
    """The usage on the page is what --help prints, however wide the terminal is."""
    shown = [one_line(fence.text) for fence in fences(page(name.split()[0])) if fence.language == "text"]
    assert one_line(made.format_usage()) in shown


@pytest.mark.parametrize(("name", "made"), [pytest.param(*item, id=item[0]) for item in ALL])
def test_every_option_is_on_its_command_s_page(name: str, made: Parser) -> None:
    """Each option, argument and action has a row with the words of --help."""
    rows = [line for line in page(name.split()[0]).splitlines() if line.startswith("| ")]
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            wanted = [(choice.dest, choice.help or "") for choice in action._choices_actions]
        else:
            wanted = [(word, action.help or "") for word in action.option_strings or [str(action.metavar)]]
        for word, words in wanted:
            assert any(re.search(rf"`{re.escape(word)}\b", row) and words in row for row in rows), (word, words)


def test_no_reference_page_describes_a_command_that_is_missing() -> None:
    """The reference has no page of a command that does not exist."""
    others = {"exit-codes", "glossary", "index", "inheritance", "lock-format", "module-systems", "python-api", "settings", "spec"}
    assert {path.stem for path in REFERENCE.glob("*.md")} - others == set(COMMANDS)


def known_keys(mistakes: tuple[str, ...]) -> set[str]:
    """Return the keys that a checker lists when it meets one that it does not know."""
    found = [line.partition("known keys: ")[2] for line in mistakes if "known keys: " in line]
    assert found, mistakes
    return {key for line in found for key in line.split(", ")}


@pytest.mark.parametrize(
    ("heading", "text"),
    [
        ("At the top", "qqqq = 1"),
        ("`[venv]`", "[venv]\nqqqq = 1"),
        ("`[modules]`", '[modules]\nload = ["a/1"]\nqqqq = 1\n[modules.venv]\nqqqq = 1'),
        ("`[conda]`", "[conda]\nqqqq = 1"),
        ("`[container]`", "[container]\nqqqq = 1"),
    ],
)
def test_every_key_of_a_spec_is_in_the_reference(heading: str, text: str) -> None:
    """Each key that a spec may hold has a row below its table's heading."""
    with pytest.raises(SpecError) as caught:
        parse_spec(Path("sessions/x.toml"), text)
    part = page("spec").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = "\n".join(line.split("|")[1] for line in part.splitlines() if line.startswith("| "))
    for key in known_keys(caught.value.problems):
        assert f"`{key}`" in rows, key


def test_every_setting_is_in_the_reference(tmp_path: Path) -> None:
    """Each key of [tool.ozrepro] has a row."""
    (tmp_path / "pyproject.toml").write_text("[tool.ozrepro]\nqqqq = 1\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_settings(tmp_path, {})
    for key in known_keys(caught.value.problems):
        assert f"\n| `{key}` |" in page("settings"), key


def test_every_variable_is_in_the_reference() -> None:
    """Each OZREPRO_ variable that the code reads is named, and none besides."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "ozrepro").rglob("*.py"))
    # OZREPRO_END is where a file ends in a definition that is made; OZREPRO_ORDER leads from the build of an image into its test.
    read = set(re.findall(r"\"(OZREPRO_[A-Z_]+)\"", code)) - {"OZREPRO_", "OZREPRO_END", "OZREPRO_ORDER"}
    read |= set(settings._VARIABLES.values())
    assert set(re.findall(r"OZREPRO_[A-Z_]+", page("settings"))) - {"OZREPRO_"} == read


def test_every_index_variable_is_in_the_reference() -> None:
    """Each variable of uv and pip that reaches uv is named."""
    text = page("settings")
    for name in (*indexes._UV_INDEX, *(f"PIP_{key.upper().replace('-', '_')}" for key in indexes._PIP_KEYS)):
        assert f"`{name}`" in text, name
    for name in indexes._UV_KEPT:
        assert f"`{name}`" in text or name.startswith("UV_CONCURRENT_"), name


def test_every_key_of_a_lock_is_in_the_reference(tmp_path: Path) -> None:
    """Each key of a lock's top, of a venv section, of a package and of a file is named."""
    head = 'schema = 1\nsession = "x"\nqqqq = 1\n'
    with pytest.raises(LockError) as top:
        read_text(head, "x", "x.lock")
    content = {"qqqq": 1, "python": ">=3.10", "package": [{"qqqq": 1, "files": [{"qqqq": 1}]}], "project": {"qqqq": 1}}
    with pytest.raises(LockError) as inner:
        read_section(
            Section("venv", "any", "sha256:" + "0" * 64, content), look_around(load_settings(tmp_path, {}), {}), "x.lock", "x"
        )
    keys = known_keys(tuple(str(top.value).splitlines())) | known_keys(tuple(str(inner.value).splitlines()))
    assert {"schema", "sha256", "extras", "marker", "covers"} <= keys
    for key in keys - set(METHODS):
        assert f"`{key}`" in page("lock-format"), key


def test_every_key_of_a_container_section_is_in_the_reference() -> None:
    """Each key of a container section and of a base is named."""
    text = page("lock-format").partition("## A section of the `container` method")[2].partition("## A package")[0]
    for key in (*keys_of(container_lock.Content), *Base("docker", "x", "y").as_table()):
        assert f"`{key}`" in text, key


def test_every_key_of_a_modules_section_is_in_the_reference(tmp_path: Path) -> None:
    """Each key of a modules section, of what stands in it, and each mark for a folder is named."""
    digest = "0" * 64
    package = {
        "name": "a",
        "version": "1",
        "qqqq": 1,
        "files": [{"name": "a-1.tar.gz", "sha256": digest, "qqqq": 1}],
        "built": {"name": "a-1-py3-none-any.whl", "sha256": digest, "qqqq": 1},
    }
    content = {
        "qqqq": 1,
        "module": [{"name": "a/1", "file": "/a", "sha256": digest, "qqqq": 1}],
        "file": [{"path": "/a", "sha256": digest, "qqqq": 1}],
        "change": {"qqqq": 1, "path": {"X": {"qqqq": 1}}, "follow": {"X": [{"qqqq": 1}]}},
        "reads": {"qqqq": 1},
        "shell": {"qqqq": 1},
        "project": {"qqqq": 1},
        "package": [package],
    }
    site = look_around(load_settings(tmp_path, {}), {"HOME": "/home/reader"})
    with pytest.raises(LockError) as caught:
        read_section(Section("modules", "linux-64/v3", f"sha256:{digest}", content), site, "x.lock", "x")
    keys = known_keys(tuple(str(caught.value).splitlines()))
    assert {"parents", "requested", "dynamic", "dropped", "needed", "value", "limits", "built", "extras"} <= keys
    assert {*keys_of(modules_lock.Content)} <= keys
    text = page("lock-format")
    part = text.partition("\n## A section of the `modules` method\n")[2].partition("\n## What is refused\n")[0]
    rows = "\n".join(line.split("|")[1] for line in part.splitlines() if line.startswith("| "))
    for key in {*keys, *record.places_of("/project", "/home/reader")} - {*OF_PROJECTS, "requested", "sha256", "size"}:
        assert f"`{key}`" in rows, key
    for key in keys:
        assert f"`{key}`" in text, key


def test_every_key_of_a_conda_section_is_in_the_reference(tmp_path: Path) -> None:
    """Each key of a conda section, of a channel, of a record, of its MPI and of what pip adds is named."""
    digest = "0" * 64
    record_of = {"name": "a", "version": "1", "build": "0", "file": "a-1-0.conda", "sha256": digest, "qqqq": 1}
    content = {
        "qqqq": 1,
        "channels": [{"name": "conda-forge", "qqqq": 1}],
        "record": [record_of],
        "mpi": {"qqqq": 1},
        "project": {"qqqq": 1},
        "package": [{"name": "a", "version": "1", "qqqq": 1, "files": [{"name": "a-1-py3-none-any.whl", "qqqq": 1}]}],
    }
    site = look_around(load_settings(tmp_path, {}), {"HOME": "/home/reader"})
    with pytest.raises(LockError) as caught:
        read_section(Section("conda", "linux-64", f"sha256:{digest}", content), site, "x.lock", "x")
    keys = known_keys(tuple(str(caught.value).splitlines()))
    assert {
        *keys_of(conda_lock.Content),
        *keys_of(record.RecordContent),
        "address",
        "build-number",
        "constrains",
        "noarch",
        "extras",
    } <= keys
    text = page("lock-format")
    part = text.partition("\n## A section of the `conda` method\n")[2].partition("\n## What is refused\n")[0]
    rows = "\n".join("|".join(line.split("|")[1:3]) for line in part.splitlines() if line.startswith("| "))
    for key in keys - {*OF_PROJECTS, "requested"}:
        assert f"`{key}`" in rows, key
    for key in keys:
        assert f"`{key}`" in text, key


def test_every_conda_variable_and_virtual_package_is_in_the_reference() -> None:
    """Each variable by which the machine is told otherwise, and each key of the table that does the same."""
    for key in virtual.KEYS:
        assert f"`CONDA_OVERRIDE_{key.upper()}`" in page("settings"), key
        assert f"`{key}`" in page("spec"), key
    for name in ("CONDA_CHANNEL_ALIAS", "RATTLER_AUTH_FILE", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        assert f"`{name}`" in page("settings"), name
    for name in activating.own_variables(Path("/env")):
        assert f"`{name}`" in page("inheritance"), name


def test_every_error_and_its_exit_code_is_in_the_reference() -> None:
    """Each error class stands in the row of its exit code, and on the page of the public names."""
    rows = [line for line in page("exit-codes").splitlines() if line.startswith("| ")]
    for name in errors.__all__:
        code = getattr(errors, name).exit_code
        assert any(row.startswith(f"| {code} |") and f"`{name}`" in row for row in rows), name
        assert f"| `{name}` |" in page("python-api"), name


def test_every_public_name_is_in_the_reference() -> None:
    """Each name of ozrepro.__all__, and each part of Environment, is on the page of the public names."""
    for name in ozrepro.__all__:
        assert re.search(rf"`(ozrepro\.)?{name}`", page("python-api")), name
    parts = [name for name in vars(ozrepro.Environment) if not name.startswith("_")]
    for name in parts:
        assert re.search(rf"`{name}\b", page("python-api")), name


def test_what_the_decorator_takes_is_in_the_reference() -> None:
    """Each option of nox.session is named: passed through, refused, or its own."""
    import inspect

    import nox

    text = page("python-api")
    for name in inspect.signature(nox.session).parameters:
        assert name == "func" or f"`{name}`" in text, name
    refused = next(line for line in text.splitlines() if "are refused with `UsageError`" in line)
    assert set(re.findall(r"`(\w+)`", refused)) - {"UsageError"} == set(noxbackend._OWN)
    assert all(f"`{name}`" in text for name in environment.HOST_PROGRAMS)


def test_what_a_program_inherits_is_in_the_reference() -> None:
    """Each variable that is kept or kept out is named, none besides, and the base PATH."""
    text = page("inheritance")
    exact = (*environment.INHERITED, *environment.KEPT_OUT_PREFIXES, *environment.BASE_PATH, *modules.SITE_VARIABLES)
    begin = (f"{name}*" for name in (*environment.INHERITED_PREFIXES, *environment.TUNED_PREFIXES))
    ends = (f"*{name}" for name in (*environment.INHERITED_ENDINGS, *environment.KEPT_OUT_ENDINGS))
    for name in (*(name for name in exact if not name.endswith("_NUM_THREADS")), *begin, *ends):
        assert f"`{name}`" in text, name
    rows = [line.partition(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    table = rows[rows.index("| variables") : rows.index("| variable")]
    for row in table:
        for name in re.findall(r"`([^`]+)`", row):
            wanted = not row.startswith("| kept out") and not row.startswith("| with modules")
            known = environment.is_inherited(name.replace("*", "X")) or name in ("pass", "OZREPRO_PASS")
            assert known == wanted, name
    seen = next(line for line in text.splitlines() if line.startswith("| `TMPDIR`"))
    assert set(re.findall(r"`(\w+)`", seen.split(" | ")[0])) == set(environment.PLACES)


def test_what_a_shell_keeps_is_in_the_reference() -> None:
    """Each variable of the caller that a shell in a session keeps besides is named, and each word whose alias it takes away."""
    text = page("shell")
    prefixes = ("BASH_FUNC_", "XDG_", "KITTY_", "ITERM_")
    assert all(activation.is_kept(f"{prefix}X") for prefix in prefixes)
    for name in (*activation._OF_A_TERMINAL, *prefixes, *activation._OWN_WORDS):
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in [*all_pages(), ROOT / "README.md"]]
)
def test_shown_files_are_well_formed(path: Path) -> None:
    """A TOML or Python block parses, unless the page shows that it is refused."""
    for fence in fences(path.read_text(encoding="utf-8")):
        try:
            if fence.language == "toml":
                loads(fence.text)
            elif fence.language == "python":
                ast.parse(fence.text)
        except (TOMLDecodeError, SyntaxError) as error:
            pytest.fail(f"{path}:{fence.line}: {error}")
