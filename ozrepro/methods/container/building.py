"""From a definition or a source to an image file in a folder: built aside, looked into, and told from what it was built."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError
from ozrepro.methods.container import apptainer, image
from ozrepro.methods.container.contents import Contents, as_table, look_inside, read_contents
from ozrepro.methods.container.definition import with_first_lines, with_test
from ozrepro.store import failed
from ozrepro.store.manifest import digest_file
from ozrepro.store.packing import order_script
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ozrepro.methods.container.apptainer import Mount, Program
    from ozrepro.methods.container.definition import Definition

_CARD = "image.json"
_ABANDONED = 24 * 3600.0
"""Seconds after which an unfinished image is that of a builder who was killed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an image is built from.

    Attributes:
        text: a definition with its bases as they are reached here, "" where `source` is fetched as it is.
        source: what Apptainer fetches, such as `docker://…`.
        written: the definition as its author wrote it, for messages; None without one.
        name: how messages call it: the definition's path, or the source's public name.
        arguments: values for the definition's arguments.
        plain: whether the registry is asked without encryption.
        root: the folder that relative paths are from.
        mounts: what is seen inside while it is built.
        pip: pip's configuration for `%post`; "" for none.
        imports: what a start imports: its files come first in the image, in the order in which they are opened.

    """

    text: str
    source: str
    written: Definition | None
    name: str
    arguments: Mapping[str, str]
    plain: bool
    root: Path
    mounts: tuple[Mount, ...] = ()
    pip: str = ""
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built: its file, its digest in hexadecimal, its bytes, what is inside, and the seconds that it took.

    `seconds` is 0 where nobody measured it.
    """

    file: Path
    sha256: str
    size: int
    contents: Contents
    seconds: float = 0.0


def build_image(
    program: Program,
    plan: Plan,
    folder: Path,
    cache: Path,
    environ: Mapping[str, str],
    on_step: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
) -> Built:
    """Build an image as `folder/image.sif`, whole or not at all, and look inside. Raises BuildError, StoreError.

    `check` raises where what Apptainer has read is not what the folder is named after: the image is not kept.
    """
    aside = folder / f".{secrets.token_hex(6)}.sif"
    began = time.monotonic()
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for left in folder.glob(".*.sif"):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink(missing_ok=True)
        # Apptainer shows the machine's /tmp to %post, and of other folders only those that the image has.
        with tempfile.TemporaryDirectory(prefix="ozrepro-", dir="/tmp") as name:
            source, order, script = plan.source, "", os.path.join(name, "order.py")
            if plan.text:
                source, order = os.path.join(name, "definition.def"), os.path.join(name, "order")
                Path(source).write_text(_for_here(plan, Path(name), environ), encoding="utf-8")
                Path(order).touch()
                Path(script).write_text(order_script(order, plan.imports, "/"), encoding="utf-8")
            task = apptainer.Task(source, plan.arguments, plan.plain, plan.mounts, str(cache), plan.root, order, script)
            try:
                apptainer.build(program, task, str(aside), environ, on_step)
            except apptainer.Failed as error:
                raise _told(error, plan, source) from error
        check()
        on_step("looking into the image")
        seconds = round(time.monotonic() - began, 1)
        contents = look_inside(program, str(aside), environ)
        built = Built(folder / image.NAME, digest_file(aside), aside.stat().st_size, contents, seconds)
        with open(aside, "rb") as stream:
            os.fsync(stream.fileno())
        card = {"sha256": built.sha256, "size": built.size, "contents": as_table(built.contents), "seconds": built.seconds}
        (folder / _CARD).unlink(missing_ok=True)
        os.replace(aside, built.file)
        write_whole(folder / _CARD, json.dumps(card).encode())
    except OSError as error:
        raise failed("build an image", folder, error) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return built


def _for_here(plan: Plan, private: Path, environ: Mapping[str, str]) -> str:
    """Return the definition with what only this machine's `%post` needs: its certificates, pip's configuration, and folders.

    Files are given in `private`, never as text: an address may hold a password, and an image keeps its definition.
    """
    exports: list[str] = []
    bundle = apptainer.find_bundle(environ)
    if bundle:
        shutil.copyfile(bundle, private / "certificates.crt")
        exports += [f"export {name}={private}/certificates.crt" for name in apptainer.BUNDLES]
    if plan.pip:
        (private / "pip.conf").write_text(plan.pip, encoding="utf-8")
        exports.append(f"export PIP_CONFIG_FILE={private}/pip.conf")
    text = with_test(with_first_lines(plan.text, exports) if exports else plan.text, apptainer.ORDER_LINE)
    if plan.mounts:
        rootfs = '"${APPTAINER_ROOTFS:-$SINGULARITY_ROOTFS}"'  # a Singularity sets its own name alone
        made = (f"mkdir -p {rootfs}{shlex.quote(mount.target)}" for mount in plan.mounts)
        text += "\n".join(("%setup", *made)) + "\n"
    return text


def is_kept(folder: Path) -> bool:
    """Say whether `build_image` has finished in a folder, without reading the image."""
    return (folder / _CARD).exists() and (folder / image.NAME).exists()


def kept_image(folder: Path) -> Built | None:
    """Return the image that `build_image` left in a folder, or None where there is none whole."""
    try:
        card = json.loads((folder / _CARD).read_bytes())
        file = folder / image.NAME
        table = card["contents"]
        if isinstance(table["distributions"], list):  # of an earlier version
            table["distributions"] = {item["name"]: (item["version"], item["imports"]) for item in table["distributions"]}
        seconds = float(card.get("seconds", 0.0))
        built = Built(file, str(card["sha256"]), int(card["size"]), read_contents(table), seconds)
        if file.stat().st_size != built.size or digest_file(file) != built.sha256:
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return built


def forget_image(folder: Path) -> None:
    """Remove what `build_image` left in a folder."""
    shutil.rmtree(folder, ignore_errors=True)


def _told(error: apptainer.Failed, plan: Plan, source: str) -> BuildError:
    """Return the error for a failed build: the failing line of the definition, and the end of its log.

    `source` is what Apptainer was given: a file of ours where the user wrote another, which is the one to be named.
    """
    command, said = error.command(), "\n    ".join(error.log()).replace(source, plan.name)
    if command:
        line = plan.written.line_of(command) if plan.written is not None else None
        place = f"{plan.name}, line {line}" if line else plan.name
        return BuildError(
            f"%post failed at: {command}\n    {said}", where=place, hint="fix that line, then the same command again"
        )
    if "no space left" in said.lower() or "disk quota" in said.lower():
        hint = "set APPTAINER_TMPDIR to a directory with room, check your quota (quota -s), then the same command again"
        return BuildError(f"there was no room to build the image:\n    {said}", where=plan.name, hint=hint)
    hint = "the same command again, once that is fixed"
    if plan.written is not None and "while parsing definition" in said:
        hint = f"correct {plan.name}, then the same command again"
    return BuildError(f"Apptainer ended with status {error.status}:\n    {said}", where=plan.name, hint=hint)
