"""Where packages come from: uv's own index settings, else pip's, handed to uv, which ignores pip's.

Addresses may hold passwords, so they travel in uv's environment and never in its arguments, which anybody on the node can read.
"""

from __future__ import annotations

import configparser
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ozrepro.project.files import SMALL, text_of
from ozrepro.project.toml import TOMLDecodeError, loads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PYPI = "https://pypi.org/simple"
_UV_INDEX = ("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_URL", "UV_NO_INDEX")
_UV_KEPT = (
    *("UV_CONCURRENT_BUILDS", "UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_INSTALLS", "UV_HTTP_RETRIES", "UV_HTTP_TIMEOUT"),
    *("UV_INSECURE_HOST", "UV_KEYRING_PROVIDER", "UV_NATIVE_TLS", "UV_OFFLINE", "UV_SYSTEM_CERTS"),
)
_KEPT = ("HOME", "LANG", "NETRC", "SSL_CERT_DIR", "SSL_CERT_FILE", "SSL_CLIENT_CERT", "TMPDIR", "XDG_CONFIG_HOME")
_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "trusted-host")


STRATEGY = ("--index-strategy", "unsafe-best-match")
"""What has uv look into all indexes, and keeps it from telling of one that refuses to answer."""


@dataclass(frozen=True, slots=True)
class Indexes:
    """The package indexes in use: (name, address) pairs in order of search, places of plain files, transport settings."""

    pairs: tuple[tuple[str, str], ...]
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    cert: str = ""
    trusted: tuple[str, ...] = ()

    def variables(self) -> dict[str, str]:
        """Return the variables that tell uv."""
        found: dict[str, str] = {}
        if not self.no_index and self.pairs:
            # uv searches UV_INDEX in order and UV_DEFAULT_INDEX last; the main index comes first, as pip has it.
            words = [f"{name}={url}" if name else url for name, url in self.pairs]
            found["UV_DEFAULT_INDEX"] = words[-1]
            if words[:-1]:
                found["UV_INDEX"] = " ".join(words[:-1])
        if self.find_links:
            found["UV_FIND_LINKS"] = ",".join(link_address(link) for link in self.find_links)
        if self.cert:
            found["SSL_CERT_FILE"] = self.cert
        if self.trusted:
            found["UV_INSECURE_HOST"] = " ".join(self.trusted)
        return found

    def flags(self) -> list[str]:
        """Return the arguments that tell uv. `--no-index` has no variable that all of uv's commands obey."""
        # Files are identified by hash, so no index can slip in another one: all are searched, as pip does. Of a single index
        # uv tells more without it, such as a login that is refused.
        return [*(STRATEGY if len(self.pairs) > 1 else ()), *(["--no-index"] if self.no_index else [])]

    def links_are_local(self) -> bool:
        """Say whether all places of plain files are folders of this machine."""
        return all(link_address(link).startswith("file:") for link in self.find_links)

    def offers_here(self, name: str) -> bool:
        """Say whether a folder or an index of this machine may have the file of this name, which needs no network."""
        if any(url.startswith("file:") for _, url in self.pairs) or not self.links_are_local():
            return True
        folders = (unquote(urlsplit(link_address(link)).path) for link in self.find_links)
        return any(os.path.lexists(os.path.join(folder, name)) for folder in folders)

    def name_of(self, address: str) -> str:
        """Return the configured name of an index's address; the main one without a name is `pypi`."""
        plain = _without_login(address).rstrip("/")
        for number, (name, url) in enumerate(self.pairs):
            if _without_login(url).rstrip("/") == plain:
                return name or ("pypi" if number == 0 else f"extra-{number}")
        return "pypi" if plain == PYPI else ""


def link_address(link: str) -> str:
    """Return a directory as an address: the variable that carries it is split at commas and spaces, as pip's own file is."""
    return link if "://" in link else Path(os.path.abspath(os.path.expanduser(link))).as_uri()


