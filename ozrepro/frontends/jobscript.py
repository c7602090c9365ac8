"""A session's environment as a script for jobs, which needs no Python and refuses when what it was made from has changed.

Pure functions over values. Every value is quoted; nothing of it is ever expanded.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ozrepro import environment as rules
from ozrepro.frontends.activation import MARK
from ozrepro.frontends.startscript import (
    REFUSE,
    asked_lines,
    check_lines,
    image_lines,
    image_lines_of_copy,
    kept_branches,
    refusal_lines,
    set_lines,
    start_lines_of_copy,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ozrepro.frontends.activation import Active
    from ozrepro.frontends.startscript import Compared


def job_script(session: Active, files: Iterable[Compared]) -> str:
    """Return a bash script for a job: it needs no Python, and refuses when one of `files` has changed.

    Executed, it runs the words behind it; sourced, it changes the shell, which no image can.
    """
    environment = session.environment
    remedy = f'"ozrepro activate {session.name} --output ${{BASH_SOURCE[1]-$0}}"'
    return _JOB.format(
        name=session.name,
        use=_USE_IN_IMAGE if environment.is_image else _USE_BEHIND_PREFIX if environment.command(()) else _USE,
        sourced=_sourced(session),
        checks=check_lines(session.name, files, environment, changed="has changed since this script was made", remedy=remedy),
        asked=asked_lines(environment),
        kept="\n        ".join(kept_branches(environment.passed)),
        sets=set_lines(environment, {MARK: session.name}),
        limits="\n".join(f"{limit} 2>/dev/null || :" for limit in session.limits),
        start=_start_in_image(session) if environment.is_image else _start(session),
    )


def _sourced(session: Active) -> str:
    """Return what refuses to be sourced: commands of a shell that is there already are not started behind a prefix."""
    if session.environment.is_image:
        return _SOURCED_IN_IMAGE.format(name=session.name, refuse=REFUSE)
    return _SOURCED_BEHIND_PREFIX.format(name=session.name, refuse=REFUSE) if session.environment.command(()) else ""


def _start(session: Active) -> str:
    environment = session.environment
    prefix = environment.command(())
    behind = _behind_prefix(session, f"without {prefix[0]}") if prefix else f'{start_lines_of_copy(environment)}exec "$@"'
    return _START.replace('    exec "$@"', f"{refusal_lines(session.name, environment)}{behind}")


def _behind_prefix(session: Active, outside: str) -> str:
    """Return the lines that start a command line behind the prefix, by the rules of `environment.Environment.started`."""
    environment, mounts = session.environment, bool(session.environment.mount)
    copy = image_lines_of_copy(environment)
    others = () if mounts else (name for name in rules.HOST_PROGRAMS if name not in rules.LAUNCHERS)
    return _BEHIND_PREFIX.format(
        prefix=shlex.join(environment.command(())),
        launchers="srun" if mounts else " | ".join(rules.LAUNCHERS),
        others=" | ".join(others) or "''",
        wrong=shlex.quote(f"would start its program {outside}"),
        staged=_TAKES_IMAGE.format(copy=copy) if copy else "",
    )


def _start_in_image(session: Active) -> str:
    return _START_IN_IMAGE.format(
        refusal=refusal_lines(session.name, session.environment),
        image=image_lines(session.environment),
        start=_behind_prefix(session, "outside the image"),
    )


_USE = "source this file, or put it in front of a command: srun bash this-file python script.py"
_START = """if [ "${BASH_SOURCE[0]}" = "$0" ] && [ "$#" -gt 0 ]; then
    exec "$@"
fi"""

_USE_BEHIND_PREFIX = "put this file in front of a command: srun bash this-file python script.py"
_USE_IN_IMAGE = "put this file in front of a command, which runs in the image: srun bash this-file python script.py"
_SOURCED_BEHIND_PREFIX = """\
if [ "${{BASH_SOURCE[0]}}" != "$0" ]; then
    printf 'ozrepro: %s\\n  try: bash %q COMMAND\\n' \\
        'programs of {name} start behind a command, which a running shell cannot add' "${{BASH_SOURCE[0]}}" >&2
    {refuse}
fi
"""
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
_BEHIND_PREFIX = """\
_ozrepro_prefix=({prefix}) _ozrepro_ifs=${{IFS-}} IFS=$'\\x1f'
case ${{1##*/}} in
    {launchers})
        case $IFS$*$IFS in
            *"$IFS${{_ozrepro_prefix[*]}}$IFS"*) _ozrepro_prefix=() ;;
            *)
                printf 'ozrepro: %s %s\\n  try: %s … bash %q python …\\n' "${{1##*/}}" {wrong} "${{1##*/}}" "$0" >&2
                exit 1 ;;
        esac ;;
    {others}) _ozrepro_prefix=() ;;
esac
IFS=$_ozrepro_ifs
{staged}exec ${{_ozrepro_prefix[@]+"${{_ozrepro_prefix[@]}}"}} "$@\""""
_TAKES_IMAGE = """\
if [ "${{#_ozrepro_prefix[@]}}" -gt 0 ]; then
{copy}    _ozrepro_prefix[${{#_ozrepro_prefix[@]}} - 1]=$_ozrepro_image
fi
"""
_START_IN_IMAGE = """\
{refusal}{image}# Exported functions, such as the modules', are of the host.
unset -f $(compgen -A function)
{start}"""

_JOB = """#!/bin/bash
# The environment of session {name}, by `ozrepro activate {name} --output`. Needs no Python:
#   {use}
if [ -z "${{BASH_VERSION-}}" ]; then
    echo 'ozrepro: this script is written for bash' >&2
    return 3 2>/dev/null || exit 3
fi
{sourced}{checks}
{asked}
for _ozrepro_name in $(compgen -e); do
    case $_ozrepro_name in
        {kept}
        *) unset -v "$_ozrepro_name" ;;
    esac
done
unset -v _ozrepro_name
{sets}
{limits}
{start}
"""
