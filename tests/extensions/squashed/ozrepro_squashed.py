"""A fifth method, and an export format of another method's, as another distribution would have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from ozrepro import BuildError, Environment
from ozrepro.methods import image_definition
from ozrepro.methods.comparing import inside_of
from ozrepro.methods.contract import Format, Inputs, Launch, Plan, Reason, Traits
from ozrepro.project import reader
from ozrepro.project.checking import Checker
from ozrepro.project.lock import Section
from ozrepro.project.reader import Check
from ozrepro.project.spec import Requirement
from ozrepro.python import export, install, interpreter, layer, lock_matches_spec
from ozrepro.python.resolve import Wanted, resolve
from ozrepro.store.manifest import Digests, take

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.methods.comparing import Inside
    from ozrepro.methods.contract import ExportRequest, ImageRequest, ImageSources, Progress, Request, Say, Subject
    from ozrepro.methods.target import Target
    from ozrepro.site import Site


@dataclass(frozen=True, slots=True)
class Table:
    """`[squashed]`."""

    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked(layer.LayerContent):
    """A section of the lock."""

    python: Annotated[str, Check(interpreter.check_range)]


class Squashed:
    """Packages for one machine's kind, whose programs are started behind a command."""

    name = "squashed"
    traits = Traits(scope="machine")

    def read_table(self, checker: Checker, value: object) -> Table:
        """Return the table."""
        return reader.read_table(checker, Table, value, (self.name,))

    def read_section(self, checker: Checker, section: Section, site: Site) -> Locked:
        """Return the section's content."""
        return reader.read_table(checker, Locked, section.content, (section.method, section.platform))

    def inputs(self, subject: Subject[Table]) -> Inputs:
        """Return the requirements, the imports, and the files referred to."""
        packages = _layer(subject)
        values = {
            self.name: {"requirements": list(subject.table.requirements)},
            "imports": list(subject.spec.imports),
            "files": packages.contents(),
        }
        return Inputs(values, tuple(packages.inputs()))

    def unavailable(self, subject: Subject[Table], locked: Locked | None) -> Reason | None:
        """Return that there is no Python, or None."""
        python = locked.python if locked is not None else interpreter.DEFAULT_RANGE
        return None if _find(python, subject.site) else Reason(f"no Python {python} on PATH")

    def mismatches(self, subject: Subject[Table], locked: Locked) -> Sequence[str]:
        """Return what the section holds and the spec does not ask for."""
        packages, checker, base = _layer(subject), Checker(""), (self.name,)
        layer.check_agreement(checker, base, locked.layer, packages, {})
        lock_matches_spec.check_requirements(checker, base, locked.layer.packages, packages.requirements)
        return checker.mistakes

    def resolve(self, request: Request[Table, Locked]) -> Sequence[Section]:
        """Return this machine's section."""
        subject, packages = request.subject, _layer(request.subject)
        site, key = subject.site, subject.site.key(self.traits.scope)
        python = _python(interpreter.DEFAULT_RANGE, site)
        exactly = f"=={python.minor}.*"
        previous = request.old.get(key)
        platforms = (site.platform,)
        wanted = Wanted(
            subject.spec.root,
            packages.requirements,
            exactly,
            platforms,
            site.platform,
            hashed=packages.hashed(),
            texts=packages.files(),
        )
        uv = layer.open_uv(site, request.say)
        kept = previous.layer.packages if previous else ()
        resolved = resolve(uv, wanted, python, kept, request.upgrade, request.say)
        layer.check_resolved(resolved, packages, site.platform, python.minor)
        content = {"python": exactly, **packages.head(), **layer.packages_table(resolved.packages, ())}
        return (Section(self.name, key, request.digest, content),)

    def plan(self, locked: Locked, site: Site) -> Plan:
        """Return the Python and the files, and how they are put together."""
        python = _python(locked.python, site)
        chosen = install.choose_files(locked.layer.packages, python)

        def build(target: Target, say: Say, progress: Progress) -> Digests:
            uv, prefix = layer.open_uv(site, say), target.prefix
            variables = self.environment(locked, target).environment.variables_for(site.environ)

            def fill() -> Digests:
                install.make_venv(uv, python, prefix)
                digests, before = Digests(), take(prefix)
                install.install(uv, prefix, chosen, (), progress)
                install.check_contents(uv, prefix, before, install.archives(chosen, ()), digests)
                return install.check(prefix, _expected(locked, python), variables, digests)

            return install.fill_twice(uv, chosen, (), fill, say)

        return Plan({"python": python.identity(), **layer.identity(locked.layer, chosen, site)}, build)

    def environment(self, locked: Locked, target: Target) -> Launch:
        """Return the environment: each program is started by `env`, which says that it was packed."""
        folder = target.prefix / "bin"
        variables = {"VIRTUAL_ENV": str(target.prefix), "PYTHONNOUSERSITE": "1"}
        environment = Environment(path=(str(folder),), prefix=("/usr/bin/env", "PACKED=1"), variables=variables)
        return Launch(environment, (str(folder / "python"),))

    def versions(self, locked: Locked) -> Mapping[str, str]:
        """Return the locked versions."""
        return layer.versions_of(locked.layer.packages)

    def details(self, locked: Locked) -> Mapping[str, object]:
        """Return the Python."""
        return {"range": locked.python}

    def installed(self, target: Target) -> Mapping[str, str]:
        """Return the installed versions."""
        return install.distributions(install.site_packages(target.prefix))

    def inside(self, locked: Locked, target: Target) -> Inside:
        """Return what programs find."""
        return inside_of(install.version_of(target.prefix), (str(install.site_packages(target.prefix)),))

    def problems(self, locked: Locked, target: Target) -> Sequence[str]:
        """Compare the files with the section."""
        python = _python(locked.python, target.site)
        return install.differences(target.prefix, _expected(locked, python), Digests())

    def formats(self) -> Mapping[str, Callable[[ExportRequest[Table, Locked]], str]]:
        """Return one format."""
        return {"packing-list": _packing_list}

    def definition(self, request: ImageRequest[Table, Locked]) -> Sequence[str]:
        """Return the lines of a definition with the same wheels."""
        locked = request.locked
        return image_definition.definition(locked.layer, {}, locked.python, interpreter.minors_of(locked.python)[0], request)

    def unlike_definition(self, request: ImageRequest[Table, Locked], lines: Sequence[str]) -> Sequence[str]:
        """Return what a definition installs otherwise."""
        return image_definition.unlike(request.locked.layer, {}, request.locked.python, request, lines)

    def usual_base(self, python: str) -> str:
        """Return the usual image of a Python."""
        return image_definition.usual_base(python)

    def at_site(self, lines: Sequence[str], site: Site) -> ImageSources:
        """Return the definition with this site's indexes."""
        return image_definition.at_site(lines, site)


def _layer(subject: Subject[Table]) -> layer.Layer:
    return layer.Layer(subject.spec, Squashed.name, subject.table.requirements, (), ())


def _find(python: str, site: Site) -> interpreter.Interpreter | None:
    return interpreter.find(python, None, site.environ.get("PATH", ""), site.settings.root)


def _python(python: str, site: Site) -> interpreter.Interpreter:
    here = _find(python, site)
    if here is None:
        raise BuildError(f"no Python {python} on PATH", hint="put one on PATH, then the same command again")
    return here


def _expected(locked: Locked, python: interpreter.Interpreter) -> install.Expected:
    chosen = install.choose_files(locked.layer.packages, python)
    return install.Expected(chosen, (), locked.layer.imports, python.markers)


def _packing_list(request: ExportRequest[Table, Locked]) -> str:
    return "# packed\n" + export.requirements(request.sections[request.here].layer.packages)


def _names(request: ExportRequest[Any, Any]) -> str:
    return "".join(f"{item.name}\n" for item in request.sections[request.here].layer.packages)


METHOD = Squashed()
NAMES = Format("venv", _names)
