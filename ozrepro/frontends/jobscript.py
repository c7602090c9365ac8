"""A session's environment as a script for jobs, which needs no Python and refuses when what it was made from has changed.

Pure functions over values. Every value is quoted; nothing of it is ever expanded.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ozrepro import environment as rules
from ozrepro.faststart.ready import AMD, DRIVER
from ozrepro.frontends.activation import MARK, OF_THE_SHELL, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ozrepro.environment import Cases, Environment
    from ozrepro.frontends.activation import Active


def job_script(session: Active, files: Iterable[tuple[str, str]], sized: Iterable[tuple[str, int, int]] = ()) -> str:
    """Return a bash script for a job: it needs no Python, and refuses when one of its files has changed.

    `files` are compared by sha256; `sized` are those too large to be read at each start, with bytes and seconds of the last
    change. Executed, it runs the words behind it; sourced, it changes the shell, which no image can.
    """
    environment = session.environment
    checks = [f"_ozrepro_check {digest} {shlex.quote(path)} || {_REFUSE}" for path, digest in files]
    checks += [f"_ozrepro_check '{size} {seconds}' {shlex.quote(path)} || {_REFUSE}" for path, size, seconds in sized]
    fixed = {**environment.variables_for({}), MARK: session.name}
    following = {name: cases for name, cases in sorted(environment.following.items()) if VARIABLE.match(name)}
    asked = [_path_lines(environment), *(_chosen(name, cases) for name, cases in following.items())]
    names = [name for name in sorted(fixed) if VARIABLE.match(name) and name not in following]
    sets = [f"export {name}={shlex.quote(fixed[name])}" for name in names if name != "PATH"]
    sets += [_HAND_OVER.format(name=name) for name in ("PATH", *following)]
    return _JOB.format(
        name=session.name,
        use=_USE_IN_IMAGE if environment.is_image else _USE_BEHIND_PREFIX if environment.command(()) else _USE,
        sourced=_sourced(session),
        checks="\n".join((*checks, *_expected(environment.expected))),
        asked="\n".join(asked),
        kept="\n        ".join(_kept(environment.passed)),
        removed="\n".join(f"unset -v {name}" for name in environment.removed if VARIABLE.match(name)),
        sets="\n".join(sets),
        limits="\n".join(f"{limit} 2>/dev/null || :" for limit in session.limits),
        start=_start_in_image(session, environment.container_env_prefix.removesuffix("ENV_"))
        if environment.is_image
        else _start(session),
    )


def _sourced(session: Active) -> str:
    """Return what refuses to be sourced: commands of a shell that is there already are not started behind a prefix."""
    if session.environment.is_image:
        return _SOURCED_IN_IMAGE.format(name=session.name, refuse=_REFUSE)
    return _SOURCED_BEHIND_PREFIX.format(name=session.name, refuse=_REFUSE) if session.environment.command(()) else ""


def _start(session: Active) -> str:
    prefix = session.environment.command(())
    if prefix:
        behind = _behind_prefix(session, f"without {prefix[0]}")
    else:
        gens = os.path.dirname(session.environment.generation)
        taken = _TAKES_START.format(gens=shlex.quote(gens), others=" | ".join(rules.HOST_PROGRAMS))
        behind = f'{_copy(session, ".start")}{taken}exec "$@"' if session.environment.generation else 'exec "$@"'
    return _START.replace('    exec "$@"', f"{_refusal(session)}{behind}")


def _copy(session: Active, suffix: str) -> str:
    """Return the lines that name the copy on the node, as `faststart.staged` does."""
    name = shlex.quote(f"{os.path.basename(session.environment.generation)}{suffix}")
    return _COPY.format(name=name)


def _refusal(session: Active) -> str:
    """Return the lines that refuse an installer, by the rules of `environment.Environment.refused`."""
    if session.environment.is_image:
        what = "an image is read-only: packages would land in ~/.local of this machine"
        why = (what, f"add them to what the image is made of, then: ozrepro lock {session.name}")
    else:
        why = ("packages cannot be added to a locked environment", f"ozrepro add {session.name} PKG")
    elsewhere = (f'"{word}!"' if " " in word else f'"{word} "' for word in rules.OF_A_PROJECT)
    return _INSTALLERS.format(
        installers=" | ".join(("pip[0-9]*", *rules.INSTALLERS)),
        placing=" | ".join(rules.PLACING),
        installing=" | ".join(rules.INSTALLING),
        elsewhere="never" if session.environment.is_image else " | ".join(elsewhere),
        groups=" | ".join(rules.INSTALLER_GROUPS),
        why=shlex.join(why),
    )


def _behind_prefix(session: Active, outside: str) -> str:
    """Return the lines that start a command line behind the prefix, by the rules of `environment.Environment.started`."""
    environment, mounts, staged = session.environment, bool(session.environment.mount), ""
    if environment.is_image and environment.generation:
        image = environment.prefix[-1]
        staged = _copy(session, os.path.splitext(image)[1]) + _TAKES_IMAGE.format(image=shlex.quote(image))
    others = () if mounts else (name for name in rules.HOST_PROGRAMS if name not in rules.LAUNCHERS)
    return _BEHIND_PREFIX.format(
        prefix=shlex.join(session.environment.command(())),
        launchers="srun" if mounts else " | ".join(rules.LAUNCHERS),
        others=" | ".join(others) or "''",
        wrong=shlex.quote(f"would start its program {outside}"),
        staged=staged,
    )


def _start_in_image(session: Active, own: str) -> str:
    return _START_IN_IMAGE.format(
        name=session.name,
        own=own,
        driver=DRIVER,
        amd=AMD,
        places=" ".join(rules.PLACES),
        refusal=_refusal(session),
        start=_behind_prefix(session, "outside the image"),
    )


def _kept(passed: Iterable[str]) -> Iterable[str]:
    """Yield the branches of a `case` that keep what `environment.is_inherited` and `pass` keep; the first that fits counts."""
    asked = (name for name in passed if VARIABLE.match(name.removesuffix("*")))
    names = (*sorted(rules.INHERITED), *asked, *OF_THE_SHELL, "HOSTNAME", "BASH_FUNC_*")
    yield f"{'|'.join((*names, *(f'*{ending}' for ending in rules.INHERITED_ENDINGS)))}) ;;"
    unset = 'unset -v "$_ozrepro_name" ;;'
    yield f"{'|'.join(f'{prefix}*' for prefix in rules.KEPT_OUT_PREFIXES)}) {unset}"
    yield f"{'|'.join(f'{prefix}*' for prefix in rules.INHERITED_PREFIXES)}) ;;"
    yield f"{'|'.join(f'*{ending}' for ending in rules.KEPT_OUT_ENDINGS)}) {unset}"
    yield f"{'|'.join(f'{prefix}*' for prefix in rules.TUNED_PREFIXES)}) ;;"


def _filled(parts: Iterable[str]) -> str:
    """Return the text of parts as a word of a Bourne shell: every second one is the name of a variable."""
    words = [(f'"${{{part}-}}"' if place % 2 else shlex.quote(part)) for place, part in enumerate(parts) if part]
    return "".join(words) or "''"


def _by_cases(cases: Cases, then: Callable[[tuple[str, ...] | None], str]) -> str:
    """Return the command that does what `then` says of the first case whose variables the caller has."""
    text, opened = "", False
    for names, parts in cases:
        tests = [f'[ -n "${{{name[:-1]}-}}" ]' if name.endswith(":") else f'[ -n "${{{name}+x}}" ]' for name in names]
        if not tests:
            return f"{text}; else {then(parts)}; fi" if opened else then(parts)
        text += f"{'; elif' if opened else 'if'} {' && '.join(tests)}; then {then(parts)}"
        opened = True
    return f"{text}; fi" if opened else ":"


def _chosen(name: str, cases: Cases) -> str:
    """Return the line that takes the value of a variable from the caller's, before these are unset.

    The state `-` hands the value over, `x` unsets the variable, and none leaves it as it is.
    """

    def then(parts: tuple[str, ...] | None) -> str:
        if parts is None:
            return f"_ozrepro_s_{name}=x"
        return f"_ozrepro_s_{name}=- _ozrepro_v_{name}={_filled(parts)}" if parts else ":"

    return _by_cases(cases, then)


def _path_lines(environment: Environment) -> str:
    """Return the lines that make PATH, some of whose entries may follow the caller's variables."""
    lines = ["_ozrepro_s_PATH=- _ozrepro_v_PATH="]
    fixed: list[str] = []
    for entry in (*environment.path, *environment.base):
        if isinstance(entry, str):
            fixed.append(entry)
            continue
        lines += [_more(shlex.quote(":".join(fixed)))] if fixed else []
        lines.append(_by_cases(entry, lambda parts: _more(_filled(parts)) if parts and any(parts) else ":"))
        fixed = []
    lines += [_more(shlex.quote(":".join(fixed)))] if fixed else []
    return "\n".join(lines)


