"""Which methods there are: this package's, and those of other distributions, by the entry point group `ozrepro.methods`.

A method is loaded when a spec or a lock names it. Other distributions are looked through only for a name that is not known here:
their number, not ozrepro's, decides how long that takes on a cold file system.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ozrepro.errors import LockError, SpecError, UsageError
from ozrepro.faststart.ready import FACTS
from ozrepro.methods.contract import Exports, Format, Subject, Traits
from ozrepro.project.checking import Checker, one_of_these
from ozrepro.project.plugins import load as load_plugin
from ozrepro.project.plugins import plugins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ozrepro.methods.contract import AnyMethod
    from ozrepro.project.lock import Section
    from ozrepro.project.spec import Spec
    from ozrepro.site import Site

GROUP = "ozrepro.methods"
"""The entry point group of methods: `NAME = "package.module:METHOD"`."""

BUILTIN = ("modules", "conda", "container", "venv")
"""The package's own, in the order in which they are preferred and written."""

FORMATS = "ozrepro.formats"
"""The entry point group of export formats: `NAME = "package.module:FORMAT"`, a `contract.Format`."""


def known(written: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of the methods, the package's own first; others only where one of `written` is not a name of these."""
    if all(name in BUILTIN for name in written):
        return BUILTIN
    return (*BUILTIN, *sorted(_plugins()))


def is_method(name: str) -> bool:
    """Say whether there is a method of this name."""
    return name in known((name,))


def load(name: str) -> AnyMethod:
    """Return the method of a name. Raises UsageError where there is none, or its distribution cannot be loaded."""
    return _load(name)


@cache
def _load(name: str) -> AnyMethod:
    if name in BUILTIN:
        method: AnyMethod = import_module(f"ozrepro.methods.{name}.method").METHOD
        return method
    if name not in _plugins():
        raise UsageError(f"{name!r} is not a method", hint=one_of_these(name, known((name,))))
    found: AnyMethod = load_plugin(_plugins()[name], "METHOD", f"the method {name!r}")
    _check_traits(name, getattr(found, "traits", None))
    return found


def _check_traits(name: str, traits: object) -> None:
    """Raise UsageError for a plug-in's traits that no start could go by."""
    where, remedy = _plugins()[name], "install a version of its package that fits this ozrepro"
    if not isinstance(traits, Traits):
        raise UsageError(f"the method {name!r} has no traits", where=where, hint=remedy)
    unknown = [repr(fact) for fact in traits.facts if fact not in list(FACTS)]
    if unknown:
        what = f"the method {name!r} depends on facts that no start can compare: {', '.join(unknown)}"
        raise UsageError(f"{what}; known are {', '.join(FACTS)}", where=where, hint=remedy)


def formats(wanted: str = "") -> dict[str, Format]:
    """Return the export formats by name: the methods' own, and those of plug-ins where `wanted` is none of these."""
    found: dict[str, Format] = {}
    for name in BUILTIN:
        method = load(name)
        if isinstance(method, Exports):
            found |= {form: Format(name, write) for form, write in method.formats().items()}
    if not wanted or wanted in found:
        return found
    for name in sorted(plugins(GROUP)):
        method = load(name)
        if isinstance(method, Exports):
            found |= {form: Format(name, write) for form, write in method.formats().items()}
    for name, value in plugins(FORMATS).items():
        form = load_plugin(value, "FORMAT", f"the format {name!r}")
        if isinstance(form, Format):
            found.setdefault(name, form)
    return found


def _plugins() -> dict[str, str]:
    return {name: value for name, value in plugins(GROUP).items() if name not in BUILTIN}


def read_table(name: str, checker: Checker, value: object) -> object:
    """Return a method's table of a spec, read by the method; what is wrong is noted in `checker`."""
    return load(name).read_table(checker, value)


def read_section(section: Section, site: Site, where: str, session: str) -> Any:
    """Return a section's content, read by its method, once. Raises LockError with all mistakes."""

    def read() -> object:
        checker = Checker(where)
        locked = load(section.method).read_section(checker, section, site)
        if checker.mistakes:
            raise LockError("is refused:", problems=checker.mistakes, where=where, hint=f"ozrepro lock {session}")
        return locked

    return section.once(read)


def subject_of(name: str, spec: Spec, site: Site) -> Subject[Any]:
    """Return a session as the method `name` sees it. Raises SpecError where the spec has no table of it."""
    if name not in spec.tables:
        raise SpecError(str(spec.path), [f"there is no [{name}] table"], hint=f"add [{name}] to sessions/{spec.path.name}")
    return Subject(spec.tables[name], spec, site)
