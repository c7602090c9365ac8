"""A session's environment as a script for jobs, which needs no Python and refuses when what it was made from has changed.

Pure functions over values. Every value is quoted; nothing of it is ever expanded.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ozrepro.activation import MARK, OF_THE_SHELL, VARIABLE
from ozrepro.environment import INHERITED, INHERITED_PREFIXES
from ozrepro.ready import AMD, DRIVER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ozrepro.activation import Active


def job_script(session: Active, files: Iterable[tuple[str, str]], sized: Iterable[tuple[str, int, int]] = ()) -> str:
    """Return a bash script for a job: it needs no Python, and refuses when one of its files has changed.

    `files` are compared by sha256; `sized` are those too large to be read at each start, with bytes and seconds of the last
    change. Executed, it runs the words behind it; sourced, it changes the shell, which no image can.
    """
    environment = session.environment
    checks = [f"_ozrepro_check {digest} {shlex.quote(path)} || {_REFUSE}" for path, digest in files]
    checks += [f"_ozrepro_check '{size} {seconds}' {shlex.quote(path)} || {_REFUSE}" for path, size, seconds in sized]
    fixed = {**environment.variables_for({}), MARK: session.name}
    names = [name for name in sorted(fixed) if VARIABLE.match(name) and name not in environment.homely]
    sets = [f"export {name}={shlex.quote(fixed[name])}" for name in names]
    sets += [f"export {name}={_joined(parts)}" for name, parts in sorted(environment.homely.items())]
    kept = (*sorted(INHERITED), *(f"{prefix}*" for prefix in INHERITED_PREFIXES), *environment.passed, *OF_THE_SHELL)
    own = environment.inner.removesuffix("ENV_")
    return _JOB.format(
        name=session.name,
        use=_USE_IN_IMAGE if environment.inner else _USE,
        sourced=_SOURCED_IN_IMAGE.format(name=session.name, refuse=_REFUSE) if environment.inner else "",
        checks="\n".join(checks),
        kept="|".join((*kept, "HOSTNAME", "BASH_FUNC_*")),
        removed="\n".join(f"unset -v {name}" for name in environment.removed if VARIABLE.match(name)),
        sets="\n".join(sets),
        limits="\n".join(f"{limit} 2>/dev/null || :" for limit in session.limits),
        start=_START_IN_IMAGE.format(name=session.name, own=own, driver=DRIVER, amd=AMD, prefix=shlex.join(environment.prefix))
        if environment.inner
        else _START,
    )


def _joined(parts: Iterable[str]) -> str:
    """Return a value that holds the home, as a word of a Bourne shell."""
    return '"${HOME-}"'.join(shlex.quote(part) if part else "" for part in parts) or "''"


_REFUSE = "{ case $- in *i*) return 3 ;; *) exit 3 ;; esac; }"
"""A job's script that goes on would run in another environment; a prompt must stay."""

_USE = "source this file, or put it in front of a command: srun bash this-file python script.py"
_START = """if [ "${BASH_SOURCE[0]}" = "$0" ] && [ "$#" -gt 0 ]; then
    exec "$@"
fi"""

_USE_IN_IMAGE = "put this file in front of a command, which runs in the image: srun bash this-file python script.py"
_SOURCED_IN_IMAGE = """\
if [ "${{BASH_SOURCE[0]}}" != "$0" ]; then
    printf 'ozrepro: %s\\n  try: bash %q COMMAND\\n' \\
        'the environment of {name} is an image, which no shell enters by reading a file' "${{BASH_SOURCE[0]}}" >&2
    {refuse}
fi
if [ "$#" -eq 0 ]; then
    printf 'ozrepro: no command to run in the image of {name}\\n  try: bash %q python script.py\\n' "$0" >&2
    exit 2
fi
"""
# The same commands as environment.installer_in knows.
_START_IN_IMAGE = """\
_ozrepro_adds() {{
    local program=${{1##*/}} word group=
    shift
    case $program in python*)
        while [ "${{1-}}" != -m ]; do
            case ${{1-}} in
                -W | -X) shift "$(($# > 1 ? 2 : 1))" ;;
                -*) shift ;;
                *) return 1 ;;
            esac
        done
        program=${{2-}}
        shift "$(($# > 1 ? 2 : 1))" ;;
    esac
    case $program in pip | pip[0-9]* | uv | conda | mamba | micromamba) ;; *) return 1 ;; esac
    for word; do
        case $word in
            -*) ;;
            install | add | sync | update | upgrade) return 0 ;;
            pip | env | tool | python | self)
                case $program$group in pip* | *!) return 1 ;; esac
                group=! ;;
            *) return 1 ;;
        esac
    done
    return 1
}}
if _ozrepro_adds "$@"; then
    printf 'ozrepro: an image is read-only: packages would land in ~/.local of this machine\\n  try: %s\\n' \\
        'add them to what the image is made of, then: ozrepro lock {name}' >&2
    exit 1
fi
# The login node that wrote this may have no GPU.
if [ -e {driver} ]; then export {own}NV=1; elif [ -e {amd} ]; then export {own}ROCM=1; fi
# Exported functions, such as the modules', are of the host.
unset -f $(compgen -A function)
exec {prefix} "$@\""""

_JOB = """#!/bin/bash
# The environment of session {name}, by `ozrepro activate {name} --output`. Needs no Python:
#   {use}
if [ -z "${{BASH_VERSION-}}" ]; then
    echo 'ozrepro: this script is written for bash' >&2
    return 3 2>/dev/null || exit 3
fi
{sourced}_ozrepro_check() {{
    local found
    case $1 in
        *' '*) found=$(stat -L -c '%s %Y' -- "$2" 2>/dev/null) ;;
        *) found=$(sha256sum < "$2" 2>/dev/null) found=${{found%  -}} ;;
    esac
    if [ "$found" != "$1" ]; then
        printf 'ozrepro: %s has changed since this script was made\\n  try: ozrepro activate {name} --output %s\\n' \\
            "$2" "${{BASH_SOURCE[1]-$0}}" >&2
        return 1
    fi
}}
{checks}
unset -f _ozrepro_check
for _ozrepro_name in $(compgen -e); do
    case $_ozrepro_name in
        {kept}) ;;
        *) unset -v "$_ozrepro_name" ;;
    esac
done
unset -v _ozrepro_name
{removed}
{sets}
{limits}
{start}
"""
