"""A spec from someone else's repository: what is not a name, version, file or https address is refused by its key."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from ozrepro.project.toml import dumps
from tests.conftest import BIN
from tests.threats.helpers import Said, inside, make_project, outside
from tests.threats.locks import HIDDEN
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Project


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a project whose spec each test writes anew."""
    project = make_project(tmp_path_factory.mktemp("specs"))
    make_wheel(project.wheelhouse, "alpha")
    (project.root / "good.txt").write_text("alpha\n", encoding="utf-8")
    (project.root.parent / "outside.txt").write_text("alpha\n", encoding="utf-8")
    os.symlink("../outside.txt", project.root / "leads-out.txt")
    os.symlink("/etc/passwd", project.root / "passwd.txt")
    os.symlink("..", project.root / "up")
    os.symlink("/dev/zero", project.root / "endless.txt")
    return project


def check_refused(project: Project, *words: str) -> None:
    """Insist that each command refuses the spec with status 2 and these words, and that nothing was made."""
    for command in (("lock", "work"), ("build", "work"), ("run", "work", "--", "true"), ("status",)):
        said = inside(project, *command)
        said.refused(*words, statuses=(2,))
        assert said.output == ""
    assert not project.lock().exists()
    assert not (project.store() / "gens").exists()


REQUIREMENTS = (
    "-r /etc/passwd",
    "-r ../outside.txt",
    "-r sub/../../outside.txt",
    "-r ~/requirements.txt",
    "-c /etc/passwd",
    "-c../outside.txt",
    "--requirement=/etc/passwd",
    "--index-url https://e.example/simple",
    "--extra-index-url=https://e.example/simple",
    "-i https://e.example/simple",
    "--find-links /tmp",
    "--trusted-host e.example",
    "--no-binary :all:",
    "--pre",
    "-e /other",
    "-e ../other",
    "-e ./sub/../..",
    "./../sub",
    "-e .[$(touch x)]",
    "-e git+https://e.example/x.git",
    "-e . --config-settings=x",
    "/tmp/alpha-1.0-py3-none-any.whl",
    "./alpha-1.0-py3-none-any.whl",
    "file:///tmp/alpha-1.0-py3-none-any.whl",
    "alpha @ file:///tmp/alpha-1.0-py3-none-any.whl",
    "alpha @ git+https://e.example/x.git@main",
    "alpha @ git+ssh://git@e.example/x.git",
    "alpha @ http://e.example/alpha-1.0-py3-none-any.whl",
    "alpha @ https://user:word@e.example/alpha-1.0-py3-none-any.whl",
    "alpha @ https://e.example/${HTTPS_PROXY}/alpha-1.0-py3-none-any.whl",
    "alpha @ https://e.example/get?f=alpha-1.0-py3-none-any.whl",
    "alpha @ https://e.example/alpha",
    "alpha @ https:///alpha-1.0-py3-none-any.whl",
    "alpha $(touch x)",
    "`touch x`",
    "alpha; touch x",
    "alpha' --pre '",
    'alpha" --pre "',
    "alpha==1.0 --hash=sha256:0",
    "alpha\n-r /etc/passwd",
    "alpha\r--pre",
    f"alpha{HIDDEN}",
    "alpha\x1b[2J",
    "\u0430lpha==1.0 ; os_name == 'posix' and",
    "alpha ; os_name ~= 'posix'",
    "alpha ; os_name == '\\x70osix'",
    "alpha ; os_name == '\\d'",
    "alpha ; 'x' in extras and '1' in nothing",
    "alpha ; " + "(" * 5000 + "os_name == 'x'" + ")" * 5000,
    "alpha>=" + "9" * 9000,
    "x" * 200_000,
    "%PATH%",
    "${HOME}",
    "",
    " ",
)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=range(len(REQUIREMENTS)))
@pytest.mark.parametrize("method", ["venv", "modules"])
def test_a_hostile_requirement_is_refused_by_its_place(shared: Project, requirement: str, method: str) -> None:
    more = {"load": ["python/3.10"], "venv": {"requirements": ["numpy", requirement]}}
    shared.spec(dumps({"venv": {"requirements": ["numpy", requirement]}} if method == "venv" else {"modules": more}))
    key = "venv.requirements[1]" if method == "venv" else "modules.venv.requirements[1]"
    check_refused(shared, "sessions/work.toml", key)


