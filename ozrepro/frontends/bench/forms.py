"""In which forms each method is measured: those that are asked for, that the settings name, or that may matter here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ozrepro.errors import OzreproError
from ozrepro.methods import registry
from ozrepro.site import NETWORKED, mount_of
from ozrepro.store.forms import find_tools, why_no_mount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ozrepro.pipeline.session import Session

Variant = Literal["tree", "file", "staged"]
"""A form, or a file of which each node has a copy of its own."""

FORMS: tuple[Variant, ...] = ("tree", "file")
"""What is measured where nobody asks."""
VARIANTS: tuple[Variant, ...] = (*FORMS, "staged")


@dataclass(frozen=True, slots=True)
class Compared:
    """The forms that are measured, the one that is set first; and why a file is none of them, "" where nobody asks."""

    forms: tuple[Variant, ...]
    left_out: str = ""


def compared_forms(session: Session, asked: Sequence[str] = (), *, emulated: bool = False) -> Compared:
    """Return the forms to measure: `asked`, else the one that is set, else both where a file may gain something.

    That is where the store lies on a file system of a cluster, or will be `emulated`. Raises OzreproError for a file that is
    asked for and cannot be made here.
    """
    site = session.site
    setting = site.settings.form
    wanted = tuple(form for form in VARIANTS if form in (asked or (setting,))) or FORMS
    if wanted == ("tree",):
        return Compared(wanted)
    mount = mount_of(session.store.folder)
    if not asked and setting != "file" and not emulated and (mount is None or mount.kind not in NETWORKED):
        kind = mount.kind if mount is not None else "an unknown file system"
        return Compared(("tree",), f"environments as a file: the store is on {kind}; --form tree,file compares them")
    tools = find_tools(site.environ.get("PATH", ""), site.apptainer)
    why = tools if isinstance(tools, str) else why_no_mount(tools)
    if not why:
        return Compared(tuple(sorted(wanted, key=lambda form: form != "file")) if setting == "file" else wanted)
    if asked:
        raise OzreproError(f"no environment can be one file here: {why}", hint=f"ozrepro bench {session.name} --form tree")
    return Compared(("tree",), f"environments as a file: {why}")


def forms_of(method: str, wanted: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return those of some forms in which a method is measured: an image is one file as it is."""
    return ("tree",) if registry.load(method).traits.is_image else tuple(wanted)


def name_of(method: str, form: str) -> str:
    """Return what a method in a form is called."""
    return f"{method} as a {'staged ' if form == 'staged' else ''}file" if form != "tree" else method
