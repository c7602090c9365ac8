"""The archives of packages: each fetched, checked by its sha256, unpacked, and put into the cache whole or not at all.

rattler fills its cache itself as it installs, but does not look at the hash of a local archive (`file://`). So the cache is
filled here first.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.methods.conda.channels import local_path
from ozrepro.methods.conda.package_cache import MARK, Entry, is_whole, paths_in
from ozrepro.methods.conda.worker_common import Refused, client, no_space, progress
from ozrepro.project.checking import shown
from ozrepro.store.manifest import digest_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rattler import Client

_AT_ONCE = 8
_LEAVES = re.compile(r"invalid package-relative archive path: (.*)", re.DOTALL)
"""What rattler says of a member whose name is absolute or holds `..`."""


class Unlike(Refused):
    """An archive that came is not the one that is locked."""


async def fill(entries: Sequence[Entry], cache: Path, forget: Sequence[str]) -> list[str]:
    """Put entries into the cache, and return their titles. Those that are there and are in `forget` are replaced.

    Raises Refused, and leaves the cache with whole entries only.
    """
    (cache / "pkgs").mkdir(parents=True, exist_ok=True)
    with _workplace(cache / "pkgs") as folder:
        await _fetch_all(entries, folder, client(), forget)
    return sorted(entry.title for entry in entries)


async def _fetch_all(
    lacking: Sequence[Entry],
    folder: Path,
    client: Client,
    forget: Sequence[str],
) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)
    done = 0

    async def one(number: int, entry: Entry) -> None:
        nonlocal done
        async with gate:
            progress(f"downloading {entry.title}", done, len(lacking))
            await _fetch_twice(entry, folder / str(number), client, fresh=entry.title in forget)
            done += 1
            progress(f"downloading {entry.title}", done, len(lacking))

    jobs = [asyncio.ensure_future(one(number, entry)) for number, entry in enumerate(lacking)]
    try:
        await asyncio.gather(*jobs)
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)  # nothing may write into the workplace once it is removed


async def _fetch_twice(entry: Entry, place: Path, client: Client, *, fresh: bool) -> None:
    """Fetch one package; what came damaged is fetched once more, as a cut connection need not be met again."""
    for last in (False, True):
        place.mkdir()
        try:
            archive = await _archive(entry, place, client)
            await asyncio.to_thread(_check, entry, archive)
            await _refuse_leaving(entry, archive)
            await asyncio.to_thread(_unpack, entry, archive, place, fresh=fresh)
            return
        except Unlike:
            if last or local_path(entry.url) is not None:
                raise
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


async def _archive(entry: Entry, place: Path, client: Client) -> Path:
    from rattler.package_streaming import download_to_path

    local = local_path(entry.url)
    if local is not None:
        if not os.path.isfile(local):
            raise Refused(
                f"{os.path.basename(local)} is not in the channel {entry.channel}", where=local, hint=_mirror(entry.channel)
            )
        return Path(local)
    path = place / os.path.basename(entry.url)
    try:
        await download_to_path(client, entry.url, path)
    except Exception as error:
        full = no_space(error)
        if full is not None:
            raise Refused(f"{full}: {entry.title} cannot be fetched", where=str(place.parent.parent), hint=_ROOM) from error
        gone = "404" in str(error) or "Not Found" in str(error)
        what = "the channel has no such file" if gone else f"cannot be fetched: {_reason(error)}"
        kind = Refused if gone or "onnect" in str(error) else Unlike  # a cut download is tried once more
        hint = _mirror(entry.channel) if gone else f"build where there is a network, or {_address(entry.channel)}"
        raise kind(f"{os.path.basename(entry.url)} of the channel {entry.channel}: {what}", where=entry.url, hint=hint) from error
    return path


_ROOM = "free some space, or set OZREPRO_CACHE to a folder elsewhere"


def _address(channel: str) -> str:
    return f"another address of it: [tool.ozrepro.channels] {channel.partition('/')[0]} = …"


def _mirror(channel: str) -> str:
    return f"{_address(channel)}; for packages that are there, ozrepro lock --upgrade"


def _reason(error: BaseException) -> str:
    return str(error).replace("\n", "; ")[:300]


def _check(entry: Entry, archive: Path) -> None:
    """Raise Unlike where an archive is not the one that is locked."""
    _compare(entry, digest_file(archive), archive.stat().st_size)


async def _refuse_leaving(entry: Entry, archive: Path) -> None:
    """Raise Refused where a member's name leads out of the package: unpacking would pass over it, or put it elsewhere.

    Listing takes a third of the time of unpacking (scipy 1.8.1, 40 MB: 0.2 s and 0.6 s). What else is wrong, unpacking tells.
    """
    from rattler.package_streaming import PackageArchive

    try:
        package = await PackageArchive.from_path(archive)
        await package.list_files("pkg")  # of a .tar.bz2 this is the whole
        if archive.name.endswith(".conda"):
            await package.list_files("info")
    except OSError as error:
        found = _LEAVES.search(str(error))
        if found is not None:
            raise _leaving(entry, found[1]) from error


def _leaving(entry: Entry, path: str) -> Refused:
    name = os.path.basename(entry.url)
    what = f"{name} of the channel {entry.channel} has a file {shown(path)}, which leaves the package"
    return Refused(
        what,
        where=entry.url,
        hint="contact the channel's administrator; ozrepro lock --upgrade takes another build if there is one",
    )


def _unpack(entry: Entry, archive: Path, place: Path, *, fresh: bool) -> None:
    """Unpack an archive and put the entry in place. Raises Unlike, Refused."""
    from rattler.package_streaming import extract

    content = place / "content"
    try:
        again = extract(archive, content)[0].hex()
        _compare(entry, again, None)  # a local archive may have been replaced since
        (content / MARK).write_text(entry.sha256, encoding="ascii")
    except Refused:
        raise
    except Exception as error:
        full = no_space(error)
        what = f"{full}: {entry.title} cannot be unpacked" if full else f"{entry.title} cannot be unpacked: {_reason(error)}"
        raise Refused(what, where=str(Path(entry.folder).parent), hint=_ROOM if full else "") from error
    outside = next((path for path in paths_in(content) if os.path.isabs(path) or ".." in path.split("/")), None)
    if outside is not None:
        raise _leaving(entry, outside)
    if not is_whole(Entry(entry.title, str(content), entry.url, entry.channel, entry.sha256, entry.size)):
        raise Refused(f"{entry.title} does not hold the files that it lists", where=entry.url, hint="lock another build of it")
    _place(entry, content, fresh=fresh)


def _compare(entry: Entry, sha256: str, size: int | None) -> None:
    if sha256 == entry.sha256:
        return
    cut = size is not None and entry.size is not None and size < entry.size
    what = (
        f"has {size} of {entry.size} bytes: the download was cut short"
        if cut
        else f"has sha256 {sha256}, locked is {entry.sha256}"
    )
    raise Unlike(
        f"{os.path.basename(entry.url)} of the channel {entry.channel} is not the file that was locked: it {what}",
        where=entry.url,
        hint="contact the channel's administrator; to accept what is there now, ozrepro lock --upgrade",
    )


def _place(entry: Entry, content: Path, *, fresh: bool) -> None:
    """Move an unpacked package to its place, unless another process was quicker; `fresh` replaces what is there in any case.

    Environments that were linked from what stood there keep their files.
    """
    target = Path(entry.folder)
    with _exclusive(target.parent / ".cache.lock"):  # rattler's own: nobody is installing from the cache
        if not fresh and is_whole(entry):
            return
        if os.path.lexists(target):
            os.rename(target, content.parent / "old")
            with suppress(OSError):
                os.truncate(f"{target}.lock", 0)  # rattler's own note of a hash, which may be another archive's
        os.rename(content, target)


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock. On a file system without flock nothing is waited for, by rattler neither."""
    with open(lock, "ab") as stream:
        with suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the entries, and remove those that killed processes have left: whose lock nobody holds."""
    with ExitStack() as held:
        with _exclusive(folder / ".places.lock"):  # or one would remove what another has made and not locked yet
            for left in folder.glob(".fetch-*"):
                with suppress(OSError), open(left / "lock", "ab") as stream:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
            place = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
            held.callback(shutil.rmtree, place, ignore_errors=True)
            held.enter_context(_exclusive(place / "lock"))
        yield place
