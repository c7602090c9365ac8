"""How programs run in an image that is in the store: Apptainer's words, and what it and they are given of the caller."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.environment import BASE_PATH, Environment, joined_by
from ozrepro.methods.container import apptainer, image
from ozrepro.methods.container.apptainer import Mount, exec_words
from ozrepro.methods.container.plan import noted_program, program_of

if TYPE_CHECKING:
    from ozrepro.methods.container.lock import Locked
    from ozrepro.methods.target import Target

_USER_BASE = "/an-image-is-read-only--change-its-definition-and-lock-again"
"""Where `pip install --user` would write inside: a path that cannot be made, and that says why in pip's own error."""


def environment_of(locked: Locked, target: Target) -> Environment:
    """Return how programs run in the image at a target, whether it is whole or not. Raises BuildError without Apptainer."""
    site, prefix, module = target.site, target.prefix, locked.module
    program = noted_program(site, module, image.kept(prefix).tool) if site.only_looking else program_of(site, module)
    root, store = os.path.realpath(site.settings.root), os.path.realpath(site.settings.store)
    own = [Mount(root, root), *([] if store.startswith(f"{root}/") else [Mount(store, store)])]
    words = exec_words(program, str(prefix / image.NAME), (*own, *locked.mounts(root)), locked.gpu or apptainer.gpu_here())
    inside = {"PYTHONNOUSERSITE": "1", "PYTHONUSERBASE": _USER_BASE}
    # Programs inside would see all that Apptainer is started with: of its module, only what it reads itself.
    own_variables = {name: value for name, value in program.variables.items() if _is_read(name)}
    following = {name: cases for name, cases in module.following().items() if _is_read(name)} if module is not None else {}
    return Environment(
        path=module.front() if module is not None else (),
        base=module.behind() if module is not None else (os.path.dirname(program.path), *BASE_PATH),
        variables={**own_variables, **{f"{program.variable_prefix}{name}": value for name, value in inside.items()}},
        # Apptainer takes the home of the user database otherwise, whatever HOME is.
        following={**following, program.home: joined_by("HOME", ("", ""))},
        prefix=words,
        expected=module.reads.expected() if module is not None else {},
        passed=locked.passed,
        container_env_prefix=program.variable_prefix,
    )


def _is_read(name: str) -> bool:
    """Say whether Apptainer itself reads a variable, or its programs' loader does; it sets the image's own LD_LIBRARY_PATH."""
    return name == "LD_LIBRARY_PATH" or name.startswith(("APPTAINER", "SINGULARITY"))
