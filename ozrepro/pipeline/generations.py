"""Which environment of the store is a section's, in which form, what it keeps of the machine's software, and its start."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.environment import Environment, says_where
from ozrepro.methods.contract import Keeps
from ozrepro.methods.target import Target
from ozrepro.pipeline.session import method_of, naming
from ozrepro.project.spec import digest_of
from ozrepro.store import forms
from ozrepro.store.kept import folders_of, is_kept
from ozrepro.store.publish import Generation, find_published, read_generation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.methods.contract import Launch
    from ozrepro.methods.keeping import Kept
    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Section
    from ozrepro.site import Site
    from ozrepro.store.forms import Form


def key_of(session: Session, section: Section, form: Form = "tree") -> str:
    """Return the store's key of a section on this machine: a digest of what is resolved, never of a name a user chose.

    The store's place is part of it: an environment holds its own path, and one in a store that was moved, or that came with
    a stranger's project, was not built here. So are the form, unless it is a tree, and what the file keeps.
    """
    with naming(session):
        plan = method_of(section).plan(session.read(section), session.site)
    return key_for(session, section, plan.identity, form)


def key_for(session: Session, section: Section, identity: Mapping[str, object], form: Form) -> str:
    """Return the key of a section whose build has this identity."""
    placed = {**identity, "store": os.path.realpath(session.store.folder)}
    if form == "tree":
        return key_from(section.method, placed)
    kept = kept_by(session, section)
    more = {"kept": [*kept.folders, kept.whole]} if kept is not None else {}
    return key_from(section.method, {**placed, "form": form, **more})


def key_from(method: str, identity: Mapping[str, object]) -> str:
    """Return the key of a method's identity: 32 hexadecimal digits."""
    return digest_of({"method": method, "identity": identity}).removeprefix("sha256:")[:32]


def built_generation(session: Session, section: Section, form: Form | None = None) -> Generation | None:
    """Return the section's generation if it is in the store and can be used; `form` is as in `published`."""
    found = published(session, section, form)
    return read_generation(session.store, str(found.card["key"])) if isinstance(found, Generation) else None


def published(session: Session, section: Section, form: Form | None = None) -> Generation | str:
    """Return what has the name of the section in the form that a start takes, or in `form`; or a line as `find_published`."""
    with naming(session):
        plan = method_of(section).plan(session.read(section), session.site)
    return find_published(
        session.store, key_for(session, section, plan.identity, form or form_of(session, section, plan.identity)[0])
    )


def form_of(session: Session, section: Section, identity: Mapping[str, object]) -> tuple[Form, forms.Tools | None, str]:
    """Return the form that a start takes, and a build makes; what makes a file; and what is to be said where that cannot be.

    Without a setting it is a tree, unless only a file is built. An image is one file anyway.
    """
    if method_of(section).traits.is_image:
        return "tree", None, ""
    setting, site = session.site.settings.form, session.site
    if not setting:
        tree, file = (find_published(session.store, key_for(session, section, identity, each)) for each in ("tree", "file"))
        setting = "file" if tree == "" and file != "" else "tree"
    tools, said = forms.choose(setting, session.store.folder, site.environ.get("PATH", ""), site.apptainer)
    return "tree" if tools is None else "file", tools, said


def kept_by(session: Session, section: Section) -> Kept | None:
    """Return what of the machine's software the spec wants in the environment's file, None for nothing."""
    method = method_of(section)
    return method.kept(session.subject(section.method), session.read(section)) if isinstance(method, Keeps) else None


def target_of(generation: Generation, site: Site, files: Path) -> Target:
    """Return where a built environment is, `files` being where its files are seen."""
    return Target(generation.prefix, site, files, folders_of(generation))


def launch_of(session: Session, section: Section, generation: Generation, *, looking: bool = False) -> Launch:
    """Return how to run programs in a built generation: the method's word, then the settings', and where it is.

    With `looking`, nothing is started to know it: what the build has noted is believed.
    """
    site = session.site.for_looking() if looking else session.site
    with naming(session), forms.seen(generation) as files:
        found = method_of(section).environment(session.read(section), target_of(generation, site, files))
        watched = tuple(path for path in (_outside(path, generation, files) for path in found.watched) if path)
        watched = tuple(path for path in watched if not is_kept(generation, path))
    settings, environment = session.site.settings, found.environment
    where = says_where(session.name, section.method, str(generation.card["key"]))
    more = {
        "path": (*environment.path, *settings.path),
        "variables": {**environment.variables, **where},
        "passed": (*environment.passed, *settings.passed),
        "generation": str(generation.folder),
    }
    if generation.form == "file":
        more |= {"mount": str(generation.folder / forms.START), "mount_text": forms.start_text(generation)}
        watched = (*watched, *(str(generation.folder / name) for name in (forms.IMAGE, forms.START)))
    return replace(found, environment=Environment(**{**environment.as_dict(), **more}), watched=watched)


def _outside(path: str, generation: Generation, files: Path) -> str:
    """Return what a start compares for a path that is watched: of a link out of a file, such as its Python, where that leads.

    What lies in the file itself is as whole as that is: "".
    """
    if files == generation.prefix or generation.prefix not in Path(path).parents:
        return path
    real = os.path.realpath(files / Path(path).relative_to(generation.prefix))
    return "" if real.startswith(f"{os.path.realpath(files)}/") else real
