"""What a section and the environment built from it have inside, as far as the method can say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ozrepro.methods.comparing import Inside
from ozrepro.methods.contract import BuildsImage, Describes, Details, Foretells, ImageFacts, NamesPackages
from ozrepro.methods.packagelist import PackageList
from ozrepro.methods.target import Target
from ozrepro.pipeline.choice import unavailable
from ozrepro.pipeline.generations import built_generation, target_of
from ozrepro.pipeline.session import method_of, naming
from ozrepro.store.forms import seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Lock, Section
    from ozrepro.store.publish import Generation


def versions(session: Session, section: Section) -> Mapping[str, str]:
    """Return the version of each package that a section names, Python's own too where the method tells it."""
    method = method_of(section)
    return method.versions(session.read(section)) if isinstance(method, Describes) else {}


def details(session: Session, section: Section) -> Mapping[str, object]:
    """Return what else `status --json` says of a section."""
    method = method_of(section)
    return method.details(session.read(section)) if isinstance(method, Details) else {}


def installed(session: Session, section: Section, generation: Generation) -> Mapping[str, str]:
    """Return name and version of each package in a built environment, as its files tell."""
    method = method_of(section)
    with naming(session), seen(generation) as files:
        return method.installed(target_of(generation, session.site, files)) if isinstance(method, Describes) else {}


def problems(session: Session, section: Section, generation: Generation) -> list[str]:
    """Compare a built environment's packages with its section; return what is wrong, one line each."""
    method = method_of(section)
    if not isinstance(method, Describes):
        return []
    with naming(session), seen(generation) as files:
        return list(method.problems(session.read(section), target_of(generation, session.site, files)))


def image_facts(session: Session, section: Section, generation: Generation) -> ImageFacts | None:
    """Return what a build noted of its image, None where the environment is none."""
    method = method_of(section)
    with naming(session):
        return method.image_facts(Target(generation.prefix, session.site)) if isinstance(method, BuildsImage) else None


def programs(session: Session, section: Section, generation: Generation) -> dict[str, str | None]:
    """Return the path of a built environment's Python, or of the image that has it: what other tools ask for."""
    facts = image_facts(session, section, generation)
    python = generation.prefix / "bin" / "python"
    has_own = facts is None and python.exists()
    return {"python": str(python) if has_own else None, "image": str(facts.path) if facts is not None else None}


def inside(session: Session, section: Section, lock: Lock) -> Inside:
    """Return what the files of a section's environment say that it has where it is built here, else what the section says."""
    method = method_of(section)
    here = section.platform == session.key(section.method)
    if isinstance(method, Describes) and here and unavailable(session, section.method, lock) is None:
        generation = built_generation(session, section)
        if generation is not None:
            with naming(session), seen(generation) as files:
                return method.inside(session.read(section), target_of(generation, session.site, files))
    return foretold(session, section)


def foretold(session: Session, section: Section) -> Inside:
    """Return what a section's environment will have, as the section alone tells."""
    method = method_of(section)
    return method.foretold(session.read(section)) if isinstance(method, Foretells) else Inside(versions(session, section))


_OF_PIP = {**dict.fromkeys(("-r", "--requirement"), "-r"), **dict.fromkeys(("-e", "--editable"), "-e")}
_OF_PIP |= {**dict.fromkeys(("-c", "--constraint"), "-c"), "--group": "--group"}
"""Options of pip that name what is to be installed, with the form that a spec has."""


def lacking(session: Session, section: Section, wanted: Sequence[str]) -> list[str]:
    """Return those of pip's requirements that a section's environment does not have.

    A name with its versions is looked for among the locked packages; a file, a folder and a group among what the spec names.
    """
    method = method_of(section)
    has: dict[str, str] = {canonicalize_name(name): version for name, version in versions(session, section).items()}
    listed = method.package_list(session.subject(section.method).table) if isinstance(method, NamesPackages) else None
    entries = {"".join(entry.split()) for entry in listed.entries} if isinstance(listed, PackageList) else set()
    left: list[str] = []
    words = iter(wanted)
    for word in words:
        option, mark, value = word.partition("=")
        if option in _OF_PIP:
            word = f"{_OF_PIP[option]} {value if mark else next(words, '')}"  # noqa: PLW2901  # one requirement of two words
        elif word.startswith("-"):
            continue
        forms = {"".join(word.split()), f"-e{word}"}
        if not (forms & entries or _is_met(word, has)):
            left.append(word)
    return left


def _is_met(text: str, has: Mapping[str, str]) -> bool:
    """Say whether a requirement's package is there in a version that it allows; of several, for several Pythons, in each."""
    try:
        requirement = Requirement(text)
        version = has.get(canonicalize_name(requirement.name), "")
        return bool(version) and all(requirement.specifier.contains(one, prereleases=True) for one in version.split("|"))
    except InvalidRequirement:
        return False
