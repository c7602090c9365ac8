"""The venv method: a virtual environment of exact packages, for every platform and Python that the lock covers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping  # noqa: TC003  # the reader looks annotations up
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from ozrepro.environment import Environment
from ozrepro.errors import BuildError
from ozrepro.methods import image_definition
from ozrepro.methods.comparing import inside_of
from ozrepro.methods.contract import Inputs, Launch, Plan, Reason, Traits
from ozrepro.methods.venv.table import VenvTable, package_list, read_table
from ozrepro.project import reader, sources
from ozrepro.project.checking import Checker
from ozrepro.project.lock import Section
from ozrepro.project.reader import Check
from ozrepro.project.settings import KNOWN_PLATFORMS, check_minor, one_of
from ozrepro.python import bytecode, install, interpreter, layer, linked, lock_matches_spec
from ozrepro.python.layer import Layer, LayerContent, open_uv
from ozrepro.store.manifest import Digests, take

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ozrepro.methods.comparing import Inside
    from ozrepro.methods.components import Component
    from ozrepro.methods.contract import ExportRequest, ImageRequest, Progress, Request, Say, Subject
    from ozrepro.methods.target import Target
    from ozrepro.python.resolve import Resolved
    from ozrepro.site import Site

PLATFORM = "any"
_Platform = Annotated[str, Check(one_of(KNOWN_PLATFORMS))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked(LayerContent):
    """A venv section, read and checked.

    Attributes:
        python: the range of Pythons.
        platforms: those that it was resolved for.
        covers: the minors that each platform has files for.

    """

    python: Annotated[str, Check(interpreter.check_range)]
    platforms: tuple[_Platform, ...] = ()
    covers: Mapping[_Platform, tuple[Annotated[str, Check(check_minor)], ...]] = field(default_factory=dict)

    def problems(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        """Yield what no section for all machines may hold."""
        yield from LayerContent.problems(self)
        if any(package.built for package in self.package):
            yield "package", "holds a compiled wheel, which serves one platform only"


class Venv:
    """The venv method."""

    name = "venv"
    traits = Traits(scope="any", takes=(sources.PYLOCK,), chooses_python=True)

    table = VenvTable
    read_table = staticmethod(read_table)
    package_list = staticmethod(package_list)

    def read_section(self, checker: Checker, section: Section, site: Site) -> Locked:
        """Return the section's content; what is wrong is noted."""
        return reader.read_table(checker, Locked, section.content, (section.method, section.platform))

    def inputs(self, subject: Subject[VenvTable]) -> Inputs:
        """Return the table, the imports, the platforms, and the content of the files referred to."""
        table, packages = subject.table, _layer(subject)
        described = {
            "python": table.python,
            "requirements": list(table.requirements),
            "build": sorted(table.build),
            "pass": sorted(table.passed),
        }
        files = packages.contents()
        imports, platforms = list(subject.spec.imports), _platforms(subject)
        values = {self.name: described, "imports": imports, "platforms": platforms, "files": files}
        return Inputs(values, tuple(packages.inputs()), passed=table.passed)

    def unavailable(self, subject: Subject[VenvTable], locked: Locked | None) -> Reason | None:
        """Return that no Python of the range is here, or None."""
        site = subject.site
        python, covered = subject.table.python, None
        if locked is not None:
            python, covered = locked.python, locked.covers.get(site.platform)
            if covered is None:
                return Reason(f"its lock does not cover {site.platform}")
            if site.settings.python and site.settings.python not in covered:
                return Reason(_uncovered(site.settings.python, python, covered))
            covered = _asked(covered, site)
        if _find(python, covered, site) is None:
            return Reason(_absent(python or interpreter.DEFAULT_RANGE, covered, site.settings.python if locked else ""))
        return None

    def mismatches(self, subject: Subject[VenvTable], locked: Locked) -> Sequence[str]:
        """Return what the section holds and the spec does not ask for."""
        packages, checker, base = _layer(subject), Checker(""), (self.name, PLATFORM)
        python = (locked.python, subject.table.python or interpreter.DEFAULT_RANGE)
        layer.check_agreement(checker, base, locked.layer, packages, {"python": python})
        lock_matches_spec.check_requirements(checker, base, locked.layer.packages, packages.requirements)
        return checker.mistakes

    def resolve(self, request: Request[VenvTable, Locked]) -> Sequence[Section]:
        """Return the section of exact packages, universal over the Python range and the platforms."""
        from ozrepro.python import repositories
        from ozrepro.python.pylock import read_pins
        from ozrepro.python.resolve import Wanted, resolve

        pins = read_pins(request.source)
        subject, say = request.subject, request.say
        site, wanted = subject.site, _layer(subject)
        python = subject.table.python or interpreter.DEFAULT_RANGE
        here = _find(python, None, site)
        if here is None:
            raise BuildError(_absent(python), hint="put one on PATH, or change python in [venv]")
        uv = open_uv(site, say)
        previous = request.old[PLATFORM].layer if PLATFORM in request.old else None
        platforms = _platforms(subject)
        with layer.local_projects(uv, wanted, here, site, say) as projects:
            task = Wanted(
                subject.spec.root,
                wanted.requirements,
                python,
                tuple(platforms),
                site.platform,
                wanted.build,
                hashed=wanted.hashed(),
                texts=wanted.files(),
                projects=projects,
                limits=wanted.folders().limits(),
            )
            shop = repositories.Workshop(uv, site, say)
            task = repositories.with_wheels(task, shop, here, previous, request.upgrade)
            resolved = resolve(uv, pins.limit(task), here, previous.packages if previous else (), request.upgrade, say)
            pins.check(resolved, task, say)
            layer.check_resolved(resolved, wanted, site.platform if site.platform in platforms else "", here.minor)
            _say_gaps(resolved, platforms, say)
            build = layer.lock_build_packages(uv, task, resolved, here, previous, request.upgrade)
        head = wanted.head(resolved.local)
        content: dict[str, Any] = {"python": python, "imports": head.pop("imports")}
        if "pass" in head:
            content["pass"] = head.pop("pass")
        content |= {"platforms": list(resolved.platforms), **head}
        content["covers"] = {platform: list(minors) for platform, minors in resolved.covers.items() if minors}
        content |= layer.packages_table(resolved.packages, build, resolved.local)
        return (Section(self.name, PLATFORM, request.digest, content),)

    def plan(self, locked: Locked, site: Site) -> Plan:
        """Return the files that this machine's Python takes, that Python, and the checks; and the build of them."""
        python = _interpreter(locked, site)
        chosen = install.choose_files(locked.layer.packages, python)

        def build(target: Target, say: Say, progress: Progress) -> Digests:
            return self._build(locked, python, chosen, target, say, progress)

        return Plan({"python": python.identity(), **layer.identity(locked.layer, chosen, site)}, build)

    def _build(
        self,
        locked: Locked,
        python: interpreter.Interpreter,
        chosen: tuple[install.Chosen, ...],
        target: Target,
        say: Say,
        progress: Progress,
    ) -> Digests:
        """Make the venv, install each locked file by its hash, then the project, and check all of it."""
        site, prefix, packages = target.site, target.prefix, locked.layer
        uv = open_uv(site, say)
        if any(item.package.commit for item in chosen):
            from ozrepro.python import repositories  # most locks have none of these, and resolving is loaded with them

            chosen = repositories.provided(chosen, repositories.Workshop(uv, site, say), python, packages.build)
        variables = self.environment(locked, target).environment.variables_for(site.environ)

        def fill() -> Digests:
            digests, archives = Digests(), install.archives(chosen, packages.build)
            with linked.recalled(uv, prefix, archives, digests):
                install.make_venv(uv, python, prefix)
                before = take(prefix)
            install.install(uv, prefix, chosen, packages.build, progress)
            if local := packages.local_here(python.markers):
                from ozrepro.python import localinstall

                localinstall.install_projects(uv, prefix, site.settings.root, local, packages.build, site.environ, uv.variables)
            progress("checking files, requirements and imports", 0, 0)
            entries = install.check_contents(uv, prefix, before, archives, digests)
            kept = bytecode.kept_for(site.settings, python)
            return install.check(prefix, _expected(locked, python, chosen), variables, digests, kept, entries)

        return install.fill_twice(uv, chosen, packages.build, fill, say)

    def environment(self, locked: Locked, target: Target) -> Launch:
        """Return the venv's bin directory, VIRTUAL_ENV, and no user site; its interpreter is watched."""
        binaries = target.prefix / "bin"
        environment = Environment(
            path=(str(binaries),),
            variables={"VIRTUAL_ENV": str(target.prefix), "PYTHONNOUSERSITE": "1"},
            passed=locked.layer.passed,
        )
        return Launch(environment, (str(binaries / "python"), *layer.watched_sources(locked.layer, target.site.settings.root)))

    def versions(self, locked: Locked) -> Mapping[str, str]:
        """Return the packages' versions; one that differs between Pythons has them all."""
        return layer.versions_of(locked.layer.packages)

    def components(self, locked: Locked) -> Sequence[Component]:
        """Return the packages, each with its files for all platforms and Pythons; which needs which the lock does not say."""
        from ozrepro.methods.components import of_layer

        return list(of_layer(locked.layer))

    def details(self, locked: Locked) -> Mapping[str, object]:
        """Return which minors of Python each platform is covered for."""
        return {"covers": {platform: list(minors) for platform, minors in locked.covers.items()}}

    def installed(self, target: Target) -> Mapping[str, str]:
        """Return name and version of each distribution in the venv."""
        return install.distributions(install.site_packages(target.files))

    def inside(self, locked: Locked, target: Target) -> Inside:
        """Return what programs find in the venv."""
        return inside_of(install.version_of(target.files), (str(install.site_packages(target.files)),))

    def problems(self, locked: Locked, target: Target) -> Sequence[str]:
        """Compare the files again with what the build's checks asked: distributions, records, requirements."""
        python = _interpreter(locked, target.site)
        chosen = install.choose_files(locked.layer.packages, python)
        return install.differences(target.files, _expected(locked, python, chosen), Digests())

    def formats(self) -> Mapping[str, Callable[[ExportRequest[VenvTable, Locked]], str]]:
        """Return a file of PEP 751 and a requirement file with hashes."""
        return {"pylock": _pylock, "requirements": _requirements}

    def definition(self, request: ImageRequest[VenvTable, Locked]) -> Sequence[str]:
        """Return the lines of a definition with the same wheels."""
        locked, minor = request.locked, _image_minor(request)
        return image_definition.definition(locked.layer, {}, locked.python, minor, request)

    def unlike_definition(self, request: ImageRequest[VenvTable, Locked], lines: Sequence[str]) -> Sequence[str]:
        """Return what a definition installs otherwise than the section."""
        return image_definition.unlike(request.locked.layer, {}, request.locked.python, request, lines)

    usual_base = staticmethod(image_definition.usual_base)
    at_site = staticmethod(image_definition.at_site)


