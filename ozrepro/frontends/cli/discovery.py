"""The commands before there is a session: spider, init."""

from __future__ import annotations

import keyword
import os
import shlex
import sys
import textwrap
import time
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError, UsageError, visible
from ozrepro.frontends.cli.call import take_json
from ozrepro.methods import registry
from ozrepro.methods.contract import NamesPackages
from ozrepro.methods.packagelist import PackageList
from ozrepro.methods.reading import load_settings, parse_spec
from ozrepro.project.spec import check_name
from ozrepro.site import look_around

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ozrepro.frontends.cli.call import Add, Call
    from ozrepro.modulesystem.search import Offer, Way
    from ozrepro.modulesystem.site_index import Offered
    from ozrepro.project.spec import Spec
    from ozrepro.site import Site


def register(add: Add) -> None:
    """Add the commands of this module."""
    made = add("spider", "show what the site's modules offer", spider)
    made.set_defaults(anywhere=True)
    made.add_argument("pattern", metavar="PATTERN", nargs="?", default="", help="a part of a module's name, or a full name")
    made.add_argument("--provides", metavar="PACKAGE", default="", help="only modules that have this package")
    made.add_argument("--hidden", action="store_true", help="hidden modules too")
    made.add_argument("--refresh", action="store_true", help="rebuild the module index")
    take_json(made)
    made = add("init", "write a first spec and noxfile from what is there now", init)
    made.set_defaults(anywhere=True)
    made.add_argument("name", metavar="NAME", nargs="?", default="analysis", help="the session's name; analysis without it")
    made.add_argument("--pin", action="store_true", help="name each package with the version that is installed")
    made.add_argument("--yes", action="store_true", help="write without asking")
    made.add_argument("--schema", action="store_true", help="only write or update the JSON Schemas for editors in sessions/")


def init(call: Call) -> int:
    """Show a first spec and noxfile, made from what is there, and write those that are not there yet."""
    from ozrepro.frontends.init import text
    from ozrepro.frontends.init.looking import look

    words = call.arguments
    if words.schema:
        return _write_schemas(call)
    name = check_name(words.name)
    if keyword.iskeyword(name.replace("-", "_")):
        raise UsageError(f"{name!r} is a word of Python's own: no function can have this name", hint="ozrepro init another_name")
    spec, noxfile = call.root / "sessions" / f"{name}.toml", call.root / "noxfile.py"
    kept = [path for path in (spec, noxfile) if os.path.lexists(path)]
    for path in kept:
        call.out.say(f"{os.path.relpath(path)} is there and left as it is")
    if spec in kept and noxfile in kept:
        call.out.say(f"nothing to write\n  try: ozrepro init NAME, with another name than {name}")
        return 1
    site = look_around(load_settings(call.root, os.environ), os.environ).for_looking()
    found = look(site, call.root, name)
    schema = spec.with_name(text.SCHEMA)
    made = {spec: text.spec_text(found, name, pin=words.pin), noxfile: text.noxfile_text(found, name)}
    for note in (*found.notes, *(f"left out: {line}" for line in found.left), *_wrong(parse_spec(spec, made[spec]), site)):
        call.out.say(note)
    new = {path: content for path, content in made.items() if path not in kept}
    for path, content in new.items():
        call.out.line(f"{os.path.relpath(path)}:\n")
        call.out.line(textwrap.indent(content, "    "))
    if spec in new and not os.path.lexists(schema):
        call.out.line(f"{os.path.relpath(schema)}: the keys of a spec, for editors\n")
        new[schema] = text.schema_text()
    if noxfile in kept and spec not in kept:
        call.out.line("to add to noxfile.py, below `import ozrepro`:\n")
        call.out.line(textwrap.indent(text.function_text(found, name), "    "))
    if not (words.yes or _agreed(call, f"write {_listed(new)}?")):
        call.out.line(
            f"nothing was written yet: {shlex.join(('ozrepro', 'init', *(['--pin'] if words.pin else []), name, '--yes'))}"
        )
        return 0
    _write(new)
    call.out.line(f"{_listed(new)} written; next: ozrepro lock {name}")
    return 0


def _wrong(spec: Spec, site: Site) -> Iterator[str]:
    """Yield what is known to keep the spec from being locked, and where it names no package."""
    for name in spec.tables:
        method, subject = registry.load(name), registry.subject_of(name, spec, site)
        place = method.package_list(subject.table) if isinstance(method, NamesPackages) else None
        if len(spec.tables) == 1 and isinstance(place, PackageList) and not place.entries:
            yield f"no packages were found; name them in {'.'.join(place.keys)}, or later: ozrepro add {spec.name} PKG"
        try:
            method.inputs(subject)
            reason = method.unavailable(subject, None)
        except OzreproError as error:
            yield f"[{name}] cannot be locked as it is: {'; '.join(error.problems) or error.what}"
        else:
            if reason is not None:
                yield f"[{name}] cannot be locked here: {reason.what}"


def _write_schemas(call: Call) -> int:
    """Write the schemas of specs and settings as this version has them. Raises OzreproError where they cannot be written."""
    from ozrepro.frontends.init import text
    from ozrepro.store.writing import write_whole

    paths = [call.root / "sessions" / name for name in (text.SCHEMA, text.SETTINGS_SCHEMA)]
    for path in paths:
        try:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, text.schema_text(path.name).encode())
        except OSError as error:
            raise OzreproError(f"cannot be written: {error.strerror or error}", where=str(path)) from error
    call.out.line(f"{_listed(paths)} written")
    return 0


