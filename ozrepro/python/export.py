"""Writes locked packages in the formats of other tools: PEP 751 and requirement files with hashes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ozrepro.errors import BuildError, without_login
from ozrepro.project.toml import dumps, loads
from ozrepro.python.build_hashes import hashed_lines
from ozrepro.python.resolve import Wanted, compile_lines, workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.packages import LockedPackage
    from ozrepro.python.uv import Uv


def requirements(packages: Sequence[LockedPackage]) -> str:
    """Return a requirement file with hashes, for `pip install --require-hashes --no-deps -r`."""
    names = ", ".join(package.name for package in packages if package.commit is not None)
    note = f"# Built from a commit, which has no hash that pip could check; `uv pip install -r` takes it: {names}\n"
    return "# Written by `ozrepro export` from the lock.\n" + (note if names else "") + hashed_lines(packages)


def pylock(uv: Uv, wanted: Wanted, packages: Sequence[LockedPackage], interpreter: Interpreter) -> str:
    """Return a PEP 751 file with exactly the lock's files.

    The format wants an address for each file, which the lock does not hold: they are asked from the indexes set here.
    Raises BuildError when these no longer have one of the files.
    """
    plain = replace(wanted, requirements=())
    pins = [f"{item.name}=={item.version}" + (f" ; {item.marker}" if item.marker else "") for item in packages if not item.url]
    found: dict[str, Mapping[str, Any]] = {}
    with workspace(plain) as folder:
        output = folder / "pylock.found.toml"
        compile_lines(uv, folder, plain, interpreter, "\n".join(pins), ["--no-deps", "-o", str(output)])
        for entry in loads(output.read_text(encoding="utf-8")).get("packages", []):
            for item in (*entry.get("wheels", []), *([entry["sdist"]] if "sdist" in entry else [])):
                found.setdefault(item["hashes"]["sha256"], item)
    entries = [_entry(package, found) for package in packages]
    missing = [name for entry in entries for name in entry.pop("missing")]
    if missing:
        raise BuildError(
            "\n  ".join(("the indexes set here have no longer:", *missing)), hint="set the index or wheelhouse that has them"
        )
    head = {"lock-version": "1.0", "requires-python": wanted.python, "created-by": "ozrepro"}
    return "# Written by `ozrepro export` from the lock.\n" + dumps({**head, "packages": entries})


def _place(source: Mapping[str, Any]) -> dict[str, str]:
    """Return where uv has found a file, without the login and the query of its address: a signed link is a secret."""
    return {key: without_login(source[key]) for key in ("url", "path") if key in source}


def _entry(package: LockedPackage, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": package.name, "version": package.version}
    if package.marker:
        entry["marker"] = package.marker
    commit = package.commit
    if commit is not None:
        folder = {"subdirectory": commit.folder} if commit.folder else {}
        return {**entry, "vcs": {"type": "git", "url": commit.repository, "commit-id": commit.commit, **folder}, "missing": []}
    missing: list[str] = []
    files: list[dict[str, Any]] = []
    for file in package.files:
        source = found.get(file.sha256)
        if source is None and not package.url:
            missing.append(file.name)
            continue
        place = {"url": package.url} if package.url else _place(source or {})
        size = {} if file.size is None else {"size": file.size}
        files.append({"name": file.name, **place, **size, "hashes": {"sha256": file.sha256}})
    if package.url:
        archive = {key: value for key, value in files[0].items() if key != "name"}
        entry["archive"] = archive
    elif files and not package.files[0].is_wheel:
        entry["sdist"] = files[0]
    else:
        entry["wheels"] = files
    return {**entry, "missing": missing}
