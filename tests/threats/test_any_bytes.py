"""Whatever the bytes: each parser gives a value or an OzreproError, and starts, compiles and connects nothing."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ozrepro.errors import OzreproError
from ozrepro.faststart.ready import find_ready, question
from ozrepro.methods import registry
from ozrepro.methods.container import lock as container_lock
from ozrepro.methods.container import method as container
from ozrepro.methods.container import plan as container_plan
from ozrepro.methods.container.contents import differences
from ozrepro.methods.contract import Drifts
from ozrepro.methods.image_definition import of_wheels
from ozrepro.methods.reading import load_lock, load_settings, load_spec, parse_spec, read_text
from ozrepro.methods.target import Target
from ozrepro.project.lock import write_text
from ozrepro.project.requirement import check_requirement_file
from ozrepro.project.toml import dumps, loads
from ozrepro.python.interpreter import running
from ozrepro.site import Site, look_around
from tests.keys import keys_of
from tests.threats.locks import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MADE = of_wheels("base.sif", f"alpha==1.0 \\\n    --hash=sha256:{'a' * 64}", "venv.any of work.lock")
GOOD_LOCK = f"""# Written by `ozrepro lock`: commit it, and change it only by that command.
schema = 1
session = "work"

[venv.any]
spec = "sha256:{"a" * 64}"
python = ">=3.10"
imports = ["alpha", "beta.gamma"]
pass = ["MY_DATA"]
platforms = ["linux-aarch64", "linux-x86_64"]

[venv.any.project]
name = "own"
extras = ["plot"]

[venv.any.covers]
linux-x86_64 = ["3.10", "3.11", "3.12", "3.13", "3.14"]

[[venv.any.package]]
name = "alpha"
version = "1.0"
marker = "python_full_version >= '3.10' and sys_platform == 'linux'"
index = "pypi"
files = [
    {{ name = "alpha-1.0-py3-none-any.whl", size = 917, sha256 = "{"b" * 64}" }},
    {{ name = "alpha-1.0-cp310-cp310-manylinux_2_17_x86_64.whl", size = 917, sha256 = "{"c" * 64}" }},
]

[[venv.any.package]]
name = "beta"
version = "1.5rc1+local.2"
url = "https://e.example/beta-1.5rc1+local.2-py3-none-any.whl"
files = [
    {{ name = "beta-1.5rc1+local.2-py3-none-any.whl", sha256 = "{"d" * 64}" }},
]

[[venv.any.build]]
name = "helper-tool"
version = "1.0"
files = [
    {{ name = "helper_tool-1.0-py3-none-any.whl", size = 972, sha256 = "{"e" * 64}" }},
]

[modules."linux-64/v3"]
spec = "sha256:{"b" * 64}"
tool = "lmod 8.7.60"
system = "rocky 9.4, glibc 2.34"
modulepath = ["/apps/modulefiles"]
load = ["gcc/12.3.0", "python/3.11.3"]
parents = ["gcc/12.3.0"]
python = "/apps/python/3.11.3/bin/python3.11"
version = "3.11.3"
system-site-packages = true
folders = ["/apps/python/3.11.3/lib/python3.11/site-packages"]
imports = ["numpy"]
module = [
    {{ name = "gcc/12.3.0", file = "/apps/modulefiles/gcc/12.3.0.lua", sha256 = "{"c" * 64}", requested = false }},
    {{ name = "python/3.11.3", file = "<project>/modules/python/3.11.3.lua", sha256 = "{"d" * 64}", requested = true }},
]
file = [
    {{ path = "/apps/modulefiles/.modulerc.lua", sha256 = "{"e" * 64}" }},
    {{ path = "/apps/python/3.11.3/bin/python3.11", sha256 = "{"f" * 64}" }},
]

[modules."linux-64/v3".provides]
numpy = "1.26.4"

[modules."linux-64/v3".change]
dynamic = ["SCRATCH"]
unset = ["CC"]
table = ["_ModuleTable_ = {{", "MTversion = 3,", "}}"]

