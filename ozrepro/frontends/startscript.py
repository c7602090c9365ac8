"""What the scripts that start a session without Python have in common: what they compare, and the variables they set.

Words of the POSIX shell, which bash and dash read alike. Pure functions over values, but for `compared`, which looks at files.
Every value is quoted; nothing of it is ever expanded.
"""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro import environment as rules
from ozrepro.faststart.ready import AMD, DRIVER
from ozrepro.frontends.activation import OF_THE_SHELL, VARIABLE
from ozrepro.store.manifest import digest_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from os import stat_result
    from pathlib import Path

    from ozrepro.environment import Cases, Environment

LARGE = 1 << 20
"""Bytes of a file that is read to be compared; of a larger one, such as an image, size and time are."""

_TICK = 20_000_000
"""Nanoseconds within which a second change may leave the same time: two ticks of a kernel of 100 Hz."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A file or folder as it was when a script was written.

    Attributes:
        path: where it is.
        stamp: what a look at it gives: size, times of the last change of content and of anything, and inode. "" where a change at
            the same moment could have left it so.
        proof: `sha256`, or the format by which `stat` tells what may not differ where the stamp does: another node's copy of a
            module's file has another inode.
        value: the digest, or what `stat` tells.

    """

    path: str
    stamp: str
    proof: str
    value: str


def compared(path: Path, largest: int = LARGE) -> Compared:
    """Return a file as it is now. Raises OSError."""
    state = _settled(path)
    if state.st_size > largest:
        return Compared(str(path), _stamp(state), "%s %Y", f"{state.st_size} {state.st_mtime_ns // 10**9}")
    return Compared(str(path), _stamp(state), "sha256", digest_file(path))


def compared_folder(path: Path) -> Compared:
    """Return a folder as it is now, by what no copy can bring along. Raises OSError."""
    state = _settled(path)
    return Compared(str(path), _stamp(state), "%i %.9Z", f"{state.st_ino} {_seconds(state.st_ctime_ns)}")


def _settled(path: Path) -> stat_result:
    """Return the state of a file or folder once a later change would leave another time. Raises OSError.

    What a build has just published is younger than a tick: without a stamp, each start of a script would read all files.
    """
    state = path.stat()
    left = _TICK - (time.time_ns() - state.st_ctime_ns)
    if 0 < left <= _TICK:  # more is another machine's clock
        time.sleep(left / 10**9)
        state = path.stat()
    return state


def _stamp(state: stat_result) -> str:
    """Return what `stat -c '%s %.9Y %i %.9Z'` tells of a file, "" where it has changed just now."""
    coarse = state.st_ctime_ns % 10**9 == 0  # a file system that notes whole seconds
    if time.time_ns() - state.st_ctime_ns < (2 * 10**9 if coarse else _TICK):
        return ""
    return f"{state.st_size} {_seconds(state.st_mtime_ns)} {state.st_ino} {_seconds(state.st_ctime_ns)}"


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def check_lines(name: str, files: Iterable[Compared], environment: Environment, *, changed: str, remedy: str) -> str:
    """Return the lines that refuse to start session `name` where a file, or what it expects of its caller, is otherwise.

    Args:
        name: the session's name.
        files: what is compared: all at once by their stamps, and each by its proof where these differ.
        environment: what is started.
        changed: the words behind the name of a file that has changed, which begin with "has changed".
        remedy: the words of the shell that say what to do about it.

    """
    listed = list(files)
    each = "\n".join(
        f"    _ozrepro_check {shlex.quote(item.proof)} {shlex.quote(item.value)} {shlex.quote(item.path)} || {REFUSE}"
        for item in listed
    )
    words = " ".join(shlex.quote(item.path) for item in listed)
    stamps = shlex.quote("\n".join(item.stamp for item in listed))
    looked = f'if [ "$(_ozrepro_stamps {words})" != {stamps} ]; then\n{each}\nfi' if listed else ":"
    checks = "\n".join((looked, *_expected(environment.expected)))
    removed = changed.replace("has changed", "was removed")
    return _CHECKS.format(name=name, changed=changed, removed=removed, remedy=remedy, checks=checks)


