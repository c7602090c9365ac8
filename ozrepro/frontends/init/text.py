"""From what was found to the text of a spec and of a noxfile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import visible, without_login
from ozrepro.project.toml import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ozrepro.frontends.init import Found, Package

SCHEMA = "spec.schema.json"
"""The JSON Schema of a spec beside the specs, for editors: their first line names it, and a relative path needs no network."""

SETTINGS_SCHEMA = "settings.schema.json"

_NOXFILE = '''import ozrepro


@ozrepro.session{options}
def {function}(session):
    """{doc}"""
    {run}
'''


def spec_text(found: Found, name: str, *, pin: bool = False) -> str:
    """Return the text of `sessions/NAME.toml`; with `pin`, each package with the version that is installed."""
    tables = [*_modules(found, pin), *_conda(found, pin), *_container(found), *_venv(found, pin)]
    methods = [line.strip("[]") for line in tables if line.startswith("[") and "." not in line]
    chosen = "   # the first available one is used" if len(methods) > 1 else ""
    return "\n".join(
        (
            f"#:schema ./{SCHEMA}",
            f"# Made by ozrepro init from what was there. Edit it, then: ozrepro lock {name}",
            'description = ""   # what it does, in one line',
            f"{_line('methods', methods)}{chosen}",
            *_imports(found),
            *_comments(found),
            *tables,
            "",
        )
    )


def schema_text(name: str = SCHEMA) -> str:
    """Return the JSON Schema of specs, or that of the settings."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def noxfile_text(found: Found, name: str) -> str:
    """Return the text of `noxfile.py`: it runs the project's script, or Python with the words behind `--`."""
    run = 'session.run("python", *(session.posargs or ["-V"]))  # your program here'
    if found.files.script:
        run = f'session.run("python", {_quoted(found.files.script)}, *session.posargs)'
    function = name.replace("-", "_")
    options = f'(name="{name}")' if function != name else ""
    return _NOXFILE.format(options=options, function=function, doc=f"Run the session {name}.", run=run)


def function_text(found: Found, name: str) -> str:
    """Return the part of the noxfile's text that defines the session, to be added to another noxfile."""
    return noxfile_text(found, name).partition("\n\n\n")[2]


def _quoted(text: str) -> str:
    return f'"{text}"' if text.isprintable() and not set(text) & set('"\\') else ascii(text)


def _line(key: str, value: str | bool | Sequence[str]) -> str:
    return dumps({key: value if isinstance(value, (str, bool)) else list(value)}).strip("\n")


def _packages(packages: Iterable[Package], pin: bool) -> list[str]:
    return [package.requirement(pin=pin) for package in packages]


def _own(found: Found) -> list[Package]:
    """Return what the active environment has besides that which the project's files name."""
    return [item for item in (found.venv.packages if found.venv else ()) if item.name not in found.files.named]


def _modules(found: Found, pin: bool) -> list[str]:
    loaded = found.modules
    if loaded is None:
        return []
    # One line, whatever a module is called: a comment ends with it.
    parents = visible(" ".join(" ".join(loaded.parents).split()))
    behind = f"   # {parents}, needed first, {'is' if len(loaded.parents) == 1 else 'are'} found"
    lines = ["", "[modules]", _line("load", loaded.load) + (behind if loaded.parents else "")]
    if loaded.use:
        lines.append(_line("use", loaded.use))
    # By its name alone, a package that the modules have in another version would be theirs.
    over = [item.requirement(pin=pin or bool(item.below)) for item in _own(found) if item.address or item.below != item.version]
    requirements = [*found.files.requirements, *over]
    if found.venv is not None or requirements:
        lines.append("[modules.venv]")
        if found.venv is not None:
            lines.append(_line("system-site-packages", found.venv.system_site_packages))
        lines.append(_line("requirements", requirements))
    return lines


def _conda(found: Found, pin: bool) -> list[str]:
    conda = found.conda
    if conda is None or not (conda.file or conda.dependencies or conda.requirements):
        return []
    if conda.file:
        return ["", "[conda]", _line("file", conda.file)]
    wanted = [version if pin else text for text, version in zip(conda.dependencies, conda.versions, strict=True)]
    lines = ["", "[conda]", *([_line("channels", conda.channels)] if conda.channels else []), _line("dependencies", wanted)]
    pip = [*conda.requirements, *_packages(conda.pip, pin)]
    return [*lines, *([_line("pip", pip)] if pip else [])]


def _container(found: Found) -> list[str]:
    files = found.files
    if not files.definition and not files.image:
        return []
    lines = ["", "[container]", _line("definition", files.definition) if files.definition else _line("image", files.image)]
    return [*lines, *([f"{_line('gpu', files.gpu)}   # as the definition's base is made for them"] if files.gpu else [])]


def _venv(found: Found, pin: bool) -> list[str]:
    """Return the way away from the cluster, where the packages are known; where nothing else is, a table to fill in."""
    own = _own(found)
    requirements = [*found.files.requirements, *_packages(own, pin)]
    named = {*found.files.named, *(package.name for package in own)}
    more = [*(found.modules.packages if found.modules else ())]
    if found.conda is not None:
        more += [*found.conda.packages, *found.conda.pip]
    for package in more:
        if package.name not in named:
            named.add(package.name)
            requirements.append(package.requirement(pin=pin))
    others = found.modules or _conda(found, pin) or found.files.definition or found.files.image
    active = (found.venv.python if found.venv else "") or (found.conda.python if found.conda else "")
    python = found.files.python or (f">={active}" if active else "")
    if not requirements and others:
        return ["", "# For machines without these, name the packages: [venv] and requirements = […]"]
    lines = ["", *(["# Away from the cluster"] if found.modules else []), "[venv]"]
    if found.modules is None and found.venv is not None and found.venv.system_site_packages:
        lines.insert(1, "# The active environment also sees the packages of the Python below it; this one does not.")
    if python:
        lines.append(_line("python", python))
    return [*lines, _line("requirements", requirements) + ("" if requirements else "   # name your packages here")]


def _imports(found: Found) -> list[str]:
    """Return the line of `imports`: names that every method described must have."""
    own = _names(found.venv.packages if found.venv else ())
    sets = []
    if found.modules is not None:
        sets.append(own | _names(found.modules.packages))
    conda = found.conda
    if conda is not None and not conda.file:
        sets.append(_names((*conda.packages, *conda.pip)))
    names = sorted(set.intersection(*sets) if sets else own)
    if not names:
        return ["# imports = […]   # names to import after a build, as a check: they are not known"]
    line = _line("imports", names)
    if (conda is not None and conda.file) or found.files.definition or found.files.image:
        return [f"# {' '.join(line.split())}   # as a check after a build, if all methods have them"]
    return [f"{line}   # checked after a build"]


def _comments(found: Found) -> list[str]:
    """Return what was not taken with the reason, and what a user may add: a line each, whatever a file holds."""
    lines = [f"left out: {text}" for text in found.left]
    lines += [f"can be added to requirements: {without_login(text)}" for text in found.files.offers]
    return [f"# {visible(' '.join(line.split()))}" for line in lines]


def _names(packages: Iterable[Package]) -> set[str]:
    return {name for package in packages for name in package.imports}