def _listed(paths: Iterable[Path]) -> str:
    *first, last = map(os.path.relpath, paths)
    return f"{', '.join(first)} and {last}" if first else last


def _agreed(call: Call, question: str) -> bool:
    """Ask on a terminal; elsewhere the answer is no."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        call.out.line()
        return False


def _write(files: Mapping[Path, str]) -> None:
    """Write files that are not there yet. Raises OzreproError for one that is there by now, or cannot be written."""
    for path, content in files.items():
        try:
            path.parent.mkdir(exist_ok=True)
            with open(path, "x", encoding="utf-8") as stream:
                stream.write(content)
        except OSError as error:
            raise OzreproError(f"cannot be written: {error.strerror or error}", where=str(path)) from error


def spider(call: Call) -> int:
    """Show the modules of the site: a list, or one in detail."""
    from ozrepro.modulesystem import search, site_index

    words = call.arguments
    site = look_around(load_settings(call.root, os.environ), os.environ).for_looking()
    offered = site_index.look(site, refresh=words.refresh)
    found = search.search(offered.index, words.pattern, package=words.provides, hidden=words.hidden)
    call.out.value(
        {
            "schema": 1,
            "modulepath": list(offered.modulepath),
            "made": int(offered.made),
            "modules": [search.as_table(offer, offered.index) for offer in found] if words.as_json else [],
        }
    )
    if found and words.pattern in offered.index.modules and not words.provides:
        _show_one(call, offered, found[0])
    elif found:
        _show_list(call, found)
    else:
        _show_none(call, offered)
    call.out.say(f"index made {_ago(time.time() - offered.made)}; --refresh rebuilds it")
    return 0 if found else 1


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (2, "second")):
        if seconds >= size:
            count = int(seconds // (size if size > 2 else 1))
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _show_list(call: Call, found: Sequence[Offer]) -> None:
    """Print a line for each module, or for each name where everything is asked for."""
    package = call.arguments.provides
    if not call.arguments.pattern and not package:
        versions: dict[str, list[str]] = {}
        for offer in found:
            versions.setdefault(offer.short, []).append(f"{offer.version}{' (hidden)' if offer.hidden else ''}")
        _table(call, ("NAME", "VERSIONS"), [(name, ", ".join(texts)) for name, texts in versions.items()])
        return
    head, rows = ("MODULE", "LOAD FIRST", "PACKAGES", "MARKS"), [_row(offer) for offer in found]
    if package:
        head = ("MODULE", "LOAD FIRST", visible(package).upper(), "MARKS")
        rows = [(*row[:2], " or ".join(offer.versions_of(package)), row[3]) for row, offer in zip(rows, found, strict=True)]
    marked = any(row[3] for row in rows)
    _table(call, head if marked else head[:3], rows if marked else [row[:3] for row in rows])


def _row(offer: Offer) -> tuple[str, str, str, str]:
    first = "; or ".join(" ".join(way.first) or "nothing" for way in offer.ways)
    counts = sorted({len(way.packages) for way in offer.ways})
    return (offer.name, "-" if first == "nothing" else first, " or ".join(map(str, counts)), _marks(offer))


def _marks(offer: Offer) -> str:
    return ", ".join(word for word, holds in (("bare", offer.bare), ("hidden", offer.hidden)) if holds)


def _table(call: Call, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    call.out.table(head, [[visible(cell) for cell in row] for row in rows])


def _show_one(call: Call, offered: Offered, offer: Offer) -> None:
    """Print all about one module; of several ways, the packages once where they are the same by each."""
    from ozrepro.modulesystem.search import load_names

    marks = _marks(offer)
    call.out.line(f"{offer.name}{f' ({marks})' if marks else ''}")
    several = len(offer.ways) > 1
    _block(call, "Load first, one of:" if several else "Load first:", [" ".join(way.first) or "nothing" for way in offer.ways])
    specs = [_spec_line(load_names(offered.index, offer.name, way.first)) for way in offer.ways]
    _block(call, "In a spec, one of:" if several else "In a spec:", specs)
    alike = len({way.packages for way in offer.ways}) == 1
    for way in offer.ways[:1] if alike else offer.ways:
        behind = "" if alike else f" behind {' '.join(way.first) or 'nothing'}"
        _block(call, f"{_count(way)}{behind}{':' if way.packages else ''}", [" ".join(item).strip() for item in way.packages])


def _spec_line(names: Sequence[str]) -> str:
    from ozrepro.project.toml import dumps

    return dumps({"load": list(names)}).strip()


def _count(way: Way) -> str:
    number = len(way.packages)
    return "No packages are named" if not number else f"{number} package{'s' if number > 1 else ''}"


def _block(call: Call, head: str, lines: Sequence[str]) -> None:
    call.out.line()
    call.out.line(head)
    for line in lines:
        call.out.line(f"    {line}")


def _show_none(call: Call, offered: Offered) -> None:
    """Say that nothing was found, with what is like it and the next command."""
    from ozrepro.modulesystem.search import nothing

    what, words = nothing(offered.index, call.arguments.pattern, call.arguments.provides)
    call.out.say(f"{what}\n  try: {shlex.join(words)}")