[modules."linux-64/v3".change.set]
EBROOTGCC = "/apps/gcc/12.3.0"
ODD = "one\\ntwo"

[modules."linux-64/v3".change.follow]
CACHE = [{{ set = ["HOME"], value = "${{HOME}}/.cache" }}]

[modules."linux-64/v3".change.path.PATH]
prepend = ["/apps/python/3.11.3/bin", "/apps/gcc/12.3.0/bin"]
append = ["/apps/last"]
dropped = ["/usr/local/bin"]
counts = {{ "/apps/gcc/12.3.0/bin" = 2 }}

[modules."linux-64/v3".change.bookkeeping]
LMOD_FAMILY_COMPILER = "gcc"

[modules."linux-64/v3".shell]
limits = ["ulimit -s unlimited"]

[modules."linux-64/v3".shell.functions]
conda = "echo"

[[modules."linux-64/v3".package]]
name = "mpi4py"
version = "3.1.4"
built = {{ name = "mpi4py-3.1.4-cp311-cp311-linux_x86_64.whl", size = 5, sha256 = "{"f" * 64}" }}
files = [
    {{ name = "mpi4py-3.1.4.tar.gz", size = 972, sha256 = "{"a" * 64}" }},
]

[container.linux-64]
spec = "sha256:{"c" * 64}"
tool = "apptainer 1.4.5"
definition = "sessions/work.def"
inputs = "sha256:{"d" * 64}"
base = [
    {{ bootstrap = "docker", from = "docker.io/library/python:3.11", digest = "sha256:{"e" * 64}" }},
]
sha256 = "{"f" * 64}"
size = 67268608
tree = "{"a" * 64}"
python = "3.11.2"
imports = ["numpy"]
bind = ["/fred/oz001:/data:ro"]
pass = ["MY_DATA"]
gpu = "nvidia"
distribution = [
    {{ name = "numpy", version = "1.26.4" }},
    {{ name = "setuptools", version = "66.1.1", imports = "pkg_resources setuptools" }},
]
system = ["bash 5.2.15-2+b2", "openssl 3.6.0 h26f9b46_0"]

[container.linux-64.arguments]
VERSION = "one\\ntwo"

[container.linux-aarch64]
spec = "sha256:{"c" * 64}"
tool = "singularity 4.1.2"
from = "venv"
inputs = "sha256:{"d" * 64}"
base = [
    {{ bootstrap = "localimage", from = "base.sif", digest = "sha256:{"e" * 64}" }},
]
sha256 = "{"f" * 64}"
size = 1
tree = "{"a" * 64}"
python = "3.11.2"
generated = {json.dumps(MADE)}
distribution = []
system = []

[container.linux-aarch64.of]
section = "venv.any"
digest = "sha256:{"a" * 64}"
"""
GOOD_SPEC = """description = "Period of the solar cycle"
methods = ["venv", "modules"]
imports = ["numpy", "scipy.signal"]

[venv]
python = ">=3.10,<3.14"
requirements = ["numpy>=1.26 ; python_version >= '3.10'", "alpha[x] @ https://e.example/a.whl", "-r more.txt", "-e .[plot]"]
build = ["mpi4py"]
platforms = ["linux-x86_64"]
pass = ["MY_DATA"]

[modules]
load = ["gcc/12.3.0"]
use = ["/apps/more"]
[modules.venv]
system-site-packages = true
requirements = ["astropy"]

[conda]
channels = ["conda-forge"]
dependencies = ["python=3.10"]
virtual-packages = { glibc = "2.28" }

[container]
definition = "sessions/work.def"
gpu = "nvidia"
bind = ["/fred"]
build-args = { A = "b" }
"""
GOOD_SETTINGS = """[project]
name = "own"

[tool.ozrepro]
store = "../store"
methods = ["venv"]
platforms = ["linux-x86_64"]
path = ["/opt/slurm/bin"]
locks = "ticket"
lock-timeout = 1.5e3

