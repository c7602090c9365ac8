"""Settings, specs and locks, read with the methods that there are: `project` knows none, and is given the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.methods import registry
from ozrepro.modulesystem import tools
from ozrepro.project import lock, settings, spec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.project.files import Files
    from ozrepro.project.lock import Lock
    from ozrepro.project.settings import Settings
    from ozrepro.project.spec import Spec


def load_settings(root: Path, environ: Mapping[str, str], *, method: str | None = None, files: Files | None = None) -> Settings:
    """Return a project's settings, as `settings.load_settings` does."""
    return settings.load_settings(root, environ, registry.known, tools.known, method=method, files=files)


def load_spec(root: Path, name: str, files: Files | None = None) -> Spec:
    """Return a session's description, as `spec.load_spec` does."""
    return spec.load_spec(root, name, registry, files)


def parse_spec(path: Path, text: str, files: Files | None = None) -> Spec:
    """Return the description that a text holds, as `spec.parse_spec` does."""
    return spec.parse_spec(path, text, registry, files)


def load_lock(root: Path, name: str, files: Files | None = None) -> Lock | None:
    """Return a session's lock, as `lock.load_lock` does."""
    return lock.load_lock(root, name, registry, files)


def read_text(text: str, session: str, where: str) -> Lock:
    """Return the lock that a text holds, as `lock.read_text` does."""
    return lock.read_text(text, session, where, registry)


def new_lock(session: str) -> Lock:
    """Return a lock without sections, whose methods will be in the registry's order."""
    return lock.Lock(session, (), registry.known())