def _image_minor(request: ImageRequest[VenvTable, Locked]) -> str:
    """Return the minor of Python for an image: that of this process where the section covers it, else the newest covered."""
    locked = request.locked
    covered = locked.covers.get(request.subject.site.platform) or interpreter.minors_of(locked.python)
    here = interpreter.running().minor
    return here if here in covered else covered[-1]


def _requirements(request: ExportRequest[VenvTable, Locked]) -> str:
    from ozrepro.python import export

    packages = request.sections[request.here].layer
    layer.say_projects_left_out(request.subject.spec.name, "requirements", [packages], request.say)
    return export.requirements(packages.packages)


def _pylock(request: ExportRequest[VenvTable, Locked]) -> str:
    from ozrepro.python import export
    from ozrepro.python.resolve import Wanted

    locked, site = request.sections[request.here], request.subject.site
    here = _find(locked.python, None, site)
    if here is None:
        raise BuildError(_absent(locked.python), hint="put one on PATH, then the same command again")
    layer.say_projects_left_out(request.subject.spec.name, "pylock", [locked.layer], request.say)
    packages = locked.layer.packages
    sdists = tuple(package.name for package in packages if any(not file.is_wheel for file in package.files))
    task = Wanted(request.subject.spec.root, (), locked.python, locked.platforms, site.platform, sdists)
    return export.pylock(open_uv(site), task, packages, here)


