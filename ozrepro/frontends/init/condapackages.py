"""Collects what files say of conda packages: channels and packages that a spec can name, and why it cannot name the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ozrepro.frontends.init import Conda
from ozrepro.frontends.init.requirementfile import Taken
from ozrepro.methods.conda.channels import check_public
from ozrepro.methods.conda.matchspec import check_spec
from ozrepro.project.checking import shown

_PYTHON = re.compile(r"python\s*[=>~]*\s*(3\.\d+)")


@dataclass(slots=True)
class CondaPackages:
    """What is taken of one file, and what pip is to add; `where` is the file's name in what is left out."""

    where: str
    channels: list[str] = field(default_factory=list)
    dependencies: list[str] = field(default_factory=list)
    pip: Taken = field(default_factory=Taken)
    left: list[str] = field(default_factory=list)

    def take_channel(self, name: object) -> None:
        """Take a channel, or note why a spec cannot."""
        problem = check_public(str(name))
        (self.left if problem else self.channels).append(f"{self.where} channels: {problem}" if problem else str(name))

    def take(self, item: object) -> None:
        """Take a package as conda writes it, or note why a spec cannot."""
        problem = check_spec(item) if isinstance(item, str) else f"{shown(item)} is not a package"
        (self.left if problem else self.dependencies).append(f"{self.where} dependencies: {problem}" if problem else str(item))

    def as_conda(self) -> Conda:
        """Return all of it as the conda environment of the project."""
        python = next((match for text in self.dependencies if (match := _PYTHON.match(text))), None)
        return Conda(
            channels=tuple(self.channels),
            dependencies=tuple(self.dependencies),
            versions=tuple(self.dependencies),
            requirements=tuple(self.pip.requirements),
            python=python[1] if python else "",
            left=(*self.left, *self.pip.left),
            is_project=True,
        )