def _more(word: str) -> str:
    return f"_ozrepro_v_PATH=${{_ozrepro_v_PATH:+$_ozrepro_v_PATH:}}{word}"


def _expected(expected: Mapping[str, str | bool | None]) -> list[str]:
    """Return the lines that refuse a caller whose variables are otherwise than they were when the environment was locked."""
    lines: list[str] = []
    for name, value in sorted(expected.items()):
        if not VARIABLE.match(name):
            continue
        test = f'[ -n "${{{name}+x}}" ]' if value is not None else f'[ -z "${{{name}+x}}" ]'
        if isinstance(value, str):
            test += f' && [ "${{{name}-}}" = {shlex.quote(value)} ]'
        wanted = shlex.quote(value) if isinstance(value, str) else "set" if value else "not set"
        words = f"_ozrepro_otherwise {name} {shlex.quote(wanted)} "
        lines.append(f'{{ {test}; }} || {{ {words}"${{{name}-not set}}"; {_REFUSE}; }}')
    return lines


_HAND_OVER = """\
case ${{_ozrepro_s_{name}-}} in
    -) export {name}=$_ozrepro_v_{name} ;;
    x) unset -v {name} ;;
esac
unset -v _ozrepro_s_{name} _ozrepro_v_{name}"""
_REFUSE = "{ case $- in *i*) return 3 ;; *) exit 3 ;; esac; }"
"""A job's script that goes on would run in another environment; a prompt must stay."""

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
_COPY = """\
_ozrepro_copy=${{SLURM_JOB_ID:+$SLURM_JOB_ID.${{SLURM_RESTART_COUNT-}}}}
_ozrepro_copy=${{_ozrepro_copy:-${{PBS_JOBID:-${{LSB_JOBID:-${{FLUX_JOB_ID-}}}}}}}}
if [ -n "$_ozrepro_copy" ]; then
    _ozrepro_uid=$(id -u) _ozrepro_place=${{JOBFS:-${{PBS_JOBFS:-${{TMPDIR:-/tmp}}}}}}
    _ozrepro_copy=$_ozrepro_place/ozrepro-$_ozrepro_uid-${{_ozrepro_copy//[^A-Za-z0-9.]/_}}-{name}
    if ! [ -e "$_ozrepro_copy" -o -L "$_ozrepro_copy" ]; then _ozrepro_copy=; fi
fi
"""
_TAKES_IMAGE = """\
if [ -n "$_ozrepro_copy" ] && [ "${{#_ozrepro_prefix[@]}}" -gt 0 ]; then
    if [ "$(stat -c '%f %u %h %s %.9Y' -- "$_ozrepro_copy")" = "8100 $_ozrepro_uid 1 $(stat -L -c '%s %.9Y' -- {image})" ]; then
        _ozrepro_prefix[${{#_ozrepro_prefix[@]}} - 1]=$_ozrepro_copy
    else
        printf 'ozrepro: skipping %s: it is not as it was staged\\n' "$_ozrepro_copy" >&2
    fi
fi
"""
_TAKES_START = """\
if [ -n "$_ozrepro_copy" ] && [ "$(stat -c %u -- "$_ozrepro_copy")" = "$_ozrepro_uid" ]; then
    _ozrepro_start=$(readlink -- "$_ozrepro_copy")
    if [ "${{_ozrepro_start%/*/start}}" = {gens} ] && [ -x "$_ozrepro_start" ]; then
        case ${{1##*/}} in
            {others}) ;;
            *) set -- "$_ozrepro_start" "$@" ;;
        esac
    fi
fi
"""
# The same commands as environment.installer_in knows.
_INSTALLERS = """\
_ozrepro_adds() {{
    local folder=${{1%/*}} program=${{1##*/}} word group=
    if [ "$folder" != "$1" ] && [ -e "$folder/../pyvenv.cfg" ]; then return 1; fi
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
    case $program in {installers}) ;; *) return 1 ;; esac
    for word; do
        case ${{word%%=*}} in {placing}) return 1 ;; esac
    done
    for word; do
        case $word in
            -*) ;;
            {installing}) case "$program $group" in {elsewhere}) return 1 ;; *) return 0 ;; esac ;;
            {groups})
                case $program$group in pip* | *?!) return 1 ;; esac
                group=$word! ;;
            *) return 1 ;;
        esac
    done
    return 1
}}
if _ozrepro_adds "$@"; then
    printf 'ozrepro: %s\\n  try: %s\\n' {why} >&2
    exit 1
fi
"""
_START_IN_IMAGE = """\
{refusal}# The same places as environment.Environment shows.
for _ozrepro_name in {places}; do
    _ozrepro_place=${{!_ozrepro_name-}}
    case $_ozrepro_place/ in
        / | /tmp/* | /var/tmp/* | "${{HOME-}}"/*) ;;
        [!/]* | *[,:\\\\]*) unset -v "$_ozrepro_name" ;;
        *)
            if [ ! -e "$_ozrepro_place" ]; then
                unset -v "$_ozrepro_name"
            elif [[ ,${{{own}_BIND-}}, != *,"$_ozrepro_place",* ]]; then
                export {own}_BIND="${{{own}_BIND:+${own}_BIND,}}$_ozrepro_place"
            fi ;;
    esac
done
unset -v _ozrepro_name _ozrepro_place
# The login node that wrote this may have no GPU.
if [ -e {driver} ]; then export {own}_NV=1; elif [ -e {amd} ]; then export {own}_ROCM=1; fi
# Exported functions, such as the modules', are of the host.
unset -f $(compgen -A function)
{start}"""

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
_ozrepro_otherwise() {{
    printf 'ozrepro: %s is %s, and was %s when {name} was locked\n  try: export %s as it was, or: ozrepro lock {name}\n' \
        "$1" "$3" "$2" "$1" >&2
}}
{checks}
unset -f _ozrepro_check _ozrepro_otherwise
{asked}
for _ozrepro_name in $(compgen -e); do
    case $_ozrepro_name in
        {kept}
        *) unset -v "$_ozrepro_name" ;;
    esac
done
unset -v _ozrepro_name
{removed}
{sets}
{limits}
{start}
"""
