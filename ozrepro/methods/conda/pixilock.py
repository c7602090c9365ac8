"""The task of reading a pixi.lock, by rattler's own reader, which knows every version of the format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rattler.lock import Environment


async def read(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of the file's environments, and what the one that is asked for has on each platform.

    What cannot be read is `wrong`, in rattler's words; an environment that is absent has no `platforms`.
    """
    from rattler.exceptions import ParseCondaLockError
    from rattler.lock import LockFile

    try:
        file = LockFile.from_path(task["path"])
    except (ParseCondaLockError, OSError) as error:
        return {"wrong": " ".join(str(error).split())[:300]}
    environments = sorted(name for name, _ in file.environments())
    environment = file.environment(task["environment"] or "default")
    return {"environments": environments, **({"platforms": _platforms(environment)} if environment is not None else {})}


def _platforms(environment: Environment) -> dict[str, dict[str, list[Any]]]:
    """Return by platform the archives with their hashes, the packages built from source, and those of pip as `name==version`."""
    from rattler.lock import CondaLockedBinaryPackage, PypiLockedPackage

    platforms: dict[str, dict[str, list[Any]]] = {}
    for platform, packages in environment.packages_by_platform().items():
        content: dict[str, list[Any]] = {"conda": [], "pip": [], "built": []}
        for package in packages:
            hashes = package.hashes
            if isinstance(package, PypiLockedPackage):
                content["pip"].append(f"{package.name}=={package.version}")
            elif isinstance(package, CondaLockedBinaryPackage):
                digests = [mark.hex() if mark else "" for mark in ((hashes.sha256, hashes.md5) if hashes else (None, None))]
                content["conda"].append([package.location, *digests])
            else:
                content["built"].append(package.name)
        platforms[str(platform.subdir)] = content
    return platforms
