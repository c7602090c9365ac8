"""What a spec may say about modules, whichever method says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from ozrepro.project.reader import Check
from ozrepro.project.settings import check_site_variable
from ozrepro.project.spec import Matching, ModuleName

_COLLECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z", re.ASCII)
_check_collection = Matching(_COLLECTION, "is not a collection name", "as in module save NAME")


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

    load: tuple[ModuleName, ...] = ()
    collection: Annotated[str, Check(_check_collection)] = ""
    use: tuple[str, ...] = ()
    site_variables: tuple[Annotated[str, Check(check_site_variable)], ...] = ()
    accept_effects: tuple[ModuleName, ...] = ()