[tool.ozrepro.indexes]
corp = "https://e.example/simple"
"""
FORBIDDEN = (
    "compile",
    "exec",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "subprocess.Popen",
    "socket.connect",
    "ctypes.dlopen",
)
"""Events of the interpreter (Python's audit events table) that reading a file must not cause."""

TOKENS = (
    *(
        '"',
        "'",
        '"""',
        "=",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        ".",
        "#",
        "\\",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\x1b",
        "\u202e",
        "\ufeff",
    ),
    *(
        "true",
        "inf",
        "-nan",
        "0x",
        "1e999",
        "2020-01-01T00:00:00Z",
        "9" * 5000,
        "schema",
        "venv",
        "any",
        "package",
        "files",
        "sha256",
    ),
    *(
        "-r ",
        "-e .",
        " @ https://",
        "${HOME}",
        " ; ",
        "(",
        ")",
        " and ",
        "~=",
        "===",
        "in extras",
        "a" * 70,
        "0" * 64,
        "1.0",
        "\U000e0001",
    ),
)


def _is_literal(source: object) -> bool:
    """Say whether this is one quoted string: packaging has `ast.literal_eval` read those of markers, which runs nothing."""
    text = source.decode("utf-8", "replace") if isinstance(source, bytes) else str(source)
    return text[:1] in ("'", '"') and text[:1] == text[-1:] and text[:1] not in text[1:-1]


class Watch:
    """Notes forbidden events while it is on. An audit hook can never be taken away, so one serves all tests."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on and event in FORBIDDEN and not (event == "compile" and _is_literal(arguments[0])):
            self.seen.append(f"{event}: {str(arguments)[:300]}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.seen.clear()
        self.on = True
        try:
            yield
        finally:
            self.on = False
        assert self.seen == []


WATCH = Watch()


@pytest.fixture(scope="module", autouse=True)
def _annotations_are_resolved() -> None:
    """Have the readers look up their own annotations, which Python compiles at first use, before anybody watches."""
    for method, platform in (("container", "linux-64"), ("modules", "linux-64/v3"), ("conda", "linux-64")):
        for key in sorted({*keys_of(container_lock.Content), *MODULES_KEYS, "mpi", "record", "channels", "local"}):
            for value in ({"x": 1}, [{"x": 1}], "x"):
                content = {"spec": f"sha256:{'0' * 64}", key: value}
                with suppress(OzreproError):
                    read_whole_lock(dumps({"schema": 1, "session": "work", method: {platform: content}}))


@st.composite
def mutated(draw: st.DrawFn, good: str) -> str:
    """Return a good file with up to eight pieces taken out, doubled, moved or replaced by what parsers stumble over."""
    text = good
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from((0, 0, 1, 2, 5, 20, 200)))
        put = draw(st.one_of(st.sampled_from(TOKENS), st.text(max_size=8), st.just(text[start : start + length] * 2)))
        text = text[:start] + put + text[start + length :]
    return text


def values() -> st.SearchStrategy[object]:
    """Return any value that TOML can hold and our writer can write."""
    leaves = st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.text(max_size=12),
        st.sampled_from([token for token in TOKENS if len(token) < 80]),
    )
    keys = st.one_of(
        st.sampled_from(("name", "version", "files", "sha256", "size", "spec", "any", "marker", "url", "python")),
        st.text(max_size=6),
    )
    return st.recursive(
        leaves, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)), max_leaves=12
    )


def tables(*keys: str) -> st.SearchStrategy[str]:
    """Return any TOML file whose top keys are mostly those that are known."""
    return st.dictionaries(st.one_of(st.sampled_from(keys), st.text(max_size=4)), values(), max_size=5).map(dumps)


def any_text(good: str, *keys: str) -> st.SearchStrategy[str]:
    """Return any text: mutated good files, well-formed files of other content, and noise."""
    return st.one_of(mutated(good), mutated(good), tables(*keys), st.text(max_size=200))


def gives_a_value_or_our_error(call: Callable[[], object]) -> object:
    """Call a parser under watch and return its value, or None where it refused."""
    with WATCH.watching(), suppress(OzreproError):
        return call()
    return None


def read_image(locked: container_lock.Locked, site: Site) -> None:
    """Go on with a container section as far as the first program is started."""
    container.METHOD.plan(locked, site)
    assert list(differences(locked.contents, locked.contents)) == []
    with suppress(OzreproError):  # the definition is not there
        container_plan.plan_of(locked, site)


def read_whole_lock(text: str) -> object:
    """Read a lock as the commands do, as far as its content is looked at."""
    lock = read_text(text, "work", "work.lock")
    site = look_around(load_settings(Path("/nonexistent"), {}), {})
    for section in lock.sections:
        section.digest  # noqa: B018
        if section.method not in ("container", "modules", "venv"):
            continue
        method, locked = registry.load(section.method), registry.read_section(section, site, "work.lock", "work")
        if isinstance(method, Drifts):
            method.drift(locked, site)
        if isinstance(locked, container_lock.Locked):
            read_image(locked, site)
            continue
        method.environment(locked, Target(Path("/nonexistent"), site)).environment.variables_for({"HOME": "/h"})
        for package in (*locked.layer.packages, *locked.layer.build):
            package.applies(running().markers)
            package.as_table()
    assert read_text(write_text(lock), "work", "again") == lock
    return lock


@pytest.fixture(scope="module", autouse=True)
def _everything_is_imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load what the parsers load on first use: an import compiles, and that is not what is watched for."""
    root = tmp_path_factory.mktemp("warm")
    (root / "sessions").mkdir()
    (root / "pyproject.toml").write_text(GOOD_SETTINGS, encoding="utf-8")
    (root / "sessions" / "work.toml").write_text(GOOD_SPEC, encoding="utf-8")
    (root / "sessions" / "work.lock").write_text(GOOD_LOCK, encoding="utf-8")
    assert read_whole_lock(GOOD_LOCK)
    assert "venv" in load_spec(root, "work").tables
    assert look_around(load_settings(root, {}), {}).platform
    assert question(str(root), "work", None, {})
    for text in ("a.b", "[", "a = 1\nunknwon = 2", "<<<<<<< x"):
        with suppress(OzreproError):
            read_text(text, "work", "w")
        with suppress(OzreproError):
            parse_spec(root / "sessions" / "work.toml", text)


MODULES_KEYS = (
    *("tool", "system", "modulepath", "load", "parents", "python", "version", "system-site-packages", "folders", "provides"),
    *("imports", "pass", "module", "file", "change", "shell", "package", "build"),
)
MANY = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SOME = settings(MANY, max_examples=100)


@MANY
@given(text=any_text(GOOD_LOCK, "schema", "session", "venv", "modules", "conda", "container"))
def test_any_text_is_read_as_a_lock_or_refused(text: str) -> None:
    gives_a_value_or_our_error(lambda: read_whole_lock(text))


@SOME
@given(content=st.one_of(st.binary(max_size=300), mutated(GOOD_LOCK).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_bytes_are_read_as_a_lock_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sessions").mkdir(exist_ok=True)
    (tmp_path / "sessions" / "work.lock").write_bytes(content)
    gives_a_value_or_our_error(lambda: load_lock(tmp_path, "work"))


@MANY
@given(
    section=st.dictionaries(
        st.sampled_from(("python", "imports", "pass", "platforms", "project", "covers", "package", "build")), values()
    )
)
def test_any_values_are_read_as_a_section_or_refused(section: dict[str, object]) -> None:
    text = dumps({"schema": 1, "session": "work", "venv": {"any": {**section, "spec": f"sha256:{'0' * 64}"}}})
    gives_a_value_or_our_error(lambda: read_whole_lock(text))


@MANY
@given(section=st.dictionaries(st.sampled_from(MODULES_KEYS), values()))
def test_any_values_are_read_as_a_modules_section_or_refused(section: dict[str, object]) -> None:
    text = dumps({"schema": 1, "session": "work", "modules": {"linux-64/v3": {**section, "spec": f"sha256:{'0' * 64}"}}})
    gives_a_value_or_our_error(lambda: read_whole_lock(text))


@MANY
@given(section=st.dictionaries(st.sampled_from(sorted(keys_of(container_lock.Content))), values()), good=st.booleans())
def test_any_values_are_read_as_a_container_section_or_refused(section: dict[str, object], good: bool) -> None:
    """Alone, and in place of some values of a good section, so that what follows the first checks is reached too."""
    whole = loads(GOOD_LOCK)["container"]["linux-64"] if good else {}
    content = {**whole, **section, "spec": f"sha256:{'0' * 64}"}
    text = dumps({"schema": 1, "session": "work", "container": {"linux-64": content}})
    gives_a_value_or_our_error(lambda: read_whole_lock(text))


@SOME
@given(
    marker=st.one_of(
        st.text(max_size=30),
        st.builds(
            "{} {} {}".format,
            st.sampled_from(
                ("os_name", "extra", "python_version", "platform_release", "extras", "'3.10'", "implementation_version")
            ),
            st.sampled_from(("==", "~=", "===", "in", "not in", "<", ">=", "and")),
            st.sampled_from(("'posix'", "'3.10'", "'3.10.*'", "''", "'x y'", "os_name", "'9" + "9" * 5000 + "'")),
        ),
    ),
    version=st.one_of(
        st.text(max_size=12),
        st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}((a|b|rc|\.post|\.dev|\+)[0-9a-z]{1,3})?", fullmatch=True),
    ),
    file=st.one_of(
        st.text(max_size=30), st.from_regex(r"alpha-[0-9.]{1,6}(-[0-9a-z.]{1,6}){1,4}\.(whl|tar\.gz|zip)", fullmatch=True)
    ),
    url=st.one_of(
        st.just(""), st.text(max_size=30), st.from_regex(r"(https|git\+https|file)://[!-~]{0,20}\.whl", fullmatch=True)
    ),
)
def test_any_values_are_read_as_a_package_or_refused(marker: str, version: str, file: str, url: str) -> None:
    package = {"name": "alpha", "version": version, "marker": marker, "url": url, "files": [{"name": file, "sha256": "0" * 64}]}
    text = dumps({"schema": 1, "session": "work", "venv": {"any": {"spec": f"sha256:{'0' * 64}", "package": [package]}}})
    gives_a_value_or_our_error(lambda: read_whole_lock(text))


@MANY
@given(text=any_text(GOOD_SPEC, "description", "methods", "imports", "venv", "modules", "conda", "container"))
@example(text="venv = {requirements = ['a ; " + "(" * 300 + "']}")
def test_any_text_is_read_as_a_spec_or_refused(tmp_path: Path, text: str) -> None:
    gives_a_value_or_our_error(lambda: parse_spec(tmp_path / "sessions" / "work.toml", text))


@SOME
@given(
    requirement=st.one_of(
        st.text(max_size=40),
        st.from_regex(
            r"[-a-z.]{1,6}(\[[a-z,]{0,5}\])? ?(@ [!-~]{0,20}|[=<>~!]{1,3}[0-9.*a-z]{0,6})?( ?;[ -~]{0,20})?", fullmatch=True
        ),
    )
)
def test_any_text_is_read_as_a_requirement_or_refused(tmp_path: Path, requirement: str) -> None:
    text = dumps({"venv": {"python": requirement, "requirements": [requirement], "build": [requirement], "pass": [requirement]}})
    gives_a_value_or_our_error(lambda: parse_spec(tmp_path / "sessions" / "work.toml", text))
    assert isinstance(gives_a_value_or_our_error(lambda: check_requirement_file(requirement)), list)


@SOME
@given(
    content=st.one_of(
        st.binary(max_size=200), any_text(GOOD_SPEC, "venv").map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
)
def test_any_bytes_are_read_as_a_spec_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sessions").mkdir(exist_ok=True)
    (tmp_path / "sessions" / "work.toml").write_bytes(content)
    (tmp_path / "sessions" / "work.lock").write_bytes(content)
    gives_a_value_or_our_error(lambda: load_spec(tmp_path, "work"))
    assert gives_a_value_or_our_error(lambda: find_ready(str(tmp_path), "work", None, {})) is None


@MANY
@given(
    content=st.one_of(
        st.binary(max_size=200),
        any_text(GOOD_SETTINGS, "tool", "project").map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
)
@example(content=b'[tool.ozrepro]\nstore = "~a\\u0000b"\n')
@example(content=b"[tool.ozrepro]\nlock-timeout = 0x" + b"f" * 400)
@example(content=b"[tool.ozrepro]\na = " + b"[" * 5000)
def test_any_bytes_are_read_as_settings_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sessions").mkdir(exist_ok=True)
    (tmp_path / "pyproject.toml").write_bytes(content)
    (tmp_path / "sessions" / "work.toml").write_text(GOOD_SPEC, encoding="utf-8")
    (tmp_path / "sessions" / "work.lock").write_text(GOOD_LOCK, encoding="utf-8")
    gives_a_value_or_our_error(lambda: load_settings(tmp_path, {}))
    # The warm path reads the same file, and leaves what is wrong to the long way.
    assert gives_a_value_or_our_error(lambda: find_ready(str(tmp_path), "work", None, {})) is None
    assert gives_a_value_or_our_error(lambda: question(str(tmp_path), "work", None, {})) is not None


@SOME
@given(
    table=st.dictionaries(
        st.sampled_from(("store", "store-group", "cache", "methods", "platforms", "path", "locks", "lock-timeout", "indexes")),
        values(),
    )
)
def test_any_values_are_read_as_settings_or_refused(tmp_path: Path, table: dict[str, object]) -> None:
    (tmp_path / "pyproject.toml").write_text(dumps({"tool": {"ozrepro": table}}), encoding="utf-8")
    gives_a_value_or_our_error(lambda: load_settings(tmp_path, {}))


@SOME
@given(
    values=st.dictionaries(
        st.sampled_from(("OZREPRO_STORE", "OZREPRO_LOCK_TIMEOUT", "OZREPRO_PATH", "OZREPRO_METHODS", "OZREPRO_LOCKS")),
        st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=12),
    )
)
def test_any_variables_are_read_as_settings_or_refused(tmp_path: Path, values: dict[str, str]) -> None:
    gives_a_value_or_our_error(lambda: load_settings(tmp_path, values))


@pytest.mark.parametrize("hostile", ALL[::3], ids=str)
def test_no_lock_of_the_corpus_starts_or_compiles_anything(hostile: object, tmp_path: Path) -> None:
    """The same locks as in test_hostile_locks, read under watch."""
    from tests.threats.locks import Hostile

    assert isinstance(hostile, Hostile)
    if "url" in hostile.words[0] or "session" in hostile.name:
        return  # made from a lock of another shape
    with suppress(AssertionError):
        text = hostile.make(GOOD_LOCK + f'\n[modules.linux-64]\nspec = "sha256:{"0" * 64}"\n').decode("utf-8", "replace")
        gives_a_value_or_our_error(lambda: read_whole_lock(text))


def test_the_watch_of_the_tests_sees_eval_compile_and_exec(tmp_path: Path) -> None:
    for forbidden in (lambda: eval("1"), lambda: compile("1", "x", "eval"), lambda: exec("pass")):
        with pytest.raises(AssertionError, match=r"compile|exec"):
            gives_a_value_or_our_error(forbidden)
