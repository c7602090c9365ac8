"""The nox environment class and the decorator: `nox -s NAME` through ozrepro.

nox has no registry for backends; a class put into `nox.virtualenv.ALL_VENVS` is taken as one of its own (tried on every release
since 2024.4). This module knows nothing of methods: it asks for an `Environment` and gives it to nox.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shlex
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

import nox
import nox.command
import nox.virtualenv
from nox.logger import logger

from ozrepro import Environment, OzreproError, UsageError, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ozrepro import Built

    Body = Callable[..., Any]

BACKEND = "ozrepro"
_MINOR = re.compile(r"3\.[0-9]{1,2}\Z", re.ASCII)
_OWN = ("venv_backend", "venv_params", "reuse_venv", "download_python")
_EXAMPLE = 'session.run("{launcher}", …, *session.inside("python", …))'


class _Parameters(tuple[str, ...]):
    """nox hands `venv_params` to the backend untouched: an empty tuple that carries which description is meant.

    A tuple of flags stays valid when a user forces another backend; a marker string in it would not.
    """

    root: str
    spec: str


class OzreproEnv(nox.virtualenv.VirtualEnv):
    """A session's locked environment, as nox sees it."""

    def __init__(self, location: str, *args: Any, **kwargs: Any) -> None:
        parameters = kwargs.pop("venv_params", ())
        kwargs.pop("venv_backend", None)
        if not isinstance(parameters, _Parameters):
            # A plain nox.session that names our backend, or nox.options.default_venv_backend = "ozrepro".
            logger.error("the ozrepro backend serves sessions made with @ozrepro.session")
            raise nox.command.CommandFailed("not an ozrepro session")
        # python=, -P and --extra-python choose one of the Pythons that the lock covers.
        asked = kwargs.get("interpreter")
        environ = {**os.environ, "OZREPRO_PYTHON": asked} if asked else None
        self.ours = open_session(parameters.spec, parameters.root, environ=environ)
        self.environment = Environment()
        super().__init__(location, *args, venv_backend="venv", **kwargs)
        self.env = {name: value for name, value in self.env.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")}

    @property
    def venv_backend(self) -> str:
        """The name under which nox reports this backend."""
        return BACKEND

    @property
    def bin_paths(self) -> list[str]:
        """The environment's directories for PATH."""
        return self.environment.search_path(os.environ)[0]

    @property
    def allowed_globals(self) -> tuple[str, ...]:
        """Programs outside the environment that need no `external=True`: the scheduler's and the launchers."""
        return self.environment.host_programs

    def create(self) -> bool:
        """Find the built environment, or build it from the lock; return whether it is new, as nox counts it."""
        reused = self.ours.ready() if self.reuse_existing else None
        built = reused or self._build()
        for line in built.skipped:
            logger.info(f"skipping {line}")
        self.environment, self.location = built.environment, str(built.prefix)
        inherited = self.environment.variables_for(os.environ)
        self.env.update(dict.fromkeys(self.environment.removed))
        self.env.update({name: inherited.get(name) for name in (*self.environment.variables, *self.environment.following)})
        self._reused = not built.is_new
        return built.is_new

    def _build(self) -> Built:
        last = ""

        def progress(step: str, done: int, total: int) -> None:
            nonlocal last
            if step != last:  # a step of a thousand packages is one line of a log
                logger.info(step)
            last = step

        try:
            built = self.ours.build(logger.info, progress, may_lock=True, rebuild=not self.reuse_existing)
        except OzreproError as error:
            raise failure(error) from error
        from ozrepro import renew_launchers  # a session that was built before needs none of it

        renew_launchers(self.ours.project, self.ours.name, os.environ, logger.info, is_new=built.is_new)
        return built


def failure(error: OzreproError) -> nox.command.CommandFailed:
    """Log an error and return nox's own kind of it: the session fails with status 1 and the others go on."""
    logger.error(f"ozrepro: {error}")
    return nox.command.CommandFailed(error.what)


class LockedSession(nox.Session):
    """nox's session, run in the locked environment alone: the caller's other variables and PATH do not reach its programs."""

    __slots__ = ()

    def run(self, *args: Any, env: Mapping[str, str | None] | None = None, include_outer_env: bool = True, **more: Any) -> Any:
        """Run a program as `nox.Session.run` does, in the locked environment.

        Programs are looked up in the environment and then in the base PATH, never in the caller's.
        """
        words, variables = self._locked(args, env, include_outer_env)
        return super().run(*words, env=variables, include_outer_env=False, **self._around(args, words, more))

    def run_install(
        self, *args: Any, env: Mapping[str, str | None] | None = None, include_outer_env: bool = True, **more: Any
    ) -> Any:
        """Run a preparing step as `nox.Session.run_install` does, in the locked environment."""
        words, variables = self._locked(args, env, include_outer_env)
        return super().run_install(*words, env=variables, include_outer_env=False, **self._around(args, words, more))

    def inside(self, *args: str | os.PathLike[str]) -> tuple[str, ...]:
        """Return the words that run a program in the environment, to be written after a launcher's: `srun`, `mpirun`.

        They begin with the environment's prefix where it has one, such as the container's own program.
        """
        backend = self.virtualenv
        assert isinstance(backend, OzreproEnv)
        return tuple(backend.environment.command([os.fspath(word) for word in args]))

    def _around(self, args: Sequence[Any], words: Sequence[Any], more: dict[str, Any]) -> dict[str, Any]:
        """Return nox's options for a command: one behind a prefix is logged as it was written, and so is its place judged."""
        if len(words) == len(args):
            return more
        if more.get("log", True):
            logger.info(shlex.join([os.fspath(word) for word in args]))
        backend = self.virtualenv
        assert isinstance(backend, OzreproEnv)
        if backend.environment.is_seen_outside and shutil.which(os.fspath(args[0]), path=":".join(backend.bin_paths)) is None:
            return {**more, "log": False}
        return {**more, "log": False, "external": True}

    def _locked(
        self, args: Sequence[Any], env: Mapping[str, str | None] | None, outer: bool
    ) -> tuple[Sequence[Any], dict[str, str | None]]:
        backend = self.virtualenv
        assert isinstance(backend, OzreproEnv)
        variables: dict[str, str | None] = {}
        if outer:
            variables.update(backend.environment.variables_for(os.environ))
        # nox puts bin_paths in front of it.
        variables["PATH"] = ":".join(backend.environment.search_path(os.environ)[1])
        variables.update(backend.env)
        variables.update(backend.environment.inside({**self._own(backend), **(env or {})}))
        if not args or callable(args[0]):
            return args, variables
        words = [os.fspath(word) for word in args]
        if backend.environment.is_seen_outside:
            words[0] = self._path_of(backend, words[0], variables["PATH"] or "")
        try:
            return backend.ours.argv(words, _EXAMPLE), variables
        except OzreproError as error:
            raise failure(error) from error

    def _path_of(self, backend: OzreproEnv, program: str, base: str) -> str:
        """Return a program of the environment as it is, and one of the base PATH by its path: nox looks in the first alone."""
        if os.path.dirname(program) == "":
            searched = [*backend.bin_paths, *base.split(":")]
            if shutil.which(program, path=":".join(searched)) is None:
                logger.error(
                    f"ozrepro: {program} is neither in the environment of session {self.name!r} nor in {base}\n"
                    "  try: add its package to the spec, or its directory to path = […] in [tool.ozrepro] of pyproject.toml"
                )
                raise nox.command.CommandFailed(f"{program} not found")
            if shutil.which(program, path=":".join(backend.bin_paths)) is None:
                return shutil.which(program, path=":".join(searched)) or program
        return program

    def _own(self, backend: OzreproEnv) -> dict[str, str | None]:
        """Return the variables that the session itself has set in `session.env`, and nox."""
        environment = backend.environment
        given = {*environment.variables, *environment.following, *environment.removed}
        return {name: value for name, value in backend.env.items() if name not in given}

    def install(self, *args: str, **more: Any) -> None:
        """Pass what the lock has, and refuse all else: a locked environment never changes."""
        self._refuse_lacking("session.install", args)

    def conda_install(self, *args: str, **more: Any) -> None:
        """Pass what the lock has, and refuse all else: a locked environment never changes."""
        self._refuse_lacking("session.conda_install", args)

    def _refuse_lacking(self, what: str, args: Sequence[str]) -> None:
        backend = self.virtualenv
        assert isinstance(backend, OzreproEnv)
        name = backend.ours.name
        try:
            lacking = backend.ours.lacking(args)
        except OzreproError as error:
            raise failure(error) from error
        if not lacking:
            logger.info(f"{what} {' '.join(args)}: in the lock of {name}")
            return
        image = backend.environment.is_image
        hint = f"add them to %post of the definition, then: ozrepro lock {name}" if image else f"ozrepro add {name}"
        wanted = "" if image else f" {shlex.join(lacking)}"
        raise failure(
            OzreproError(
                f"{what} cannot add to a locked environment: the lock lacks {', '.join(lacking)}",
                where=f"session {self.name!r}",
                hint=f"{hint}{wanted}",
            )
        )


@overload
def session(func: Body, /) -> Any: ...


@overload
def session(func: None = None, /, *, spec: str | None = None, **options: Any) -> Callable[[Body], Any]: ...


def session(func: Body | None = None, /, *, spec: str | None = None, **options: Any) -> Any:
    """Make a function a nox session that runs in its locked environment.

    `spec` names the description, `sessions/SPEC.toml`; without it the session's name does. All other options are
    nox.session's own (`name`, `tags`, `requires`, `default`, …; `python` of those that the lock covers) but those that choose an
    environment, which the spec does.

    Raises UsageError for such an option.
    """
    wrong = [name for name in _OWN if name in options]
    if wrong:
        raise UsageError(
            f"@ozrepro.session takes no {', '.join(wrong)}: the session's spec says it",
            hint="edit sessions/NAME.toml, or use @nox.session",
        )
    asked = options.get("python", options.get("py"))
    if asked is not None and not all(_MINOR.match(str(minor)) for minor in ([asked] if isinstance(asked, str | bool) else asked)):
        raise UsageError(
            f"@ozrepro.session(python={asked!r}) names more than minor versions of Python",
            hint='python=["3.11", "3.12"]',
        )
    if func is None:
        return functools.partial(_register, spec=spec, options=options)
    return _register(func, spec=spec, options=options)


def _register(func: Body, *, spec: str | None, options: Mapping[str, Any]) -> Any:
    plain = getattr(func, "func", func)
    module = plain.__globals__.get("__file__")
    parameters = _Parameters()
    parameters.root = os.path.dirname(os.path.realpath(module)) if module else os.getcwd()
    name = str(options.get("name") or plain.__name__)
    parameters.spec = spec or name

    @functools.wraps(plain)
    def body(session: nox.Session, *args: Any, **kwargs: Any) -> Any:
        runner = session._runner  # noqa: SLF001
        if runner.name != name:
            raise failure(
                OzreproError(
                    f"session {name!r} was called as a function, and runs only in an environment of its own",
                    where=f"session {session.name!r}",
                    hint=f'requires=["{name}"] at {session.name}, session.notify("{name}") in it, or a function for what both do',
                )
            )
        if not isinstance(session.virtualenv, OzreproEnv):
            raise failure(
                OzreproError(
                    f"runs only in its locked environment, and nox was asked to use the backend {session.venv_backend!r}",
                    where=f"session {session.name!r}",
                    hint="nox without --no-venv and --force-venv-backend",
                )
            )
        with _recorded(session, session.virtualenv):
            return plain(LockedSession(runner), *args, **kwargs)

    return nox.session(venv_backend=BACKEND, venv_params=parameters, reuse_venv=True, **options)(body)


@contextmanager
def _recorded(session: nox.Session, backend: OzreproEnv) -> Iterator[None]:
    """Keep a record of the session where the settings ask for it, and let its programs see the record's id."""
    words = ["nox", "-s", session.name, *(["--", *session.posargs] if session.posargs else [])]
    recording = backend.ours.record(words, by="nox", say=logger.warning)
    if recording is None:
        yield
        return
    backend.env.update(recording.variables)
    status: int | None = 1
    try:
        yield
        status = 0
    except KeyboardInterrupt:
        status = 130
        raise
    except Exception as error:
        if type(error).__name__ == "_SessionSkip":  # what session.skip raises, a private name of nox
            status = None
        raise
    finally:
        recording.end(status)


class _Present(dict[str, bool]):
    """Which of nox's optional tools are here, each looked for when it is asked for.

    nox 2026 looks for all of them before any session, and so starts `uv self version` before a locked one too.
    """

    def get(self, name: str, default: Any = None) -> Any:
        """Return whether the tool `name` is here; `default` for what is none of nox's optional tools."""
        return self._look(name) if name in self else default

    def __getitem__(self, name: str) -> bool:
        return self._look(name) if name in self else super().__getitem__(name)

    def _look(self, name: str) -> bool:
        if name == "uv":
            return bool(nox.virtualenv.HAS_UV)
        if name == "rattler":
            return importlib.util.find_spec("rattler") is not None
        return shutil.which(name) is not None


nox.virtualenv.ALL_VENVS[BACKEND] = OzreproEnv
if "OPTIONAL_VENVS" not in vars(nox.virtualenv):  # older releases look when they are imported
    nox.virtualenv.OPTIONAL_VENVS = _Present(dict.fromkeys(("conda", "mamba", "micromamba", "rattler", "uv"), False))