def _interpreter(locked: Locked, site: Site) -> interpreter.Interpreter:
    covered = _asked(locked.covers.get(site.platform, ()), site)
    here = _find(locked.python, covered, site)
    if here is None:
        raise BuildError(_absent(locked.python, covered, site.settings.python), hint="put one on PATH, then the same command again")
    return here


def _expected(locked: Locked, python: interpreter.Interpreter, chosen: tuple[install.Chosen, ...]) -> install.Expected:
    local = [item.name for item in locked.layer.local_here(python.markers)]
    return install.Expected(chosen, local, locked.layer.imports, python.markers, overridden=locked.layer.overridden)


def _find(python: str, covered: tuple[str, ...] | None, site: Site) -> interpreter.Interpreter | None:
    return interpreter.find(python, covered, site.environ.get("PATH", ""), site.settings.root)


def _asked(covered: tuple[str, ...], site: Site) -> tuple[str, ...]:
    """Return those of the minors covered that the caller will take: the one asked for, else all."""
    asked = site.settings.python
    return tuple(minor for minor in covered if not asked or minor == asked)


def _uncovered(asked: str, python: str, covered: tuple[str, ...]) -> str:
    """Return why a Python that was asked for has no files in the lock, and what to write."""
    covers = ", ".join(covered) or "none"
    if asked in interpreter.minors_of(python):
        return f"its lock has no Python {asked}, as some package has no file for it (it covers {covers}); name another version of that"
    minors = sorted({asked, *interpreter.minors_of(python)}, key=lambda minor: int(minor[2:]))
    open_ended = minors[-1] != asked and minors[-1] == f"3.{interpreter.MINORS[-1]}"
    wider = f">={minors[0]}" if open_ended else f">={minors[0]},<3.{int(minors[-1][2:]) + 1}"
    return f'Python {asked} is outside of {python} (its lock covers {covers}); write python = "{wider}" in its table, then: ozrepro lock'


