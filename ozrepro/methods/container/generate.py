"""Writes definitions: an image with exactly the wheels, or exactly the conda packages, that a lock names.

Pure functions. What they write is plain Apptainer with public addresses, so that it builds without ozrepro too.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PREFIX = "/opt/session"
"""Where the environment stands in an image."""

PYTHON_BASE = "docker.io/library/python:{minor}-slim"
"""Docker's official image of a Python minor: its `python3` has pip and venv."""

CONDA_BASE = "docker.io/mambaorg/micromamba:2"
"""The image of micromamba's own project."""

_EXACTLY = "--no-cache-dir --no-deps --require-hashes --only-binary :all:"

_RATTLER = (
    "import asyncio, hashlib, os, shutil, sys, tempfile, urllib.request",
    "import rattler",
    "from rattler.package_streaming import extract",
    "work, records = tempfile.mkdtemp(), []",
    "for line in open(sys.argv[1]):",
    "    url, mark, digest = line.strip().partition('#sha256:')",
    "    if mark:",
    "        file = os.path.join(work, url.rpartition('/')[2])",
    "        urllib.request.urlretrieve(url, file)",
    "        if hashlib.sha256(open(file, 'rb').read()).hexdigest() != digest:",
    "            sys.exit(url + ': has another sha256')",
    "        extract(file, file + '.d')",
    "        index = os.path.join(file + '.d', 'info', 'index.json')",
    "        size = os.path.getsize(file)",
    "        record = rattler.PackageRecord.from_index_json(index, size=size, sha256=digest)",
    "        records.append(rattler.RepoDataRecord(record, os.path.basename(file), 'file://' + file, url.rsplit('/', 2)[0]))",
    "asyncio.run(rattler.install(records, sys.argv[2], cache_dir=os.path.join(work, 'cache'), show_progress=False))",
    "shutil.rmtree(work)",
    "sys.stdout.flush()",
    "os._exit(0)",
)
"""Installs an explicit file by py-rattler, for a base that has it and no conda tool; the file's hashes are checked first."""

_CHANNEL = re.compile(r"(https://[^\s#]+?)/((?:noarch|linux|osx)[^/\s#]*/[^/\s#]+(?:#\S+)?)\s*\Z")


_MADE, _KEPT = "# Made by ozrepro from ", ": change the lock, not this text."
_SOURCING = f"for _script in {PREFIX}/etc/conda/activate.d/*.sh; do"
_TAB = "'\"$(printf '\\t')\"'"
"""A tab inside quotes: a lock's lines hold none."""

_TITLE = re.compile(re.escape(_MADE) + r"[A-Za-z0-9_./ -]+" + re.escape(_KEPT) + r"\Z", re.ASCII)
_BEGUN = re.compile(rf"cat > ({PREFIX}\.[a-z]+) <<'(OZREPRO_END_*)'\Z")
_WHEEL = re.compile(
    r"(    --hash=sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._-]*(==| @ https://)[^\s\\]+( ; [^\\]+)?)( \\)?\Z", re.ASCII
)
_PACKAGE = re.compile(r"(#.*|@EXPLICIT|[a-z]+://\S+#sha256:[0-9a-f]{64})\Z", re.ASCII)


def header(base: str) -> list[str]:
    """Return the header of a definition on an image, `docker.io/…` or a file `….sif`."""
    local = base.endswith(".sif")
    return [f"Bootstrap: {'localimage' if local else 'docker'}", f"From: {base}"]


def of_wheels(base: str, requirements: str, title: str) -> list[str]:
    """Return the lines of a definition that installs a requirement file with hashes into a venv of the base's Python."""
    return [
        f"{_MADE}{title}{_KEPT}",
        *header(base),
        "%post",
        *_file(f"{PREFIX}.txt", requirements.splitlines()),
        f"python3 -m venv --without-pip {PREFIX}",
        f"python3 -m pip --python {PREFIX}/bin/python install {_EXACTLY} -r {PREFIX}.txt",
        "%environment",
        f"export PATH={PREFIX}/bin:$PATH",
    ]


