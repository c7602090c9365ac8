"""The commands for the prompt: shell, activate."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import Environment, open_session
from ozrepro.errors import LockError, OzreproError, UsageError
from ozrepro.faststart import staged
from ozrepro.faststart.start import execute
from ozrepro.frontends import activation
from ozrepro.frontends import imageshell as inside
from ozrepro.frontends.cli.call import take_method, take_name, take_python, take_quiet
from ozrepro.frontends.jobscript import job_script
from ozrepro.frontends.launchers import renew_launchers
from ozrepro.frontends.startscript import compared
from ozrepro.project.lock import lock_file
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

    from ozrepro import Built
    from ozrepro.frontends.activation import Active
    from ozrepro.frontends.cli.call import Add, Call

_PLAIN = {"bash": ("--noprofile", "--norc"), "zsh": ("-f",), "fish": ("--no-config",)}
"""How each shell is kept from reading the user's own files, which could change what a script does."""


def register(add: Add) -> None:
    """Add the commands of this module."""
    made = add("shell", "start a shell or a program in a session's environment", shell)
    take_name(made)
    take_method(made)
    take_python(made)
    take_quiet(made)
    made.add_argument("--shell", choices=activation.SHELLS, help="this shell instead of your own")
    made.add_argument("--ipython", action="store_true", help="IPython instead of a shell")
    made.usage = (
        "ozrepro shell [-h] [--plain] [--method M] [--python 3.N] [-q] [--shell {bash,zsh,fish}] [--ipython] NAME [-- CMD …]"
    )
    made = add("activate", "print an environment for eval, or write it as a job's script", activate)
    take_name(made)
    take_method(made)
    take_python(made)
    made.add_argument("--shell", choices=activation.SHELLS, help="for this shell instead of your own")
    made.add_argument("--output", metavar="FILE", help="write a script for jobs, which needs no Python, instead")


def _find(call: Call, *, again: bool = False) -> Built:
    """Return the session built: found ready, or else built now."""
    session = open_session(call.arguments.name, call.root, method=call.arguments.method, environ=call.environ)
    built = session.ready()
    if built is None:
        with call.out.progress() as progress:
            built = session.build(call.out.say, progress)
        renew_launchers(call.root, session.name, os.environ, call.out.say, is_new=built.is_new)
    for line in () if again or call.arguments.quiet else built.skipped:
        call.out.say(f"skipping {line}")
    return built


def _activated(call: Call, built: Built) -> Active:
    return activation.active(call.arguments.name, built.environment, built.shell)


def _refuse_nested(call: Call, doing: str) -> None:
    active = os.environ.get(activation.MARK)
    if active:
        hint = "ozrepro_deactivate, or exit, first"
        raise UsageError(f"cannot {doing} {call.arguments.name!r}: {active!r} is active in this shell", hint=hint)


def activate(call: Call) -> int:
    """Print text that a shell evaluates, or write a script for jobs."""
    if call.arguments.output is not None:
        return _write_script(call, call.arguments.output)
    _refuse_nested(call, "activate")
    chosen = call.arguments.shell or activation.own_shell(os.environ)
    active = _activated(call, _find(call))
    if active.environment.is_image:
        raise UsageError(
            f"the environment of {active.name!r} is an image, which cannot be put into a shell that is already there",
            hint=f"ozrepro shell {active.name}, or: ozrepro run {active.name} -- COMMAND",
        )
    if active.environment.mount:
        raise UsageError(
            f"the environment of {active.name!r} is one file, which cannot be mounted for a shell that is already there",
            hint=f"ozrepro shell {active.name}, or: ozrepro run {active.name} -- COMMAND",
        )
    if active.environment.prefix:
        raise UsageError(
            f"programs of {active.name!r} start behind {active.environment.prefix[0]}, which a running shell cannot add",
            hint=f"ozrepro shell {active.name}, or: ozrepro run {active.name} -- COMMAND",
        )
    text = activation.activate(chosen, active, os.environ)
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    return 0