def _without_login(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def base_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's variables that uv may see: transport and login settings, nothing that changes what it installs."""
    login = {name: value for name, value in environ.items() if name.startswith("UV_INDEX_") and name not in _UV_INDEX}
    proxies = {name: value for name, value in environ.items() if name.lower().endswith("_proxy")}
    kept = {name: environ[name] for name in (*_KEPT, *_UV_KEPT) if name in environ}
    return {**kept, **login, **proxies}


def find_indexes(root: Path, named: Mapping[str, str], environ: Mapping[str, str]) -> Indexes:
    """Return the package indexes that the caller has set: for uv, else for pip, else PyPI.

    `root` is the project, whose uv settings count; `named` are the settings' own `indexes`, searched after the others' main one.
    """
    found = _from_uv(root, environ) or _from_pip(environ) or Indexes((("pypi", PYPI),))
    extra = tuple(pair for pair in named.items() if pair not in found.pairs)
    return Indexes((*found.pairs, *extra), found.find_links, found.no_index, found.cert, found.trusted)


def _from_uv(root: Path, environ: Mapping[str, str]) -> Indexes | None:
    if any(environ.get(name) for name in _UV_INDEX):
        default = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or PYPI
        others = f"{environ.get('UV_INDEX', '')} {environ.get('UV_EXTRA_INDEX_URL', '')}".split()
        return Indexes(
            tuple(_pair(word) for word in (*others, default)),
            tuple(part.strip() for part in environ.get("UV_FIND_LINKS", "").split(",") if part.strip()),
            _is_true(environ.get("UV_NO_INDEX", "")),
        )
    for table in _uv_tables(root, environ):
        found = _uv_table(table)
        if found is not None:
            return found
    return None


def _pair(word: str) -> tuple[str, str]:
    name, equals, url = word.partition("=")
    return (name, url) if equals and "/" not in name and ":" not in name else ("", word)


def _uv_tables(root: Path, environ: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    home = environ.get("HOME", "")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    files = [
        root / "uv.toml",
        root / "pyproject.toml",
        *([Path(config) / "uv" / "uv.toml"] if config else []),
        Path("/etc/uv/uv.toml"),
    ]
    for path in files:
        try:
            whole = loads(text_of(path, SMALL))
        except (OSError, TOMLDecodeError):
            continue
        table = _table(_table(whole, "tool"), "uv") if path.name == "pyproject.toml" else whole
        yield {**table, **_table(table, "pip")}


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _list(table: Mapping[str, Any], key: str) -> list[Any]:
    value = table.get(key)
    return value if isinstance(value, list) else []


def _uv_table(table: Mapping[str, Any]) -> Indexes | None:
    indexes = [
        entry for entry in _list(table, "index") if isinstance(entry, dict) and "url" in entry and not entry.get("explicit")
    ]
    others = [(str(entry.get("name", "")), str(entry["url"])) for entry in indexes if not entry.get("default")]
    others += [_pair(str(url)) for url in _list(table, "extra-index-url")]
    defaults = [(str(entry.get("name", "")), str(entry["url"])) for entry in indexes if entry.get("default")]
    if "index-url" in table:
        defaults.append(("", str(table["index-url"])))
    links = tuple(str(item) for item in _list(table, "find-links"))
    no_index = table.get("no-index") is True
    if not (others or defaults or links or no_index):
        return None
    return Indexes((*others, defaults[0] if defaults else ("pypi", PYPI)), links, no_index)


def _from_pip(environ: Mapping[str, str]) -> Indexes | None:
    values = pip_settings(environ)
    if not values:
        return None
    main = values.get("index-url", "").strip() or PYPI
    pairs = [("pypi" if main.rstrip("/") == PYPI else "", main)]
    pairs += [("", url) for url in values.get("extra-index-url", "").split()]
    return Indexes(
        tuple(pairs),
        _links(values.get("find-links", "")),
        _is_true(values.get("no-index", "")),
        values.get("cert", "").strip(),
        tuple(values.get("trusted-host", "").split()),
    )


def _links(value: str) -> tuple[str, ...]:
    """Return pip's find-links: words, or one directory whose name has spaces, which pip itself cannot take from a variable."""
    return (value.strip(),) if os.path.isdir(value.strip()) else tuple(value.split())


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's index settings: its configuration files in pip's order, then its variables; only the keys that uv needs.

    Order and places as pip's documentation, "Configuration", has them: global, user, site, PIP_CONFIG_FILE, environment.
    """
    home = environ.get("HOME", "")
    named = environ.get("PIP_CONFIG_FILE", "")
    files: list[str] = []
    if named != os.devnull:
        config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
        files += [f"{folder}/pip/pip.conf" for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
        files += ["/etc/pip.conf", *([f"{home}/.pip/pip.conf"] if home else []), *([f"{config}/pip/pip.conf"] if config else [])]
        files += [f"{sys.prefix}/pip.conf", *([named] if named else [])]
    found: dict[str, str] = {}
    for name in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(text_of(Path(name), SMALL), name)
        except (OSError, configparser.Error):
            continue
        for section in ("global", "install"):
            found.update({key: parser.get(section, key) for key in _PIP_KEYS if parser.has_option(section, key)})
    for key in _PIP_KEYS:
        variable = f"PIP_{key.upper().replace('-', '_')}"
        if environ.get(variable):
            found[key] = environ[variable]
    return found


def _is_true(word: str) -> bool:
    return word.strip().lower() in ("1", "true", "yes", "on", "t", "y")
