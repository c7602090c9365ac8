"""Definitions of images with exactly the conda packages that a lock names, and pip's on top of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError
from ozrepro.methods import image_definition
from ozrepro.methods.conda.activating import OWN
from ozrepro.methods.conda.channels import ALIAS, DEFAULTS, address_of, channel_alias
from ozrepro.methods.conda.explicit import write_explicit
from ozrepro.methods.image_definition import EXACTLY, PREFIX, head, write_file
from ozrepro.python.build_hashes import hashed_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ozrepro.methods.conda.lock import Locked
    from ozrepro.methods.conda.table import CondaTable
    from ozrepro.methods.contract import ImageRequest, ImageSources
    from ozrepro.site import Site

USUAL_BASE = "docker.io/mambaorg/micromamba:2"
"""The image of micromamba's own project."""

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

_VARIABLES = (
    "import json, re, shlex, sys",
    "found = {}",
    "for name in sys.argv[1:]:",
    "    found.update(json.load(open(name, encoding='utf-8')))",
    f"for name in {sorted(OWN)}:",
    "    found.pop(name, None)",
    "for name, value in found.items():",
    "    if re.match('[A-Za-z_][A-Za-z0-9_]*$', name):",
    "        print('export {}={}'.format(name, shlex.quote(str(value))))",
)
"""Prints the variables of JSON files for a shell, as `activating` reads them; the image's own Python runs it."""

_JSON = f"{PREFIX}/etc/conda/env_vars.d/*.json"
_NO_PYTHON = f"{_JSON}: no Python to read it: add python to the packages, or take a base that has it"
_CHANNEL = re.compile(r"(https://[^\s#]+?)/((?:noarch|linux|osx)[^/\s#]*/[^/\s#]+(?:#\S+)?)\s*\Z")
_SOURCING = f"for _script in {PREFIX}/etc/conda/activate.d/*.sh; do"
_TAB = "'\"$(printf '\\t')\"'"
"""A tab inside quotes: a lock's lines hold none."""


def definition(request: ImageRequest[CondaTable, Locked]) -> list[str]:
    """Return the lines of a definition with the packages of a section. Raises BuildError for one with the system's MPI."""
    locked = request.locked
    if locked.mpi is not None:
        raise BuildError(
            "a conda section with the system's MPI cannot be put into an image", hint="write a definition of your own"
        )
    addresses = {item.name: item.public for item in locked.channels}
    explicit = write_explicit(locked.records, addresses, request.platform)
    image_definition.say_commits(locked.layer, request.say)
    requirements = hashed_lines([item for item in locked.layer.packages if item.commit is None])
    return of_conda(request.base or USUAL_BASE, explicit, requirements, locked.variables, request.title)


def unlike(request: ImageRequest[CondaTable, Locked], lines: Sequence[str]) -> list[str]:
    """Return that a definition is another than the section gives, or nothing: all of it follows from the lock."""
    return [] if list(lines) == definition(request) else [f"is not what {request.title} gives"]


def at_site(lines: Sequence[str], site: Site) -> ImageSources:
    """Return a definition with the addresses that channels have at this site, and what is read while it is built."""
    aliases, alias = site.settings.channels, channel_alias(site.settings.channels, site.environ)
    addresses: dict[str, str] = {}
    for address in channels_in(lines):
        name = next((name for name, url in DEFAULTS.items() if url == address), address.removeprefix(f"{ALIAS}/"))
        if "://" not in name:
            addresses[address] = address_of(name, aliases, alias)
    return image_definition.at_site(with_addresses(lines, addresses), site, addresses.values())


def of_conda(base: str, explicit: str, requirements: str, variables: Mapping[str, str], title: str) -> list[str]:
    """Return the lines of a definition that installs an explicit file with whichever tool the base has, then pip's part."""
    pip = f"{PREFIX}/bin/python -m pip install {EXACTLY} -r {PREFIX}.pip"
    return [
        *head(base, title),
        "%post",
        *write_file(f"{PREFIX}.txt", explicit.splitlines()),
        *write_file(f"{PREFIX}.py", _RATTLER),
        f"if command -v micromamba >/dev/null; then micromamba create -y -p {PREFIX} -f {PREFIX}.txt",
        f"elif command -v mamba >/dev/null; then mamba create -y -p {PREFIX} --file {PREFIX}.txt",
        f"elif command -v conda >/dev/null; then conda create -y -p {PREFIX} --file {PREFIX}.txt",
        f"else python3 {PREFIX}.py {PREFIX}.txt {PREFIX}",
        "fi",
        *([*write_file(f"{PREFIX}.pip", requirements.splitlines()), pip] if requirements else []),
        *write_file(f"{PREFIX}.vars", _VARIABLES),
        f"if ls {_JSON} >/dev/null 2>&1; then",
        f"_python=$(command -v {PREFIX}/bin/python || command -v python3) || {{ echo '{_NO_PYTHON}' >&2; exit 1; }}",
        f'"$_python" {PREFIX}.vars {_JSON} > {PREFIX}.sh',
        "fi",
        "%environment",
        f"[ ! -r {PREFIX}.sh ] || . {PREFIX}.sh",
        f"export PATH={PREFIX}/bin:$PATH",
        f"export CONDA_PREFIX={PREFIX}",
        *(line for name, value in variables.items() for line in f"export {name}={_quoted(value)}".split("\n")),
        _SOURCING,
        '[ ! -r "$_script" ] || . "$_script"',
        "done",
        "unset _script",
    ]


def with_addresses(lines: Iterable[str], addresses: Mapping[str, str]) -> list[str]:
    """Return the lines with other addresses of channels; `addresses` are by public address."""
    found = [(line, _CHANNEL.match(line)) for line in lines]
    return [f"{addresses[match[1]]}/{match[2]}" if match and match[1] in addresses else line for line, match in found]


def channels_in(lines: Iterable[str]) -> list[str]:
    """Return the channels' addresses that an explicit file in these lines names, each once."""
    return list(dict.fromkeys(found[1] for line in lines if (found := _CHANNEL.match(line))))


def _quoted(text: str) -> str:
    """Return a text as one word of a shell, in which Apptainer finds no section, stage or argument of its own."""
    quoted = "'" + text.replace("'", "'\\''").replace("\t", _TAB) + "'"
    return re.sub(r"\{(?=\{)", "{''", quoted.replace("\n", "\n''"))