FILES = {
    "link out of the project": ("-r leads-out.txt", "leads-out.txt"),
    "link to a secret": ("-r passwd.txt", "passwd.txt"),
    "folder that is a link": ("-r up/outside.txt", "up/outside.txt"),
    "constraints out of the project": ("-c leads-out.txt", "leads-out.txt"),
    "absent": ("-r absent.txt", "absent.txt"),
    "folder": ("-r sessions", "sessions"),
    "endless": ("-r endless.txt", "endless.txt"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_requirement_file_that_is_not_the_projects_own_is_not_read(shared: Project, name: str) -> None:
    """Reading what a link leads to would put another file's text into messages, and the lock could not be made elsewhere."""
    requirement, word = FILES[name]
    shared.spec(dumps({"venv": {"requirements": ["alpha", requirement]}}))
    for words in (("lock", "work"), ("run", "work", "--", "true")):
        done = shared.run("sh", "-c", f"ulimit -v 3000000; exec '{BIN}/ozrepro' \"$@\"", "sh", *words)
        said = Said(done.returncode, done.stdout, done.stderr)
        if words[0] == "lock":
            said.refused("venv.requirements", word, statuses=(2,))
        assert "root:" not in said.errors
        assert said.status in (2, 3)
    assert not shared.lock().exists()


ENTRIES = (
    "--index-url https://e.example/simple",
    "-i https://e.example/simple",
    "--extra-index-url https://e.example/simple",
    "--find-links /tmp",
    "--no-binary :all:",
    "--pre",
    "-r ../outside.txt",
    "-r /etc/passwd",
    "-e /other",
    "-e ../other",
    "../other",
    "/tmp/alpha-1.0-py3-none-any.whl",
    "git+https://e.example/x.git",
    "alpha @ git+https://e.example/x.git",
    "alpha @ https://e.example/${UV_INDEX_CORP_PASSWORD}/alpha-1.0-py3-none-any.whl",
    "alpha @ file:///tmp/alpha-1.0-py3-none-any.whl",
    "--index-\\\nurl https://e.example/simple",
)


@pytest.mark.parametrize("entry", ENTRIES, ids=range(len(ENTRIES)))
def test_a_hostile_entry_of_a_requirement_file_is_refused_by_its_line(shared: Project, entry: str) -> None:
    (shared.root / "more.txt").write_text(f"# what we need\nalpha>=1  # a comment\n{entry}\n", encoding="utf-8")
    shared.spec(dumps({"venv": {"requirements": ["-r more.txt"]}}))
    inside(shared, "lock", "work").refused("more.txt", "line 3", "venv.requirements", statuses=(2,))
    assert not shared.lock().exists()


def test_a_plain_requirement_file_is_taken(shared: Project) -> None:
    sha256 = hashlib.sha256((shared.wheelhouse / "alpha-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    (shared.root / "more.txt").write_text(
        f"\ufeff# what we need\n\nalpha>=1 ; python_version >= '3' # why\r\n  alpha==1.0 \\\n    --hash=sha256:{sha256}\n",
        encoding="utf-8",
    )
    shared.spec(dumps({"venv": {"requirements": ["-r more.txt"]}}))
    said = inside(shared, "lock", "work")
    shared.lock().unlink(missing_ok=True)
    assert said.status == 0, said.errors


KEYS: tuple[tuple[str, dict[str, object], str], ...] = (
    ("top key", {"hooks": {"pre": "sh"}}, "hooks"),
    ("key with escape", {"\x1b]0;x\x07": 1}, "\\x1b"),
    ("key with newline", {"a\nozrepro: all is well": 1}, "\\n"),
    ("key with bidi", {f"methods{HIDDEN}": []}, "\\u202e"),
    ("long key", {"k" * 100_000: 1}, "unknown key"),
    ("method unknown", {"methods": ["$(x)"]}, "methods[0]"),
    ("import code", {"imports": ["os;x"]}, "imports[0]"),
    ("import relative", {"imports": [".evil"]}, "imports[0]"),
    ("import newline", {"imports": ["os\nx"]}, "imports[0]"),
    ("import dash", {"imports": ["-c"]}, "imports[0]"),
    ("description escape", {"description": "nice\x1b[8m"}, "description"),
    ("python shell", {"venv": {"python": "$(x)"}}, "venv.python"),
    ("python digits", {"venv": {"python": ">=" + "9" * 9000}}, "venv.python"),
    ("python newline", {"venv": {"python": ">=3.10\n"}}, "venv.python"),
    ("build option", {"venv": {"build": [":all:"]}}, "venv.build[0]"),
    ("build path", {"venv": {"build": ["../x"]}}, "venv.build[0]"),
    ("pass assignment", {"venv": {"pass": ["A=B"]}}, "venv.pass[0]"),
    ("pass function", {"venv": {"pass": ["BASH_FUNC_ls%%"]}}, "venv.pass[0]"),
    ("pass pattern", {"venv": {"pass": ["*"]}}, "venv.pass[0]"),
    ("platform", {"venv": {"platforms": ["linux-x86_64\n"]}}, "venv.platforms[0]"),
    ("module option", {"modules": {"load": ["--version/1"]}}, "modules.load[0]"),
    ("module newline", {"modules": {"load": ["gcc/1\nrm/1"]}}, "modules.load[0]"),
    ("definition out", {"container": {"definition": "../x.def"}}, "container.definition"),
    ("definition absolute", {"container": {"definition": "/etc/passwd"}}, "container.definition"),
    ("environment file out", {"conda": {"file": "~/environment.yml"}}, "conda.file"),
    ("conda newline", {"conda": {"dependencies": ["python\n"]}}, "conda.dependencies[0]"),
    ("conda pip option", {"conda": {"dependencies": ["python"], "pip": ["--pre"]}}, "conda.pip[0]"),
    ("gpu", {"container": {"image": "a.sif", "gpu": "; rm"}}, "container.gpu"),
    ("bind bidi", {"container": {"image": "a.sif", "bind": [f"/x{HIDDEN}"]}}, "container.bind[0]"),
    ("build-args", {"container": {"definition": "a.def", "build-args": {"A": "x\n%post"}}}, "container.build-args.A"),
)


@pytest.mark.parametrize(("table", "key"), [case[1:] for case in KEYS], ids=[case[0] for case in KEYS])
def test_a_hostile_value_is_refused_by_its_key(shared: Project, table: dict[str, object], key: str) -> None:
    base: dict[str, object] = {} if set(table) & {"venv", "conda", "modules", "container"} else {"venv": {"requirements": []}}
    shared.spec(dumps({**base, **table}))
    check_refused(shared, "sessions/work.toml", key)


CONTENTS: dict[str, tuple[bytes, str]] = {
    "10 MB": (b"#" + b"x" * 10_000_000, "larger"),
    "invalid UTF-8": (b'description = "\xff"', "UTF-8"),
    "UTF-16": ("[venv]\n".encode("utf-16"), "UTF-8"),
    "no TOML": (b"\x7fELF", "work.toml"),
    "nested arrays": (b"a = " + b"[" * 9000 + b"]" * 9000, "nest"),
    "dotted key": (b"a." * 30_000 + b"a = 1", "line 1"),
    "number of 9000 digits": (b"a = " + b"9" * 9000, "TOML"),
    "number beyond 64 bits": (b"a = 0x" + b"f" * 9000, "64 bits"),
    "20000 unknown keys": (b"".join(b"k%d = 1\n" % number for number in range(20_000)), "and more"),
    "20000 bad requirements": (b"[venv]\nrequirements = [" + b"'-x'," * 20_000 + b"]", "and more"),
    "duplicate key": (b"[venv]\n[venv]\n", "TOML"),
    "no method": (b"", "no method"),
    "all wrong types": (
        b"venv = 1\nmodules = []\nconda = 'x'\ncontainer = 1.5\nmethods = 3\nimports = {}\n",
        "venv: is a whole number",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_hostile_bytes_for_a_spec_are_refused(shared: Project, name: str) -> None:
    content, word = CONTENTS[name]
    (shared.root / "sessions" / "work.toml").write_bytes(content)
    check_refused(shared, "work.toml", word)


def test_the_command_line_refuses_a_hostile_spec(shared: Project) -> None:
    for content, word in (CONTENTS["nested arrays"], CONTENTS["10 MB"], CONTENTS["number beyond 64 bits"]):
        (shared.root / "sessions" / "work.toml").write_bytes(content)
        for words in (("run", "work", "--", "true"), ("status",)):
            outside(shared, *words).refused("work.toml", word, statuses=(2,))


NAMES = (
    "../work",
    "/etc/passwd",
    "a b",
    "$(x)",
    "`x`",
    "a;b",
    "a\nb",
    "-x",
    "a.b",
    f"work{HIDDEN}",
    "\u0430lpha",
    "x" * 65,
    "",
    "%s",
    "1a",
)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_is_no_identifier_names_no_session(shared: Project, name: str) -> None:
    """A session's name is part of file names and of batch scripts."""
    for words in (
        ("run", name, "--", "true"),
        ("build", "--", name),
        ("lock", "--", name),
        ("export", "--format", "pylock", "--", name),
    ):
        if name.startswith("-") and words[0] == "run":
            continue  # an unknown option, which argparse refuses
        said = inside(shared, *words)
        assert said.status == 2
        assert said.errors.startswith("ozrepro: ")
        assert [char for char in said.errors if char not in "\n\t" and not char.isprintable()] == []


SETTINGS: tuple[tuple[str, str], ...] = (
    ("[tool.ozrepro]\nstore = 1\n", "tool.ozrepro.store"),
    ('[tool.ozrepro]\nstore = "a\\u0000b"\n', "tool.ozrepro.store"),
    ('[tool.ozrepro]\nstore = "~a\\u0000b"\n', "tool.ozrepro.store"),
    ("[tool.ozrepro]\nhooks = 'sh'\n", "tool.ozrepro.hooks"),
    ("[tool.ozrepro]\npath = ['bin']\n", "tool.ozrepro.path[0]"),
    ("[tool.ozrepro]\npath = ['/bin:/tmp']\n", "tool.ozrepro.path[0]"),
    ("[tool.ozrepro]\nlock-timeout = -1\n", "tool.ozrepro.lock-timeout"),
    ("[tool.ozrepro]\nlock-timeout = nan\n", "tool.ozrepro.lock-timeout"),
    ("[tool.ozrepro]\nlocks = 'none'\n", "tool.ozrepro.locks"),
    ("[tool.ozrepro.indexes]\n\"a b=https\" = 'https://e.example'\n", "tool.ozrepro.indexes"),
    ("[tool.ozrepro.indexes]\na = 'https://user:word@e.example'\n", "tool.ozrepro.indexes.a"),
    ("[tool.ozrepro.indexes]\na = 'https://e.example/${HOME}'\n", "tool.ozrepro.indexes.a"),
    ("[tool.ozrepro.indexes]\na = 'https://e.example https://f.example'\n", "tool.ozrepro.indexes.a"),
    ("[tool]\nozrepro = 1\n", "tool.ozrepro"),
    ("[tool.ozrepro]\na = " + "[" * 9000, "pyproject.toml"),
    ("[tool.ozrepro]\nlock-timeout = 0x" + "f" * 9000, "pyproject.toml"),
    ("[tool.ozrepro]\nlock-timeout = " + "9" * 9000, "pyproject.toml"),
)


@pytest.mark.parametrize(("text", "key"), SETTINGS, ids=range(len(SETTINGS)))
def test_a_hostile_setting_is_refused_by_its_key(tmp_path: Path, text: str, key: str) -> None:
    project = make_project(tmp_path)
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    (project.root / "pyproject.toml").write_text(text, encoding="utf-8")
    project.lock().write_text("schema = 1\n", encoding="utf-8")
    for words in (("run", "work", "--", "true"), ("lock", "work"), ("store", "list")):
        inside(project, *words).refused("pyproject.toml", key, statuses=(2,))
    assert not project.store().exists()


@pytest.mark.parametrize(
    "text",
    [
        "tool = 1\n",
        "[tool]\nuv = 1\n",
        "[tool.uv]\nindex = 1\n",
        "[tool.uv]\npip = 1\nfind-links = 3\nextra-index-url = {}\n",
        "a = " + "[" * 9000,
    ],
    ids=range(5),
)
def test_odd_uv_settings_of_a_project_are_no_traceback(tmp_path: Path, text: str) -> None:
    project = make_project(tmp_path)
    make_wheel(project.wheelhouse, "alpha")
    del project.environ["PIP_NO_INDEX"]
    project.environ["UV_OFFLINE"] = "1"
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    for name in ("uv.toml", "pyproject.toml"):
        (project.root / name).write_text(text, encoding="utf-8")
    said = inside(project, "lock", "work")
    assert said.status in (0, 1, 2), said.errors


@pytest.mark.parametrize(
    "requires",
    ["'--index-url https://e.example'", "'a\\n-r /etc/passwd'", "'a @ git+https://e.example/x'", "1", "{}"],
    ids=range(5),
)
def test_build_requirements_are_requirements_and_no_options(tmp_path: Path, requires: str) -> None:
    project = make_project(tmp_path)
    make_wheel(project.wheelhouse, "alpha")
    project.spec('[venv]\nrequirements = ["alpha", "-e ."]\n')
    (project.root / "pyproject.toml").write_text(
        '[project]\nname = "own"\nversion = "1"\n'
        f'[build-system]\nrequires = [{requires}]\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        encoding="utf-8",
    )
    (project.root / "backend.py").write_text("def build_editable(*words): raise SystemExit(3)\n", encoding="utf-8")
    said = inside(project, "lock", "work")
    said.refused(statuses=(1, 2))
    assert not project.lock().exists()