def asked_lines(environment: Environment) -> str:
    """Return the lines that take from the caller's variables, before these are unset, what those of the environment follow."""
    return "\n".join((_path_lines(environment), *(_chosen(name, cases) for name, cases in _following(environment).items())))


def set_lines(environment: Environment, more: Mapping[str, str]) -> str:
    """Return the lines that set and unset the variables of the environment, and set `more`."""
    following = _following(environment)
    fixed = {**environment.variables_for({}), **more}
    names = [name for name in sorted(fixed) if VARIABLE.match(name) and name not in following]
    lines = [f"unset -v {name}" for name in environment.removed if VARIABLE.match(name)]
    lines += [f"export {name}={shlex.quote(fixed[name])}" for name in names if name != "PATH"]
    lines += [_HAND_OVER.format(name=name) for name in ("PATH", *following)]
    return "\n".join(lines)


def _following(environment: Environment) -> dict[str, Cases]:
    return {name: cases for name, cases in sorted(environment.following.items()) if VARIABLE.match(name)}


def image_lines(environment: Environment) -> str:
    """Return the lines that let an image see what the job's variables name, or do not name it, and ask for the GPU here."""
    own = environment.container_env_prefix.removesuffix("ENV_")
    shown = "\n".join(f'_ozrepro_show {name} "${{{name}-}}"' for name in rules.PLACES)
    return _IN_IMAGE.format(own=own, driver=DRIVER, amd=AMD, shown=shown)


def refusal_lines(name: str, environment: Environment) -> str:
    """Return the lines that refuse an installer, by the rules of `environment.Environment.refused`."""
    elsewhere = (f'"{word}!"' if " " in word else f'"{word} "' for word in rules.OF_A_PROJECT)
    return _INSTALLERS.format(
        installers=" | ".join(("pip[0-9]*", *rules.INSTALLERS)),
        placing=" | ".join(rules.PLACING),
        installing=" | ".join(rules.INSTALLING),
        elsewhere="never" if environment.is_image else " | ".join(elsewhere),
        groups=" | ".join(rules.INSTALLER_GROUPS),
        why=shlex.join(no_packages(name, environment)),
    )


def start_lines_of_copy(environment: Environment) -> str:
    """Return the lines that put what starts a tree from the job's copy in front of a command, by `faststart.staged`."""
    if not environment.generation:
        return ""
    taken = _TAKES_START.format(gens=shlex.quote(os.path.dirname(environment.generation)), others=" | ".join(rules.HOST_PROGRAMS))
    return f"{_copy(environment, '.start')}{taken}"


def image_lines_of_copy(environment: Environment) -> str:
    """Return the lines that say which image is started: the one that ends the prefix, or the job's copy of it."""
    if not (environment.is_image and environment.generation):
        return ""
    image = environment.prefix[-1]
    return _copy(environment, os.path.splitext(image)[1]) + _TAKES_IMAGE.format(image=shlex.quote(image))


def _copy(environment: Environment, suffix: str) -> str:
    name = shlex.quote(f"{os.path.basename(environment.generation)}{suffix}")
    return _COPY.format(name=name)


def no_packages(name: str, environment: Environment) -> tuple[str, str]:
    """Return why nothing is installed into the environment of session `name`, and what to do instead."""
    if environment.is_image:
        what = "an image is read-only: packages would land in ~/.local of this machine"
        return what, f"add them to what the image is made of, then: ozrepro lock {name}"
    return "packages cannot be added to a locked environment", f"ozrepro add {name} PKG"


def kept_branches(passed: Iterable[str]) -> Iterable[str]:
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
        lines.append(f'{{ {test}; }} || {{ {words}"${{{name}-not set}}"; {REFUSE}; }}')
    return lines


_HAND_OVER = """\
case ${{_ozrepro_s_{name}-}} in
    -) export {name}="$_ozrepro_v_{name}" ;;
    x) unset -v {name} ;;
esac
unset -v _ozrepro_s_{name} _ozrepro_v_{name}"""
REFUSE = "{ case $- in *i*) return 3 ;; *) exit 3 ;; esac; }"
"""A job's script that goes on would run in another environment; a prompt must stay."""

