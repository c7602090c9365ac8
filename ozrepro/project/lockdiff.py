"""What differs between two locked sections, or between a section and what is installed. Pure functions over values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ozrepro.project.lock import Section


_OF_THE_TOOL = ("change.table",)
"""What is of the module tool's own making and thousands of characters long: that it differs is all that a person can use."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs: what, and how it is on each side ("" where it is not there; both, if `what` says it all)."""

    what: str
    left: str
    right: str

    def line(self) -> str:
        """Return the difference as a line of text."""
        if not (self.left or self.right):
            return f"! {self.what}"
        if not self.left:
            return f"+ {self.what} {self.right}"
        if not self.right:
            return f"- {self.what} {self.left}"
        return f"~ {self.what} {self.left} -> {self.right}"

    def as_dict(self) -> dict[str, str]:
        """Return the difference as JSON can hold it."""
        return asdict(self)


def between_sections(left: Section | None, right: Section | None) -> list[Difference]:
    """Return what differs between two sections, or that one of them is missing."""
    if left is None or right is None:
        one = left or right
        if one is None:
            return []
        return [Difference(one.title, "locked" if left else "", "locked" if right else "")]
    found = list(_packages(left.content, right.content, "package"))
    found += _packages(left.content, right.content, "build")
    found += _records(left.content.get("record", ()), right.content.get("record", ()))
    found += _values("channels", *(_channels(side.content.get("channels", ())) for side in (left, right)))
    for key in sorted((left.content.keys() | right.content.keys()) - {"package", "build", "record", "channels"}):
        old, new = left.content.get(key), right.content.get(key)
        if key == "mpi" and None in (old, new):
            old, new = (table and table.get("load") for table in (old, new))  # a whole load would be a line as long as a page
        found += _values(key, old, new)
    return found


def _values(key: str, old: object, new: object) -> Iterator[Difference]:
    """Yield what differs below a key: tables by their keys, lists of tables by what names an entry, all else as a whole."""
    left, right = _named(old), _named(new)
    if left is not None and right is not None:
        for name in sorted(left.keys() | right.keys()):
            yield from _values(f"{key}.{name}", left.get(name), right.get(name))
    elif old != new and key.endswith(_OF_THE_TOOL):
        yield Difference(key, "as locked", "otherwise")
    elif old != new:
        yield Difference(key, _words(old), _words(new))


def _named(value: object) -> Mapping[str, Any] | None:
    """Return a table, or a list of tables by the first value of each, without it; None for anything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) and item for item in value):
        return {str(next(iter(item.values()))): dict(list(item.items())[1:]) for item in value}
    return None


def _packages(left: Mapping[str, Any], right: Mapping[str, Any], key: str) -> Iterator[Difference]:
    old, new = ({_entry(item): item for item in side.get(key, ())} for side in (left, right))
    label = "" if key == "package" else "build requirement "
    for entry in sorted(old.keys() | new.keys()):
        name = f"{label}{entry[0]}" + (f" ({entry[1]})" if entry[1] else "")
        if entry not in old or entry not in new:
            yield Difference(name, old.get(entry, {}).get("version", ""), new.get(entry, {}).get("version", ""))
        elif old[entry]["version"] != new[entry]["version"]:
            yield Difference(name, old[entry]["version"], new[entry]["version"])
        elif old[entry].get("files") != new[entry].get("files"):
            yield Difference(f"{name} {new[entry]['version']}", _files(old[entry]), _files(new[entry]))


def _records(left: Iterable[Mapping[str, Any]], right: Iterable[Mapping[str, Any]]) -> Iterator[Difference]:
    """Yield a difference a conda package: its version, else its build, else what of the same build is not the same."""
    old, new = ({str(item["name"]): item for item in side} for side in (left, right))
    for name in sorted(old.keys() | new.keys()):
        one, two = old.get(name), new.get(name)
        if one is None or two is None:
            yield Difference(name, str(one["version"]) if one else "", str(two["version"]) if two else "")
        elif one != two:
            yield _record(name, one, two)


def _record(name: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> Difference:
    moved = one.get("channel") != two.get("channel")
    sides = [f" ({side.get('channel')})" if moved else "" for side in (one, two)]
    if one["version"] != two["version"]:
        return Difference(name, f"{one['version']}{sides[0]}", f"{two['version']}{sides[1]}")
    title = f"{name} {one['version']}"
    if one["build"] != two["build"]:
        return Difference(title, f"{one['build']}{sides[0]}", f"{two['build']}{sides[1]}")
    keys = [key for key in (*one, *(key for key in two if key not in one)) if one.get(key) != two.get(key)]
    left = ", ".join(_detail(key, one.get(key), two.get(key)) for key in keys)
    right = ", ".join(_detail(key, two.get(key), one.get(key)) for key in keys)
    return Difference(f"{title} {one['build']}", left, right)


def _detail(key: str, value: object, other: object) -> str:
    """Return how a key of a record stands on one side: a digest's beginning, of a list what the other has not, else its value."""
    if key in ("sha256", "md5"):
        value = str(value or "")[:8]
    elif isinstance(value, list):
        value = "; ".join(str(line) for line in value if not isinstance(other, list) or line not in other)
    return f"{key} {_words(value) or 'none'}"


def _channels(value: Iterable[Mapping[str, Any]]) -> list[str]:
    return [str(item["name"]) + (f" ({item['address']})" if "address" in item else "") for item in value]


def _entry(item: Mapping[str, Any]) -> tuple[str, str]:
    return str(item.get("name")), str(item.get("marker", ""))


def _files(item: Mapping[str, Any]) -> str:
    files = item.get("files", [])
    digests = sorted(str(file.get("sha256", ""))[:8] for file in files)
    return f"{len(files)} file{'s' if len(files) != 1 else ''} {' '.join(digests[:3])}{' …' if len(digests) > 3 else ''}"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def packages_moved(left: Section, right: Section, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return a line for each package of both sections that is another in the second; their versions are `before` and `after`."""
    found = [item for item in between_contents(before, after) if item.left and item.right]
    named = {item.what for item in found}
    rest = _records(left.content.get("record", ()), right.content.get("record", ()))
    found += [item for item in rest if item.left and item.right and item.what.partition(" ")[0] not in named]
    return [f"{item.what} {item.left} -> {item.right}" for item in sorted(found, key=lambda item: item.what)]


def between_contents(locked: Mapping[str, str], installed: Mapping[str, str]) -> list[Difference]:
    """Return what differs between locked and installed versions, by name."""
    names = sorted(locked.keys() | installed.keys())
    return [
        Difference(name, locked.get(name, ""), installed.get(name, ""))
        for name in names
        if locked.get(name) != installed.get(name)
    ]
