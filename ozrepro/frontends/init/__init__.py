"""A first spec and noxfile from what is there now: what a look around found, as values.

`shell`, `virtual`, `conda` and `pixi` (with `condafile`, `condapackages`), and `project` (with `packaging`, `poetry`,
`requirementfile`) look, `looking` asks them all, `text` writes what they found. Called by `ozrepro init`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ozrepro.errors import without_login

ENVIRONMENT_FILES = ("environment.yml", "environment.yaml")
"""What describes a project's environment of conda."""

PIXI_FILE = "pixi.toml"


@dataclass(frozen=True, slots=True)
class Package:
    """An installed distribution that a spec should name.

    Attributes:
        name: as PEP 503 writes it.
        version: what is installed now.
        imports: the names that it is imported by, where that can be told.
        address: where it was installed from, where that was an https address.
        below: the version that the modules or the Python below have, "" where they have none.

    """

    name: str
    version: str
    imports: tuple[str, ...] = ()
    address: str = ""
    below: str = ""

    def requirement(self, *, pin: bool) -> str:
        """Return the line for `requirements`."""
        if self.address:
            return f"{self.name} @ {self.address}"
        return f"{self.name}=={self.version}" if pin else self.name


@dataclass(frozen=True, slots=True)
class Loaded:
    """The modules of the caller's shell.

    Attributes:
        load: those that the user asked for, without parents that are found anyway.
        parents: the parents that were left out.
        use: module directories that are not the site's.
        packages: the Python packages that those of `load` say they have.

    """

    load: tuple[str, ...]
    parents: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True)
class Venv:
    """The active virtual environment: its Python's language version, its packages that nothing else in it requires."""

    python: str = ""
    system_site_packages: bool = False
    packages: tuple[Package, ...] = ()
    has_project: bool = False
    """Whether the project itself is installed in it, editable."""


@dataclass(frozen=True, slots=True)
class Conda:
    """A conda environment: the project's file, or what was asked for in the active one.

    Attributes:
        file: the project's environment file; then nothing else is known.
        channels: where its packages come from.
        dependencies: the specs that were asked for, as they were written.
        versions: the installed version of each of them, in the same order.
        pip: packages that pip installed.
        python: the language version of its Python.
        packages: the Python distributions of the dependencies.
        requirements: lines for pip, as a file has them.
        left: what a spec cannot take of the file, and why.

    """

    file: str = ""
    channels: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    pip: tuple[Package, ...] = ()
    python: str = ""
    packages: tuple[Package, ...] = ()
    requirements: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    is_project: bool = False
    """Whether a file of the project says it, and not the caller's shell."""


@dataclass(frozen=True, slots=True)
class Files:
    """What is inside the project.

    Attributes:
        requirements: lines for `requirements`: the project itself, a requirement file.
        named: the distributions that these name.
        definition: a container's definition.
        image: a container's image.
        script: the program that a session of this name runs.
        gpu: the maker of the GPUs that the definition's base is for, "" where it does not tell.
        python: the range of Pythons that the project is for.
        left: what a spec cannot take of these files, and why.
        offers: extras and groups that a user may add.

    """

    requirements: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()
    definition: str = ""
    image: str = ""
    script: str = ""
    gpu: str = ""
    python: str = ""
    left: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """All that was found, and what a user should know of it."""

    modules: Loaded | None = None
    venv: Venv | None = None
    conda: Conda | None = None
    files: Files = field(default_factory=Files)
    notes: tuple[str, ...] = ()

    @property
    def left(self) -> tuple[str, ...]:
        """What a spec cannot take of the project's files, and why."""
        return tuple(map(without_login, (*self.files.left, *(self.conda.left if self.conda is not None else ()))))
