"""What a spec may say about modules, whichever method says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModuleRequests:
    """Modules that a session is to have.

    Attributes:
        load: names with versions.
        collection: a collection of the user's, as `module save` makes it, taken when locking.
        use: further module directories.
        site_variables: variables that decide what the modules do here, locked with their values.
        accept_effects: modules whose commands for a shell are left out.

    """

    load: tuple[str, ...]
    collection: str = ""
    use: tuple[str, ...] = ()
    site_variables: tuple[str, ...] = ()
    accept_effects: tuple[str, ...] = ()
