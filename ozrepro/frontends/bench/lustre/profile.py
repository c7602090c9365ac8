"""How fast a Lustre file system answers: the parameters of the cost model, its presets, and their file."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError
from ozrepro.project import toml
from ozrepro.project.files import SMALL, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

__all__ = ["BUSY", "PRESETS", "QUIET", "STORM", "Profile", "read_profile", "write_profile"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Profile:
    """How long a file system takes for a request, and how many it serves. The defaults are those of the quiet preset.

    None of the numbers is of one particular site: `ozrepro bench calibrate` measures one. Sources, by their short names below:

    dell: Dell and Intel white papers on Lustre 2.5 with InfiniBand and a metadata target of disks, mdtest.
    source: the Lustre sources, release 2.15 and after.
    ozstar: the OzSTAR user guide.
    """

    name: str = "quiet"
    """A word for reports."""
    mds_us: int = 200
    """Microseconds until one client has the answer of an idle metadata server. dell: one thread makes over 5,000 stats of
    directories a second, each one request, so at most 200 µs; 100 to 500 are usual."""
    ost_us: int = 300
    """Microseconds for a glimpse, a lock, or the first byte of a read, on idle object servers. dell: one thread makes over
    2,000 stats of files a second, each a metadata and an object request, so at most 500 - 200."""
    mds_stats: int = 400_000
    """Lookups and listings that the metadata server answers a second, for everybody. dell: 400,000 to 544,000 at 120 to 240
    threads."""
    mds_opens: int = 100_000
    """Opens or closes a second, for everybody. An assumption between dell's creates (15,000 to 29,000) and removes (100,000 to
    160,000); ozstar says about 100,000 operations a second. Metadata targets on ZFS reach less."""
    ost_requests: int = 400_000
    """Requests that all object servers together answer a second. An assumption: as many as the metadata server. It is never
    what limits an import, which asks fewer of them."""
    ost_stream: int = 1_000_000_000
    """Bytes a second that one client reads. An assumption: less than its link carries."""
    ost_total: int = 30_000_000_000
    """Bytes a second that all clients together read. ozstar: over 30 GB/s."""
    in_flight: int = 8
    """Requests that one node has under way to the metadata server at once. source: OBD_MAX_RIF_DEFAULT."""
    read_bytes: int = 4 << 20
    """Bytes of one read request. source: LU-9090, max_pages_per_rpc of the object servers."""
    whole_bytes: int = 4 << 20
    """A file of at most this size is read whole at its first read. source: SBI_DEFAULT_READ_AHEAD_WHOLE_MAX; the manual says 2
    MiB."""
    open_lock_after: int = 5
    """From this open of a file on the client has a lock on its being open, and opens and closes it without asking; 0 for never.
    source: LU-10948, opencache_threshold_count, since 2.14.52. The rule about reopening within 100 ms is left out: a trace has
    no times."""

    def __post_init__(self) -> None:
        wrong = [item for item in (_mistake(self, field.name) for field in fields(self) if field.name != "name") if item]
        if wrong:
            raise OzreproError(
                "\n  ".join((f"the profile {self.name!r} cannot be used:", *wrong)),
                hint="ozrepro bench calibrate DIR writes a profile of a real file system",
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the profile as a table of plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Profile:
        """Return the profile of a table. Raises OzreproError for an unknown key or a value that is none."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(table) - known)
        if unknown:
            raise OzreproError(f"a profile has no {', '.join(unknown)}", hint=f"its keys are {', '.join(sorted(known))}")
        if not isinstance(table.get("name", ""), str):
            raise OzreproError(f"a profile's name is a text, not {table['name']!r}")
        return cls(**table)


def _mistake(profile: Profile, name: str) -> str:
    value, least = getattr(profile, name), 0 if name in {"open_lock_after", "whole_bytes", "mds_us", "ost_us"} else 1
    if isinstance(value, bool) or not isinstance(value, int):
        return f"{name} is a whole number, not {value!r}"
    return "" if value >= least else f"{name} is at least {least}, not {value}"


QUIET = Profile()
"""Nobody else is there."""
BUSY = replace(QUIET, name="busy", mds_us=1000, mds_stats=50_000, mds_opens=50_000)
"""A working day: one Python job of 50 ranks was seen to make 30,000 metadata operations a second (SYMFLUENCE #21), so that a
server loaded by a few of them answers in about a millisecond, 50,000 times a second. The object servers are as in quiet: an
assumption."""
STORM = replace(QUIET, name="storm", mds_us=5000, mds_stats=10_000, mds_opens=10_000)
"""Everybody starts at once: starts of hours are reported for thousands of processes (the README of Spindle: 16,000 processes,
over ten hours; Feng and Hand, SciPy 2016). 5 ms and 10,000 a second are chosen to be of that order. The object servers are as
in quiet."""
PRESETS: Mapping[str, Profile] = {profile.name: profile for profile in (QUIET, BUSY, STORM)}
"""The presets by name."""


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile as TOML. Raises OzreproError when it cannot be written."""
    try:
        path.write_text(toml.dumps({"schema": SCHEMA, **profile.as_dict()}), encoding="utf-8")
    except OSError as error:
        raise OzreproError(f"cannot write the profile: {error.strerror or error}", where=str(path)) from error


def read_profile(path: Path) -> Profile:
    """Return the profile of a TOML file; its table of notes, if there is one, is for people, and changes nothing.

    Raises OzreproError naming the file and what is wrong in it.
    """
    try:
        table = toml.loads(text_of(path, SMALL))
    except OSError as error:
        hint = f"the presets are {', '.join(PRESETS)}; ozrepro bench calibrate DIR writes a profile"
        raise OzreproError(f"cannot read the profile: {error.strerror or error}", where=str(path), hint=hint) from error
    except toml.TOMLDecodeError as error:
        raise OzreproError(f"the profile is not valid TOML: {error}", where=str(path)) from error
    schema = table.pop("schema", None)
    if schema != SCHEMA:
        raise OzreproError(f"its schema is {schema!r}; this ozrepro reads {SCHEMA}", where=str(path))
    if not isinstance(table.pop("notes", {}), dict):
        raise OzreproError("notes is a table", where=str(path), hint="[notes] on a line of its own, or # before each line")
    try:
        return Profile.from_dict(table)
    except OzreproError as error:
        raise OzreproError(error.what, where=str(path), hint=error.hint) from error
