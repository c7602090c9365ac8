"""A session's description: `sessions/NAME.toml`, read and checked as a whole."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet

from ozrepro.errors import SpecError, UsageError
from ozrepro.project.checking import NAME, Checker
from ozrepro.project.files import Files
from ozrepro.project.requirement import check_requirement
from ozrepro.project.settings import KNOWN_PLATFORMS, METHODS, check_passed, check_site_variable, one_of
from ozrepro.project.toml import TOMLDecodeError, loads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


LARGEST = 256 << 10
"""Bytes of a description: room for ten thousand packages, and little enough to be checked in a second."""

_TOP = ("description", "methods", "imports", *METHODS)
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class VenvSpec:
    """`[venv]`: a plain virtual environment."""

    python: str = ""
    requirements: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModulesSpec:
    """`[modules]`: toolchain modules, with a venv on top."""

    load: tuple[str, ...]
    collection: str = ""
    use: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    system_site_packages: bool = False
    requirements: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    site_variables: tuple[str, ...] = ()
    accept_effects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CondaSpec:
    """`[conda]`: packages from conda channels."""

    channels: tuple[str, ...] = ("conda-forge",)
    dependencies: tuple[str, ...] = ()
    file: str = ""
    pip: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ("linux-64",)
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    mpi: tuple[str, ...] = ()
    channel_priority: str = "strict"
    exclude_newer: str = ""
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """`[container]`: an Apptainer image. `source` is the method whose lock a definition is made from, on the image `base`."""

    definition: str = ""
    image: str = ""
    source: str = ""
    base: str = ""
    module: str = ""
    gpu: str = ""
    bind: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """A session's whole description. `files` reads what it names, each file once."""

    name: str
    path: Path
    description: str = ""
    methods: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    modules: ModulesSpec | None = None
    conda: CondaSpec | None = None
    container: ContainerSpec | None = None
    venv: VenvSpec | None = None
    files: Files = field(default_factory=Files, compare=False, repr=False)

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.path.parent.parent

    def candidates(self, preferred: tuple[str, ...]) -> tuple[str, ...]:
        """Return the methods to try, in order: the spec's own, else the project's `preferred` ones, else all described."""
        described = tuple(name for name in METHODS if getattr(self, name) is not None)
        return self.methods or tuple(name for name in preferred if name in described) or described