def _absent(python: str, covered: tuple[str, ...] | None = None, asked: str = "") -> str:
    """Return that no Python of the range is on PATH, and with a lock which ones it covers."""
    if asked:
        return f"no Python {asked} on PATH"
    covers = f" (the lock covers {', '.join(covered) or 'none'})" if covered is not None else ""
    return f"no Python {python} on PATH{covers}"


def _layer(subject: Subject[VenvTable]) -> Layer:
    table = subject.table
    return Layer(subject.spec, "venv", table.requirements, table.build, table.passed)


def _platforms(subject: Subject[VenvTable]) -> list[str]:
    return sorted(subject.table.platforms or subject.site.settings.platforms)


def _say_gaps(resolved: Resolved, platforms: list[str], say: Say) -> None:
    """Say which of the platforms and Pythons asked for the result does not cover."""
    left_out = [platform for platform in platforms if platform not in resolved.platforms]
    if left_out:
        say(f"the lock does not cover {', '.join(left_out)}: some packages have no wheel for it, or the wheelhouse none")
    gaps: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for place, lacking in resolved.gaps.items():
        minor, platform = place.split()[::-1]
        gaps.setdefault(lacking, {}).setdefault(platform, []).append(minor)
    for lacking, minors in gaps.items():
        for pythons in dict.fromkeys(map(", ".join, minors.values())):
            where = ", ".join(sorted(platform for platform, every in minors.items() if ", ".join(every) == pythons))
            say(f"the lock does not cover Python {pythons} on {where}: no wheel of {', '.join(lacking)}")


METHOD = Venv()
