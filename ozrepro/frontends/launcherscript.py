"""The script of a session's launchers: one file by many names, which starts the program of its name without Python.

Words of the POSIX shell: `/bin/sh` is often dash, which makes a fifth of bash's path-taking calls. Pure functions over values.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.environment import INHERITED, passing
from ozrepro.frontends.activation import OF_THE_SHELL
from ozrepro.frontends.startscript import (
    asked_lines,
    check_lines,
    image_lines,
    image_lines_of_copy,
    kept_branches,
    no_packages,
    refusal_lines,
    set_lines,
    start_lines_of_copy,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ozrepro.environment import Environment
    from ozrepro.frontends.startscript import Compared

_OF_BASH = ("UID", "EUID", "BASHOPTS", "SHELLOPTS")
"""Variables that bash lets nobody unset."""

_OF_SHELLS = (*sorted({*OF_THE_SHELL} - {*_OF_BASH, *INHERITED, "_", "PPID"}), "HOSTNAME")
"""Variables that a shell sets, or that `kept_branches` keeps for one, and that no program of a run has."""

CHECK = "ozrepro-check"
"""The launcher that starts nothing and says by its status whether the others can; with `--digest`, of what."""


@dataclass(frozen=True, slots=True)
class Programs:
    """What launchers of an environment start.

    Attributes:
        names: its programs.
        python: the name of its Python, which an image may have as `python3` alone.
        has_pip: whether it has pip, which lists and shows packages.
        digest: the digest of the section that the environment was built from, `sha256:…`.

    """

    names: tuple[str, ...]
    python: str
    has_pip: bool
    digest: str = ""


def launcher_script(name: str, environment: Environment, files: Iterable[Compared], programs: Programs, folder: Path) -> str:
    """Return the script of the launchers of session `name` in `folder`, which refuses when one of `files` has changed."""
    remedy = f"ozrepro build {name}"
    names = sorted({*programs.names, "python3"} - {"python", "pip"})
    pip = (
        ":"
        if programs.has_pip
        else f"printf 'ozrepro: %s\\n  try: %s\\n' {shlex.join(no_packages(name, environment))} >&2; exit 1"
    )
    prefix, is_passed = environment.command(()), passing((*environment.passed, *environment.variables, *environment.following))
    return _LAUNCHER.format(
        name=name,
        check=CHECK,
        digest=programs.digest,
        remedy=remedy,
        names=" | ".join(map(shlex.quote, names)),
        python=programs.python,
        folder=shlex.quote(str(folder)),
        checks=check_lines(name, files, environment, changed=f"has changed since {name} was built", remedy=shlex.quote(remedy)),
        asked=asked_lines(environment),
        kept="\n        ".join(kept_branches(environment.passed)),
        sets=set_lines(environment, {}),
        of_bash=" ".join(name for name in _OF_BASH if not is_passed(name)),
        of_shells=" ".join(name for name in _OF_SHELLS if not is_passed(name)),
        refusal=refusal_lines(name, environment),
        pip=pip,
        image=image_lines(environment) if environment.is_image else "",
        try_it=_TRY_PREFIX.format(prefix=shlex.join(prefix), name=name)
        if prefix
        else _TRY.format(python=programs.python, name=name),
        copy=image_lines_of_copy(environment) or ("" if prefix else start_lines_of_copy(environment)),
        prefix=_words(environment),
    )


def _words(environment: Environment) -> str:
    """Return the words in front of a program, with the image that was taken."""
    prefix = environment.command(())
    if image_lines_of_copy(environment):
        return f'{shlex.join(prefix[:-1])} "$_ozrepro_image" '
    return f"{shlex.join(prefix)} " if prefix else ""


_TRY = """\
command -v {python} >/dev/null && exit 0
echo 'ozrepro: there is no Python in the environment of {name}' >&2
exit 3"""
_TRY_PREFIX = """\
{prefix} true </dev/null >/dev/null && exit 0
echo 'ozrepro: the environment of {name} cannot be started on this machine' >&2
exit 4"""

_LAUNCHER = """#!/bin/sh
# Starts the program of its own name in the environment of session {name}. Written by `ozrepro build {name}`; needs no Python.
_ozrepro_own=${{0##*/}} _ozrepro_program=${{0##*/}}
case $_ozrepro_own in
    python) _ozrepro_program={python} ;;
    {names} | pip | {check}) ;;
    *)
        printf 'ozrepro: %s is not a program of {name}\\n  try: {remedy}\\n' "$_ozrepro_own" >&2
        exit 2 ;;
esac
if [ ! "$0" -ef {folder}/"$_ozrepro_own" ]; then
    printf 'ozrepro: %s is a copy of %s\\n  try: {remedy}, in this project\\n' "$0" {folder}/"$_ozrepro_own" >&2
    exit 3
fi
set -- "$_ozrepro_program" "$@"
{checks}
{asked}
set -f
IFS='
'
# A line of a value may look like a variable's: unset is what may not be inherited, which is so whether it is there or not.
for _ozrepro_name in $(export -p); do
    _ozrepro_name=${{_ozrepro_name#export }}
    _ozrepro_name=${{_ozrepro_name%%=*}}
    case $_ozrepro_name in
        '' | [0-9]* | *[!A-Za-z0-9_]* | IFS | _ozrepro_*) ;;
        {kept}
        *) unset -v "$_ozrepro_name" ;;
    esac
done
set +f
unset -v IFS _ozrepro_name
# Where sh is bash, exported functions, such as the modules', would be handed on.
if [ -n "${{BASH_VERSION-}}" ]; then unset -f $(compgen -A function); else unset -v {of_bash}; fi
unset -v {of_shells}
{sets}
{refusal}{image}case $_ozrepro_own in
    pip) {pip} ;;
    {check})
        if [ "${{2-}}" = --digest ]; then
            echo {digest}
            exit
        fi
        {try_it} ;;
esac
{copy}exec {prefix}"$@"
"""
