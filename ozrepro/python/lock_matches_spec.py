"""Whether locked packages hold only what the spec asks for.

A section names its spec by a digest, which anybody can compute. Without these checks a lock from someone else's repository could
have code compiled, addresses asked or older versions taken that nobody sees in the spec.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ozrepro.project.requirement import names_package

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ozrepro.project.checking import Checker
    from ozrepro.python.packages import LockedPackage

_URL = re.compile(r"https://[^\s\"',;\]]+", re.IGNORECASE)


def check_packages(
    checker: Checker, base: tuple[str, ...], packages: Sequence[LockedPackage], build: Iterable[str], texts: Iterable[str]
) -> None:
    """Note each source archive of a package that `build` does not name, and each address that is in none of the `texts`."""
    compiled = {canonicalize_name(name) for name in build}
    texts = tuple(texts)
    addresses = frozenset(_plain(url) for text in texts for url in _URL.findall(text))
    for number, package in enumerate(packages):
        place = (*base, f"package[{number}]")
        for index, file in enumerate(package.files):
            if not file.is_wheel and package.name not in compiled:
                problem = f"{file.name!r} is a source archive, and the spec does not name {package.name} in build"
                checker.wrong((*place, f"files[{index}]", "name"), problem)
        commit = package.commit
        if commit is not None:
            # A [tool.uv.sources] has its parts in keys of their own.
            parts = (commit.repository, commit.commit, commit.folder)
            known = any(all(part in text for part in parts) for text in texts)
        else:
            known = not package.url or _plain(package.url) in addresses
        if not known:
            checker.wrong((*place, "url"), f"{package.url!r} is neither in the spec nor in its requirement files")


def check_requirements(
    checker: Checker, base: tuple[str, ...], packages: Sequence[LockedPackage], requirements: Iterable[str]
) -> None:
    """Note each requirement of the spec itself that no locked version answers."""
    for requirement in (Requirement(text) for text in requirements if names_package(text)):
        versions = [package.version for package in packages if package.name == canonicalize_name(requirement.name)]
        if not versions and requirement.marker is None:
            checker.wrong((*base, "package"), f"lacks {requirement.name}, which the spec requires")
        elif versions and not any(requirement.specifier.contains(version, prereleases=True) for version in versions):
            problem = f"has {requirement.name} {', '.join(versions)}, and the spec requires {str(requirement)!r}"
            checker.wrong((*base, "package"), problem)


def _plain(url: str) -> str:
    """Return an address without its fragment, as uv writes it."""
    scheme, _, rest = unquote(url.split("#", maxsplit=1)[0]).partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower().removesuffix(':443')}{slash}{path}"