# The same commands as environment.installer_in knows.
_INSTALLERS = """\
_ozrepro_adds() {{
    local folder="${{1%/*}}" program="${{1##*/}}" word group=
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

# The name of the copy on the node, as `faststart.staged` gives it; "" outside of a job, and where there is none.
_COPY = """\
_ozrepro_copy=${{SLURM_JOB_ID:+$SLURM_JOB_ID.${{SLURM_RESTART_COUNT-}}}}
_ozrepro_copy=${{_ozrepro_copy:-${{PBS_JOBID:-${{LSB_JOBID:-${{FLUX_JOB_ID-}}}}}}}}
if [ -n "$_ozrepro_copy" ]; then
    while :; do
        case $_ozrepro_copy in
            *[!A-Za-z0-9._]*) _ozrepro_copy=${{_ozrepro_copy%%[!A-Za-z0-9._]*}}_${{_ozrepro_copy#*[!A-Za-z0-9._]}} ;;
            *) break ;;
        esac
    done
    while read -r _ozrepro_word _ozrepro_uid _ozrepro_uid _ozrepro_rest && [ "$_ozrepro_word" != Uid: ]; do
        :
    done </proc/self/status
    _ozrepro_copy=${{JOBFS:-${{PBS_JOBFS:-${{TMPDIR:-/tmp}}}}}}/ozrepro-$_ozrepro_uid-$_ozrepro_copy-{name}
    if ! [ -e "$_ozrepro_copy" -o -L "$_ozrepro_copy" ]; then _ozrepro_copy=; fi
fi
"""
_TAKES_IMAGE = """\
_ozrepro_image={image}
if [ -n "$_ozrepro_copy" ]; then
    if [ "$(stat -c '%f %u %h %s %.9Y' -- "$_ozrepro_copy")" = "8100 $_ozrepro_uid 1 $(stat -L -c '%s %.9Y' -- {image})" ]; then
        _ozrepro_image=$_ozrepro_copy
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

_IN_IMAGE = """\
# The same places as environment.Environment shows.
_ozrepro_show() {{
    case $2/ in
        / | /tmp/* | /var/tmp/* | "${{HOME:-/tmp}}"/*) ;;
        [!/]* | *[,:\\\\]*) unset -v "$1" ;;
        *)
            if [ ! -e "$2" ]; then
                unset -v "$1"
            else
                case ,${{{own}_BIND-}}, in
                    *,"$2",*) ;;
                    *) export {own}_BIND="${{{own}_BIND:+${own}_BIND,}}$2" ;;
                esac
            fi ;;
    esac
}}
{shown}
# The login node that wrote this may have no GPU.
if [ -e {driver} ]; then export {own}_NV=1; elif [ -e {amd} ]; then export {own}_ROCM=1; fi
"""

# All files are looked at by one program, which takes no library of the caller's modules and reads no files of a locale.
_CHECKS = """\
_ozrepro_stamps() (
    unset -v LD_LIBRARY_PATH LD_PRELOAD LD_AUDIT
    export PATH=/usr/bin:/bin LC_ALL=C
    exec stat -L -c '%s %.9Y %i %.9Z' -- "$@" 2>/dev/null
)
_ozrepro_check() {{
    local actual how
    case $1 in
        sha256) actual=$(sha256sum 2>/dev/null < "$3") actual=${{actual%%  -*}} ;;
        *) actual=$(stat -L -c "$1" -- "$3" 2>/dev/null) ;;
    esac
    if [ "$actual" != "$2" ]; then
        if [ -e "$3" ]; then how='{changed}'; else how='{removed}'; fi
        printf 'ozrepro: %s %s\\n  try: %s\\n' "$3" "$how" {remedy} >&2
        return 1
    fi
}}
_ozrepro_otherwise() {{
    printf 'ozrepro: %s is %s, and was %s when {name} was locked\\n  try: export %s as it was, or: ozrepro lock {name}\\n' \\
        "$1" "$3" "$2" "$1" >&2
}}
{checks}
unset -f _ozrepro_stamps _ozrepro_check _ozrepro_otherwise"""