def digest_of(value: object) -> str:
    """Return the sha256 of a value's canonical JSON, as `sha256:…`; what JSON has no word for, such as a date, is its text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def check_name(name: str) -> str:
    """Return `name` if it can name a session. Raises UsageError otherwise: it is part of file names and scripts."""
    if len(name) > 64 or not NAME.match(name):
        raise UsageError(f"{name!r} cannot name a session", hint="a Python identifier of at most 64 ASCII letters, digits and _")
    return name


def session_names(root: Path) -> list[str]:
    """Return the names of all sessions described in the project, in order; a file whose name cannot be one is there too."""
    return sorted(path.stem for path in (root / "sessions").glob("*.toml"))


def load_spec(root: Path, name: str, files: Files | None = None) -> Spec:
    """Return the description of session `name`, through `files` where the caller has read of the project already.

    Raises SpecError with every mistake of the file, UsageError where there is no such file.
    """
    path = root / "sessions" / f"{name}.toml"
    try:
        check_name(name)
    except UsageError as error:
        if name not in session_names(root):
            raise
        hint = f"rename it: {error.hint}; or move it out of sessions/"
        raise UsageError(error.what, where=str(path), hint=hint) from None
    files = Files() if files is None else files
    try:
        text = files.text(path, LARGEST)
    except FileNotFoundError:
        known = ", ".join(session_names(root)) or "none yet"
        raise UsageError(f"there is no session {name!r}", where=str(path), hint=f"one of the sessions here: {known}") from None
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from error
    return parse_spec(path, text, files)


def parse_spec(path: Path, text: str, files: Files | None = None) -> Spec:
    """Return the description that `text` holds; `path` names the session and stands in messages. Raises SpecError."""
    try:
        whole = loads(text)
    except TOMLDecodeError as error:
        raise SpecError(str(path), [f"is no valid TOML: {error}"]) from error
    checker = Checker(str(path), text)
    if not NAME.match(path.stem):
        checker.wrong((), f"its name {path.stem!r} is no identifier", "rename it: letters, digits and _ only")
    checker.table(whole, (), _TOP)
    described = tuple(name for name in METHODS if name in whole)
    spec = Spec(
        name=path.stem,
        path=path,
        description=checker.text_at(whole, ("description",), multiline=True),
        methods=checker.texts_at(whole, ("methods",), check=one_of(METHODS)),
        imports=checker.texts_at(whole, ("imports",), check=_matching(_MODULE, "is no importable name", "such as scipy.signal")),
        modules=_modules(checker, whole["modules"]) if "modules" in whole else None,
        conda=_conda(checker, whole["conda"]) if "conda" in whole else None,
        container=_container(checker, whole["container"]) if "container" in whole else None,
        venv=_venv(checker, whole["venv"], ("venv",)) if "venv" in whole else None,
        files=Files() if files is None else files,
    )
    for name in spec.methods:
        if name not in whole:
            checker.wrong(("methods",), f"{name!r} has no table in this file", f"add [{name}] or remove it from methods")
    if len(set(spec.methods)) < len(spec.methods):
        checker.wrong(("methods",), "names a method twice", "name each once")
    if not described:
        checker.wrong((), "describes no method", f"add one of the tables: {', '.join(f'[{name}]' for name in METHODS)}")
    elif whole.get("methods") == []:
        checker.wrong(("methods",), "is empty", f"name at least one of: {', '.join(described)}")
    if checker.mistakes:
        raise SpecError(str(path), checker.mistakes, hint=f"edit {path.parent.name}/{path.name}")
    return spec


def _matching(pattern: re.Pattern[str], problem: str, example: str) -> Any:
    return lambda text: None if pattern.match(text) else f"{text!r} {problem}; {example}"


_NAME_CHECK = _matching(_DISTRIBUTION, "is no distribution's name", "such as mpi4py")


def _venv(checker: Checker, value: object, path: tuple[str, ...]) -> VenvSpec:
    table = checker.table(value, path, ("python", "requirements", "build", "platforms", "pass"))
    python = checker.text_at(table, (*path, "python"))
    try:
        SpecifierSet(python).contains("3.10.0", prereleases=True)
    except ValueError:
        checker.wrong((*path, "python"), f"{python!r} is no version range", 'write for example ">=3.10" or ">=3.10,<3.13"')
    return VenvSpec(
        python=python,
        requirements=_requirements(checker, table, path),
        build=checker.texts_at(table, (*path, "build"), check=_NAME_CHECK),
        platforms=checker.texts_at(table, (*path, "platforms"), check=one_of(KNOWN_PLATFORMS)),
        passed=checker.texts_at(table, (*path, "pass"), check=check_passed),
    )


def _modules(checker: Checker, value: object) -> ModulesSpec:
    keys = ("load", "collection", "use", "pass", "site-variables", "accept-effects", "venv")
    table = checker.table(value, ("modules",), keys)
    load = checker.texts_at(table, ("modules", "load"), check=_module)
    collection = checker.text_at(table, ("modules", "collection"))
    if "load" not in table and "collection" not in table:
        checker.wrong(("modules", "load"), "is missing", 'name the modules: load = ["name/version"]')
    if "collection" in table and not _COLLECTION.match(collection):
        checker.wrong(("modules", "collection"), f"{collection!r} is no name of a collection", "as in module save NAME")
    path = ("modules", "venv")
    venv = checker.table(table.get("venv", {}), path, ("system-site-packages", "requirements", "build"))
    return ModulesSpec(
        load=load,
        collection=collection,
        use=checker.texts_at(table, ("modules", "use")),
        passed=checker.texts_at(table, ("modules", "pass"), check=check_passed),
        system_site_packages=checker.flag_at(venv, (*path, "system-site-packages")),
        requirements=_requirements(checker, venv, path),
        build=checker.texts_at(venv, (*path, "build"), check=_NAME_CHECK),
        site_variables=checker.texts_at(table, ("modules", "site-variables"), check=check_site_variable),
        accept_effects=checker.texts_at(table, ("modules", "accept-effects"), check=_module),
    )


_COLLECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z", re.ASCII)


def _module(name: str) -> str | None:
    if re.search(r"\s", name) or name.startswith("-"):
        return f"{name!r} is no module's name"
    return None if all(name.split("/")) else f"{name!r} is no module's name"


_CONDA = (
    *("channels", "dependencies", "file", "pip", "platforms", "virtual-packages"),
    *("mpi", "channel-priority", "exclude-newer", "pass"),
)


def _conda(checker: Checker, value: object) -> CondaSpec:
    from ozrepro.methods.conda import (
        spec_rules,  # read where the table is there alone; it knows texts, and no other part of the conda method
    )

    path = ("conda",)
    table = checker.table(value, path, _CONDA)
    if "dependencies" not in table and "file" not in table:
        right = 'write dependencies = ["python=3.12", …] or file = "environment.yml"'
        checker.wrong((*path, "dependencies"), "is missing", right)
    if "dependencies" in table and "file" in table:
        checker.wrong((*path, "file"), "stands beside dependencies", "keep one of the two")
    priority = checker.text_at(table, (*path, "channel-priority"), default="strict")
    if priority not in ("strict", "flexible", "disabled"):
        checker.wrong((*path, "channel-priority"), f"{priority!r} is not known", "write strict, flexible or disabled")
    channels = checker.texts_at(table, (*path, "channels"), default=("conda-forge",), check=spec_rules.check_channel)
    listed = table.get("channels", channels)
    words = [word for word in listed if isinstance(word, str)] if isinstance(listed, (list, tuple)) else []
    newest = checker.text_at(table, (*path, "exclude-newer"))
    virtual = _texts(checker, table, (*path, "virtual-packages"))
    if problem := spec_rules.check_date(newest):
        checker.wrong((*path, "exclude-newer"), problem)
    for key, problem in spec_rules.check_overrides(virtual).items():
        checker.wrong((*path, "virtual-packages", key), problem)

    def package(text: str) -> str | None:
        return spec_rules.check_spec(text) or (spec_rules.foreign(text, words) if words else None)

    return CondaSpec(
        channels=channels,
        dependencies=checker.texts_at(table, (*path, "dependencies"), check=package),
        file=_relative(checker, table, (*path, "file")),
        pip=checker.texts_at(table, (*path, "pip"), check=check_requirement),
        platforms=checker.texts_at(table, (*path, "platforms"), default=("linux-64",), check=one_of(spec_rules.PLATFORMS)),
        virtual_packages=virtual,
        mpi=spec_rules.read_mpi(checker, table, (*path, "mpi"), _module),
        channel_priority=priority,
        exclude_newer=newest,
        passed=checker.texts_at(table, (*path, "pass"), check=check_passed),
    )


def _container(checker: Checker, value: object) -> ContainerSpec:
    path = ("container",)
    keys = ("definition", "image", "from", "base", "module", "gpu", "bind", "build-args", "pass")
    table = checker.table(value, path, keys)
    given = [key for key in ("definition", "image", "from") if key in table]
    if len(given) != 1:
        problem = f"has {' and '.join(given)}" if given else "names no image"
        checker.wrong(path, problem, "write exactly one of definition, image, from")
    words: dict[str, str] = {}
    for key, choices in (("gpu", ("nvidia", "amd")), ("from", ("conda", "modules", "venv"))):
        word = words[key] = checker.text_at(table, (*path, key))
        if word and word not in choices:
            checker.wrong((*path, key), f"{word!r} is not known", f"write one of: {', '.join(choices)}")
    module = checker.text_at(table, (*path, "module"))
    loose = _module(module) if module else None
    if loose:
        checker.wrong((*path, "module"), loose)
    for key, needed in (("base", "from"), ("build-args", "definition")):
        if key in table and needed not in table:
            checker.wrong((*path, key), f"stands without {needed}", f"remove it, or write {needed}")
    return ContainerSpec(
        definition=_relative(checker, table, (*path, "definition")),
        image=checker.text_at(table, (*path, "image")),
        source=words["from"],
        base=checker.text_at(table, (*path, "base")),
        module=module,
        gpu=words["gpu"],
        bind=checker.texts_at(table, (*path, "bind")),
        build_args=_texts(checker, table, (*path, "build-args")),
        passed=checker.texts_at(table, (*path, "pass"), check=check_passed),
    )


def _relative(checker: Checker, table: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value = checker.text_at(table, path)
    if value.startswith(("/", "~")) or ".." in value.split("/"):
        checker.wrong(path, f"{value!r} leaves the project", "write a path inside it, from its root")
        return ""
    return value


def _texts(checker: Checker, table: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, str]:
    value = table.get(path[-1], {})
    entries = checker.table(value, path, value if isinstance(value, dict) else ())
    return {name: checker.text_at(entries, (*path, name)) for name in entries}


def _requirements(checker: Checker, table: Mapping[str, Any], path: tuple[str, ...]) -> tuple[str, ...]:
    return checker.texts_at(table, (*path, "requirements"), check=check_requirement)