def of_conda(base: str, explicit: str, requirements: str, variables: Mapping[str, str], title: str) -> list[str]:
    """Return the lines of a definition that installs an explicit file with whichever tool the base has, then pip's part."""
    pip = f"{PREFIX}/bin/python -m pip install {_EXACTLY} -r {PREFIX}.pip"
    return [
        f"{_MADE}{title}{_KEPT}",
        *header(base),
        "%post",
        *_file(f"{PREFIX}.txt", explicit.splitlines()),
        *_file(f"{PREFIX}.py", _RATTLER),
        f"if command -v micromamba >/dev/null; then micromamba create -y -p {PREFIX} -f {PREFIX}.txt",
        f"elif command -v mamba >/dev/null; then mamba create -y -p {PREFIX} --file {PREFIX}.txt",
        f"elif command -v conda >/dev/null; then conda create -y -p {PREFIX} --file {PREFIX}.txt",
        f"else python3 {PREFIX}.py {PREFIX}.txt {PREFIX}",
        "fi",
        *([*_file(f"{PREFIX}.pip", requirements.splitlines()), pip] if requirements else []),
        "%environment",
        f"export PATH={PREFIX}/bin:$PATH",
        f"export CONDA_PREFIX={PREFIX}",
        *(line for name, value in variables.items() for line in f"export {name}={_quoted(value)}".split("\n")),
        _SOURCING,
        '[ ! -r "$_script" ] || . "$_script"',
        "done",
        "unset _script",
    ]


def at_site(text: str, addresses: Mapping[str, str]) -> str:
    """Return a generated definition with the addresses that channels have at this site; `addresses` are by public address."""
    lines: list[str] = []
    for line in text.splitlines():
        found = _CHANNEL.match(line)
        known = found is not None and found[1] in addresses
        lines.append(f"{addresses[found[1]]}/{found[2]}" if found and known else line)
    return "\n".join(lines) + "\n"


def channels_in(lines: Iterable[str]) -> list[str]:
    """Return the channels' addresses that an explicit file in these lines names, each once."""
    return list(dict.fromkeys(found[1] for line in lines if (found := _CHANNEL.match(line))))


def _file(path: str, lines: Sequence[str]) -> list[str]:
    """Return the lines of a shell that write a file."""
    end = "OZREPRO_END"
    while end in lines:
        end += "_"
    return [f"cat > {path} <<'{end}'", *(line for line in lines if line.strip()), end]


def _quoted(text: str) -> str:
    """Return a text as one word of a shell, in which Apptainer finds no section, stage or argument of its own."""
    quoted = "'" + text.replace("'", "'\\''").replace("\t", _TAB) + "'"
    return re.sub(r"\{(?=\{)", "{''", quoted.replace("\n", "\n''"))


def is_made(lines: Sequence[str]) -> bool:
    """Say whether a definition is one that is made here, of whatever packages: a lock's may be a stranger's.

    Above all it has no %setup, which runs on the machine that builds, and nothing of its own in %post and %environment.
    """
    files = _files(lines)
    packages, requirements = files.get(f"{PREFIX}.txt", []), files.get(f"{PREFIX}.pip", [])
    if len(lines) < 3 or not _TITLE.match(lines[0]):
        return False
    base, title = lines[2].removeprefix("From: "), lines[0].removeprefix(_MADE).removesuffix(_KEPT)
    pinned = [*requirements] if f"{PREFIX}.py" in files else [*packages, *requirements]
    if not all(map(_WHEEL.match, pinned)):
        return False
    if f"{PREFIX}.py" not in files:
        return list(lines) == of_wheels(base, "\n".join(packages), title)
    variables = _variables(lines)
    if variables is None or not all(map(_PACKAGE.match, packages)):
        return False
    return list(lines) == of_conda(base, "\n".join(packages), "\n".join(requirements), variables, title)


def requirements_in(lines: Sequence[str]) -> list[str]:
    """Return the lines of the requirement file of a definition that `of_wheels` made."""
    return _files(lines).get(f"{PREFIX}.txt", [])


def blocks(lines: Iterable[str]) -> list[str]:
    """Return the entries of a requirement file, each with the lines of its hashes."""
    found: list[str] = []
    for line in lines:
        if line.startswith(" ") and found:
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return found


def _files(lines: Sequence[str]) -> dict[str, list[str]]:
    """Return the files that lines of a shell write, as `_file` has them."""
    found: dict[str, list[str]] = {}
    name, end = "", ""
    for line in lines:
        if name and line == end:
            name = ""
        elif name:
            found[name].append(line)
        elif begun := _BEGUN.match(line):
            name, end = begun[1], begun[2]
            found[name] = []
    return found


def _variables(lines: Sequence[str]) -> dict[str, str] | None:
    """Return the variables that the lines of `of_conda` export, or None where they are others."""
    try:
        first, last = lines.index(f"export CONDA_PREFIX={PREFIX}"), lines.index(_SOURCING)
        words = shlex.split("\n".join(lines[first + 1 : last]))
    except ValueError:
        return None
    pairs = [word.partition("=") for word in words if word != "export"]
    if any(not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) for name, _, _ in pairs):
        return None
    return {name: value.replace(_TAB[2:-2], "\t") for name, _, value in pairs}
