"""The value that says how to run a program in a session's environment.

Hand-written instead of a dataclass: this module is on the warm path, and importing `dataclasses` costs 247 path-taking
system calls (it loads `inspect`), a fifth of a second on a busy Lustre.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar

    Case = tuple[tuple[str, ...], tuple[str, ...] | None]
    Cases = tuple[Case, ...]

BASE_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where a locked run looks for programs after the environment's own directories, whatever the caller's PATH is."""

INHERITED = frozenset(
    (
        *("HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TZ", "TMPDIR"),
        *("DISPLAY", "XAUTHORITY", "KRB5CCNAME", "SSH_AUTH_SOCK", "X509_CERT_DIR", "X509_USER_PROXY", "XDG_RUNTIME_DIR"),
        *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("JOBFS", "NCPUS", "LS_JOBPID", "LS_SUBCWD"),
        *("JOB_ID", "JOB_NAME", "NHOSTS", "NQUEUES", "NSLOTS", "PE", "PE_HOSTFILE", "QUEUE", "RESTARTED"),
        *("MPI_LOCALNRANKS", "MPI_LOCALRANKID", "OMPI_UNIVERSE_SIZE", "PMIX_VERSION", "I_MPI_PMI_LIBRARY"),
        *("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("CUDA_CACHE_PATH", "GPU_DEVICE_ORDINAL", "HSA_XNACK", "ONEAPI_DEVICE_SELECTOR"),
        *("ZE_AFFINITY_MASK", "ZE_ENABLE_PCI_ID_DEVICE_ORDER", "ZE_FLAT_DEVICE_HIERARCHY"),
        *("MKL_DYNAMIC", "NUMEXPR_MAX_THREADS", "VECLIB_MAXIMUM_THREADS", "LM_LICENSE_FILE", "JUPYTER_RUNTIME_DIR"),
    )
)
"""The caller's variables that a locked run keeps (design.md, "What a program inherits")."""

INHERITED_ENDINGS = ("_LICENSE_FILE", "_NUM_THREADS")
"""Ends of names that are kept: licence servers, and how many threads a job gives to a library."""
INHERITED_PREFIXES = (
    *("LC_", "SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "PBS_", "LSB_", "LSF_", "SGE_", "FLUX_", "COBALT_"),
    *("PMI_", "PMI2_", "PALS_", "JSM_", "OMPI_COMM_WORLD_", "SUBMITIT_", "JPY_", "OZREPRO_"),
)
"""Beginnings of names that are kept: what a scheduler and a launcher tell their jobs, ranks and kernels, and our own settings."""

TUNED_PREFIXES = (
    *("CUDA_", "NVIDIA_", "ROCR_", "HIP_", "OMP_", "KMP_", "GOMP_", "DASK_"),
    *("UCX_", "FI_", "NCCL_", "PMIX_", "OMPI_MCA_", "PRTE_MCA_", "MPICH_", "MPIR_CVAR_", "MV2_", "MVP_", "I_MPI_"),
)
"""Beginnings of names by which a job tunes a library: kept unless the end says that they tell where one lies, or load code."""

KEPT_OUT_ENDINGS = (
    *("_HOME", "_ROOT", "_BASE", "_DIR", "_PATH", "_VERSION", "_LIBRARY", "_LIBRARIES", "_PLUGIN", "_PLUGINS", "_PRELOAD"),
    *("_COMMAND", "_EXEC", "_GTOOL", "_CC", "_CXX", "_FC", "_F77", "_F90"),
    *("_component_path", "_param_files", "_env_list", "_agent"),
)
"""Ends of names that a loaded module leaves (`CUDA_HOME`), or that load a library or start a program (`NCCL_NET_PLUGIN`)."""

KEPT_OUT_PREFIXES = (
    *("SLURM_TASK_PROLOG", "SLURM_TASK_EPILOG", "SLURM_PROLOG", "SLURM_EPILOG", "LSF_JOB_STARTER", "OZREPRO_RECORD_ID"),
    *("FLUX_EXEC_PATH", "FLUX_MODULE_PATH", "FLUX_CONNECTOR_PATH", "FLUX_PYTHONPATH", "FLUX_LUA"),
)
"""The same among the names of schedulers, each with what may follow; and the record's id, which is of one session alone."""

PLACES = (
    *("TMPDIR", "JOBFS", "PBS_JOBFS", "PBS_NODEFILE", "PE_HOSTFILE", "LSB_DJOB_HOSTFILE", "CUDA_MPS_PIPE_DIRECTORY"),
    *("XAUTHORITY", "XDG_RUNTIME_DIR", "JUPYTER_RUNTIME_DIR", "SSH_AUTH_SOCK", "X509_CERT_DIR", "X509_USER_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
"""Those of them that name a file or folder, which an image has to be shown."""


def is_inherited(name: str) -> bool:
    """Say whether a locked run keeps the caller's variable `name`."""
    if name in INHERITED or name.endswith(INHERITED_ENDINGS):
        return True
    if name.startswith(INHERITED_PREFIXES):
        return not name.startswith(KEPT_OUT_PREFIXES)
    return name.startswith(TUNED_PREFIXES) and not name.endswith(KEPT_OUT_ENDINGS)


SAYS_WHERE = ("OZREPRO_SESSION", "OZREPRO_METHOD", "OZREPRO_KEY")
"""What a program in a session sees of where it is: the session, its method, and the environment's name in the store."""

RECORD = "OZREPRO_RECORD"
"""Names where records of runs are kept; all variables that begin so are of records, and change no environment."""
_GIVEN = "_OZREPRO_METHOD"
"""The value of OZREPRO_METHOD that only says so, a colon, and what the caller had asked for by it."""


def asked_method(caller: Mapping[str, str]) -> str:
    """Return the method that OZREPRO_METHOD asks for, "" where it only says which one the session has that the caller runs in."""
    said = caller.get("OZREPRO_METHOD", "")
    given, _, asked = caller.get(_GIVEN, "").partition(":")
    return asked if given and said == given else said


def says_where(session: str, method: str, key: str) -> dict[str, str]:
    """Return the variables by which a program sees where it is."""
    return {**dict(zip(SAYS_WHERE, (session, method, key), strict=True)), _GIVEN: f"{method}:"}


def passing(names: Iterable[str]) -> Callable[[str], bool]:
    """Return the test whether a name is let through by `pass`, where `UCX_*` stands for all that begin with `UCX_`."""
    listed = frozenset(names)
    beginnings = tuple(name[:-1] for name in listed if name.endswith("*"))
    return lambda name: name in listed or name.startswith(beginnings)


def joined_by(name: str, parts: Iterable[str]) -> Cases:
    """Return the cases of a value whose parts are joined by one variable of the caller, such as HOME."""
    words: list[str] = []
    for part in parts:
        words += (name, part) if words else (part,)
    return (((), tuple(words)),)


def chosen(cases: Iterable[Case], caller: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return what the first case says whose variables the caller has; () where there is none.

    A name with `:` behind it stands for a variable that is set and not empty.
    """
    for names, parts in cases:
        if all(bool(caller.get(name[:-1])) if name.endswith(":") else name in caller for name in names):
            return parts
    return ()


def filled(parts: Iterable[str], caller: Mapping[str, str]) -> str:
    """Return the text of parts: every second one is the name of a variable of the caller, "" where it is not set."""
    return "".join(caller.get(part, "") if place % 2 else part for place, part in enumerate(parts))


LAUNCHERS = ("mpiexec", "mpirun", "srun")
"""Programs that start what they are given, once or many times, on this node or others."""

HOST_PROGRAMS = (*LAUNCHERS, "apptainer", "sbatch", "scancel", "singularity", "squeue")
"""Programs of the machine: they start beside an environment's prefix, not behind it, and so outside an image."""


class Environment:
    """How to run a program: directories for PATH, variables set and unset, a command prefix.

    Attributes:
        path: directories in front of the base PATH, first wins; cases stand for entries that follow the caller's variables.
        base: the base PATH; modules may put directories behind it or take one from it.
        variables: variables to set.
        following: variables that follow the caller's: by cases (see `chosen`), each with the parts of the value (see `filled`),
            None for one that is unset and () for one that is left as it is.
        expected: variables of the caller that must be as they were when this was locked: their value, True for one that must
            be set, None for one that must not.
        removed: variables to unset even if the caller's would be kept.
        prefix: words in front of every command, such as `apptainer exec IMAGE`.
        mount: the program that starts a command, and all that it starts, with the environment's file mounted; "" for a tree.
        generation: its folder in the store, by whose name a job knows a copy on the node; "" where it has none.
        mount_text: its text, a script of bash, with what it would read beside itself; "" where that is not known.
        passed: names of further variables of the caller that are kept; `UCX_*` stands for all that begin so.
        container_env_prefix: of an image, what goes in front of a variable's name so that it is set inside; "" for all else.
        host_programs: names of the programs of the machine, which `started` puts beside the prefix; of every environment.

    """

    host_programs: ClassVar[tuple[str, ...]] = HOST_PROGRAMS

    __slots__ = (
        "base",
        "container_env_prefix",
        "expected",
        "following",
        "generation",
        "mount",
        "mount_text",
        "passed",
        "path",
        "prefix",
        "removed",
        "variables",
    )

    path: tuple[str | Cases, ...]
    base: tuple[str | Cases, ...]
    variables: Mapping[str, str]
    following: Mapping[str, Cases]
    expected: Mapping[str, str | bool | None]
    removed: tuple[str, ...]
    prefix: tuple[str, ...]
    mount: str
    generation: str
    mount_text: str
    passed: tuple[str, ...]
    container_env_prefix: str

    def __init__(
        self,
        *,
        path: Iterable[str | Cases] = (),
        base: Iterable[str | Cases] = BASE_PATH,
        variables: Mapping[str, str] | None = None,
        following: Mapping[str, Cases] | None = None,
        expected: Mapping[str, str | bool | None] | None = None,
        removed: Iterable[str] = (),
        prefix: Iterable[str] = (),
        mount: str = "",
        generation: str = "",
        mount_text: str = "",
        passed: Iterable[str] = (),
        container_env_prefix: str = "",
    ) -> None:
        for name, value in (
            *(("path", tuple(map(_frozen, path))), ("base", tuple(map(_frozen, base)))),
            ("variables", dict(variables or {})),
            ("following", {name: _frozen(cases) for name, cases in (following or {}).items()}),
            ("expected", dict(expected or {})),
            ("removed", tuple(removed)),
            ("prefix", tuple(prefix)),
            ("mount", mount),
            ("generation", generation),
            ("mount_text", mount_text),
            ("passed", tuple(passed)),
            ("container_env_prefix", container_env_prefix),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Environment is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Environment is immutable: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Environment) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        values = (frozenset(table.items()) for table in (self.variables, self.following, self.expected))
        mount = (self.mount, self.mount_text, self.generation)
        rest = (self.removed, self.prefix, *mount, self.passed, self.container_env_prefix)
        return hash((self.path, self.base, *values, *rest))

    def __repr__(self) -> str:
        return f"Environment({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"

    @property
    def is_image(self) -> bool:
        """Whether programs run in an image, which has files and programs of its own."""
        return bool(self.container_env_prefix)

    @property
    def is_seen_outside(self) -> bool:
        """Whether its programs can be looked up by this process: not those of an image, nor of a file that is mounted later."""
        return not (self.container_env_prefix or self.mount)

    def search_path(self, caller: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """Return the directories of PATH for a caller: the environment's own, and those of the base, which come after."""
        return list(entries(self.path, caller)), list(entries(self.base, caller))

    def variables_for(self, caller: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment of a program: what is kept of `caller`, the base PATH, then the changes."""
        is_passed = passing(self.passed)
        kept = {name: value for name, value in caller.items() if is_inherited(name) or is_passed(name)}
        for name in self.removed:
            kept.pop(name, None)
        kept["PATH"] = ":".join(folder for folders in self.search_path(caller) for folder in folders)
        kept.update(self.variables)
        if _GIVEN in self.variables:
            kept[_GIVEN] += asked_method(caller)
        for name, cases in self.following.items():
            parts = chosen(cases, caller)
            if parts:
                kept[name] = filled(parts, caller)
            elif parts is None:
                kept.pop(name, None)
        if self.is_image:
            self._show_places(kept)
        return kept

    def unexpected(self, caller: Mapping[str, str]) -> list[str]:
        """Return those of `expected` that are otherwise in the caller's environment."""
        return [
            name for name, value in self.expected.items() if (name not in caller if value is True else caller.get(name) != value)
        ]

    def _show_places(self, kept: dict[str, str]) -> None:
        """Let an image see what PLACES name, or do not name it: of the host, Apptainer shows /tmp and the home alone."""
        seen = ("/tmp/", "/var/tmp/", f"{kept.get('HOME', '').rstrip('/') or '/tmp'}/")  # noqa: S108
        binds = f"{self.container_env_prefix.removesuffix('ENV_')}_BIND"
        for name in PLACES:
            place = kept.get(name, "")
            if not place or f"{place}/".startswith(seen):
                continue
            if place.startswith("/") and not set(place) & set(",:\\") and os.path.exists(place):
                bound = list(filter(None, kept.get(binds, "").split(",")))
                if place not in bound:  # a second time, Apptainer would warn at each start
                    kept[binds] = ",".join((*bound, place))
            else:
                del kept[name]

    def inside(self, variables: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return variables that a program is started with so that it sees them: an image sets its own over plain ones.

        HOME cannot be set so: Apptainer refuses it.
        """
        if not self.is_image:
            return dict(variables)
        beginning = self.container_env_prefix
        return {name if value is None or name == "HOME" else f"{beginning}{name}": value for name, value in variables.items()}

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the words that run `argv` in this environment, whatever it is."""
        return [*((self.mount,) if self.mount else ()), *self.prefix, *argv]

    def started(self, argv: Sequence[str]) -> list[str]:
        """Return the words that start a command line as written: as `command`, but without a mount `host_programs` alone."""
        return list(argv) if _program(argv) in self.host_programs and not self.mount else self.command(argv)

    def refused(self, argv: Sequence[str]) -> str:
        """Return the words for which a command line is not started here, "" for one that is.

        A launcher would start its program without the prefix, unless the prefix is among what it is given; an installer would
        change what is locked, or cannot. Behind a mount only srun would: it is Slurm's daemon that starts its program.
        """
        program, before = _program(argv), tuple(self.command(()))
        if before and program in (("srun",) if self.mount else LAUNCHERS):
            behind = any(tuple(argv[place : place + len(before)]) == before for place in range(len(argv)))
            return "" if behind else program
        words = installer_in(argv)
        return words if self.is_image or words.rpartition(" ")[0] not in OF_A_PROJECT else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the value as JSON can hold it."""
        return {name: _thawed(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Environment:
        """Return the value that `as_dict` wrote. Raises KeyError where a field is missing."""
        return cls(**{name: table[name] for name in cls.__slots__})


def _program(argv: Sequence[str]) -> str:
    return argv[0].rpartition("/")[2] if argv else ""


def entries(listed: Iterable[str | Cases], caller: Mapping[str, str]) -> Iterator[str]:
    """Yield the entries of a PATH for a caller."""
    for entry in listed:
        text = entry if isinstance(entry, str) else filled(chosen(entry, caller) or (), caller)
        if text:
            yield text


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _thawed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _thawed(item) for name, item in value.items()}
    return list(map(_thawed, value)) if isinstance(value, (list, tuple)) else value


INSTALLERS = ("pip", "uv", "conda", "mamba", "micromamba")
INSTALLING = ("install", "add", "sync", "update", "upgrade")
INSTALLER_GROUPS = ("pip", "env", "tool", "python", "self")
"""Words of uv and conda in front of what is to be done: `uv pip install`, `uv tool install`, `conda env update`."""
OF_A_PROJECT = ("uv", "uv tool", "uv python", "uv self")
"""What of uv changes something else than the environment around it."""

PLACING = ("-t", "--target", "--prefix", "--root", "-p", "--python", "-n", "--name", "--dry-run")
"""Options that name another place than the environment around the installer, or nothing to be changed."""


def installer_in(argv: Sequence[str]) -> str:
    """Return the words of a command that would install packages around it, such as `pip install`, or "" for any other command.

    Known are pip and its versioned names, `python -m pip` also behind options of Python, uv, conda, mamba and micromamba; not
    one that names another place, nor one of a virtual environment of the user's.
    """
    words = list(argv)
    if not words:
        return ""
    folder, _, program = words[0].rpartition("/")
    if program.startswith("python"):
        options = 1
        while options < len(words) and words[options].startswith("-") and words[options] != "-m":
            options += 2 if words[options] in ("-W", "-X") else 1
        if words[options : options + 1] != ["-m"]:
            return ""
        words = words[options + 1 :]
        program = words[0] if words else ""
    name = program.rstrip("0123456789.")
    said = [word for word in words[1:] if not word.startswith("-")]
    group = said[:1] if name != "pip" and said[:1] and said[0] in INSTALLER_GROUPS else []
    verb = said[len(group) : len(group) + 1]
    if name not in INSTALLERS or not verb or verb[0] not in INSTALLING:
        return ""
    placed = any(word.partition("=")[0] in PLACING for word in words[1:])
    if placed or (folder and os.path.exists(f"{folder}/../pyvenv.cfg")):
        return ""
    return " ".join((program, *group, *verb))