def _write_script(call: Call, output: str) -> int:
    if call.arguments.shell not in (None, "bash"):
        raise UsageError("a job's script is written for bash", hint="leave out --shell")
    found = _find(call)
    active = _activated(call, found)
    lock = lock_file(call.root, call.arguments.name)
    paths = (lock, lock.with_suffix(".toml"), *map(Path, (*found.inputs, *found.watched)))
    files = [compared(path) for path in paths if path.is_file()]
    # What was digested is what the environment was found for: an edit in between has the second look find another, or refuse.
    second = _find(call, again=True)
    if (_activated(call, second), second.method, second.watched) != (active, found.method, found.watched):
        raise LockError(f"files of {call.arguments.name} changed while the script was made", hint="the same command again")
    text = job_script(active, files)
    try:
        if Path(output).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        write_whole(Path(output), text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        hint = "--output FILE, in a folder that is there and that you may write to"
        raise OzreproError(f"cannot be written: {error.strerror}", where=output, hint=hint) from error
    call.out.line(f"{output}: the environment of {call.arguments.name} for jobs; write it again after ozrepro lock")
    return 0


def shell(call: Call) -> int:
    """Start a shell, or a program, in the session's environment and return its status."""
    _refuse_nested(call, "start a shell in")
    active = _activated(call, _find(call))
    if call.arguments.ipython and call.arguments.words:
        raise UsageError("--ipython cannot be combined with a command", hint=f"ozrepro shell {call.arguments.name} -- ipython …")
    if active.environment.is_image and not call.arguments.words:
        _start_inside(active, call)
    command = ["ipython"] if call.arguments.ipython else call.arguments.words
    if command:
        _start_program(active, command)
    chosen = call.arguments.shell or activation.own_shell(os.environ)
    program = shutil.which(chosen, path=os.environ.get("PATH")) or shutil.which(chosen)
    if program is None:
        raise OzreproError(f"{chosen} is not installed here", hint=f"ozrepro shell {call.arguments.name} --shell bash")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        _start_program(active, [program, *_PLAIN[chosen]])  # commands come from a file or a pipe, and there is no prompt
    return _interact(active, chosen, program)


def _start_inside(active: Active, call: Call) -> NoReturn:
    """Become a shell, or IPython, in an image: nothing on the host is left that could change its environment."""
    at_prompt = sys.stdin.isatty() and sys.stdout.isatty()
    words = inside.shell_words(active.name, call.arguments.shell or "", at_prompt=at_prompt)
    if call.arguments.ipython:
        words = inside.ipython_words(active.name)
    table = active.environment.as_dict()
    table["passed"] += inside.OF_A_TERMINAL
    table["variables"] |= {activation.MARK: active.name}
    execute(Environment(**table), words, active.name)


def _start_program(active: Active, command: list[str]) -> NoReturn:
    path = active.environment.variables_for(os.environ)["PATH"]
    if command == ["ipython"] and active.environment.is_seen_outside and shutil.which("ipython", path=path) is None:
        hint = f'add "ipython" to requirements in sessions/{active.name}.toml, then: ozrepro lock {active.name}'
        raise OzreproError("IPython is not in the environment", where=f"session {active.name!r}", hint=hint)
    execute(active.environment, command, active.name)


def _interact(active: Active, chosen: str, program: str) -> int:
    """Hold a shell on a terminal of its own until it ends; its files are gone before this returns."""
    import pexpect

    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        words, more = _prepare(Path(name), active, chosen)
        size = os.get_terminal_size(sys.stdin.fileno())
        # The user's own files are read in the caller's environment, as they expect; the session's is set after them.
        command, _ = staged.started(active.environment, [program, *words], os.environ)
        child = pexpect.spawn(
            command[0],
            command[1:],
            env={**os.environ, **more},
            dimensions=(size.lines, size.columns),
            timeout=None,
            encoding=None,
            preexec_fn=_restore_signals,
        )
        child.delaybeforesend = None

        def resize(_number: int, _frame: FrameType | None) -> None:
            now = os.get_terminal_size(sys.stdin.fileno())
            if not child.closed:
                child.setwinsize(now.lines, now.columns)

        def hang_up(number: int, _frame: FrameType | None) -> None:
            raise SystemExit(128 + number)  # the terminal is gone: the folder is removed on the way out

        signal.signal(signal.SIGWINCH, resize)
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, hang_up)
        try:
            child.interact(escape_character=None)
            _drain(child.child_fd)
        finally:
            child.close(force=True)
    return child.exitstatus if child.exitstatus is not None else 128 + (child.signalstatus or 0)


def _drain(descriptor: int) -> None:
    """Pass on what a shell printed right before it ended: pexpect looks whether it lives before it reads."""
    with suppress(OSError):  # a terminal whose other side is closed ends with EIO
        while block := os.read(descriptor, 1 << 16):
            os.write(sys.stdout.fileno(), block)


def _restore_signals() -> None:
    # Python ignores them, and what is ignored stays ignored in the shell and all that it starts.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _prepare(folder: Path, active: Active, chosen: str) -> tuple[list[str], dict[str, str]]:
    """Write what the shell reads after the user's own files; return the shell's arguments and variables."""
    text = activation.start_lines(chosen, active, os.environ, _init_file(chosen))
    lines = folder / "lines"
    lines.write_bytes(text.encode("utf-8", "surrogateescape"))
    own = activation.quote(chosen, str(lines))
    if chosen == "fish":
        return ["--init-command", f"source {own}"], {}
    if chosen == "zsh":
        # zsh reads its files from ZDOTDIR: each of the user's is read there, ours last.
        home = os.environ.get("ZDOTDIR") or os.environ.get("HOME", "/")
        for file in (".zshenv", ".zprofile", ".zshrc", ".zlogin"):
            theirs = activation.quote("zsh", os.path.join(home, file))
            again = f"ZDOTDIR={activation.quote('zsh', str(folder))}"
            read = f"ZDOTDIR={activation.quote('zsh', home)}; [ -r {theirs} ] && . {theirs}; {again}"
            (folder / file).write_text(
                f"{read}\n" + (f"ZDOTDIR={activation.quote('zsh', home)}; . {own}\n" if file == ".zshrc" else "")
            )
        return ["-i"], {"ZDOTDIR": str(folder)}
    rc = folder / "rc"
    theirs = '[ -r /etc/bash.bashrc ] && . /etc/bash.bashrc; [ -r "$HOME/.bashrc" ] && . "$HOME/.bashrc"'
    rc.write_text(f"{theirs}\n. {own}\n")
    return ["--rcfile", str(rc), "-i"], {}


def _init_file(chosen: str) -> str:
    """Return the module tool's file for a shell, by which it gets `module`; "" where there is none, or others may write it."""
    from ozrepro.modulesystem import tools

    system = tools.find(os.environ, os.environ.get("OZREPRO_MODULE_TOOL", ""))
    if system is None:
        return ""
    path = Path(system.init_file(chosen))
    try:
        found = path.stat()
    except OSError:
        return ""
    return str(path) if stat.S_ISREG(found.st_mode) and not found.st_mode & 0o002 else ""
