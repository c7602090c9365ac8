"""A clone of a git repository at one commit, by the git and the login of the caller, who is never asked for anything."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import BuildError, without_login

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ozrepro.project.gitaddress import Commit
    from ozrepro.python.uv import Uv
    from ozrepro.site import Site

_TIMEOUT = 1800.0
"""Seconds for one command of git: a server that says nothing must not hold a lock for ever."""

_KEPT = re.compile(r"(GIT_CONFIG_.*|GIT_SSL_.*|GIT_SSH(_COMMAND)?|SSH_AUTH_SOCK|KRB5CCNAME|XDG_RUNTIME_DIR|DBUS_.*)\Z")
"""Variables of the caller that say how git reaches a repository (git's documentation, "Environment Variables")."""

_NEVER_ASKED = {"GIT_TERMINAL_PROMPT": "0", "GCM_INTERACTIVE": "never", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_OPTIONAL_LOCKS": "0"}
_SAFE = (
    "core.askPass=",
    f"core.hooksPath={os.devnull}",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "advice.detachedHead=false",
)
_SAFE_CLONE = ("core.autocrlf=false", "core.fileMode=false", f"core.hooksPath={os.devnull}", "core.fsmonitor=false")
_LOGIN = re.compile(
    r"could not read (Username|Password)|Authentication failed|[Rr]epository not found|\b40[134]\b|Permission denied"
)
_NETWORK = re.compile(r"[Cc]ould not resolve|[Ff]ailed to connect|Connection (timed out|refused)|Network is unreachable")
_CERTIFICATE = re.compile(r"certificate", re.IGNORECASE)


def folder_of_git(site: Site) -> str:
    """Return the folder of the caller's git. Raises BuildError where there is none."""
    program = process.find_program("git", site.environ.get("PATH", ""), outside=str(site.settings.root))
    if program is None:
        raise BuildError(
            "a requirement is a commit of a git repository, and there is no git on PATH",
            hint="install git or load its module (module load git), then the same command again",
        )
    return os.path.dirname(program)


def clone(commit: Commit, folder: Path, site: Site, uv: Uv) -> Path:
    """Clone a repository into `folder`, with its tags, and check out a commit; return the tree.

    Raises BuildError where there is no such commit or folder in it, it has submodules or wants a login; CommandFailed.
    """
    program = os.path.join(folder_of_git(site), "git")
    tree = folder / _name_of(commit)
    folder.mkdir(parents=True, exist_ok=True)
    environ = _environ(site.environ, uv.variables)

    def git(*words: str) -> process.Finished:
        options = [word for setting in _SAFE for word in ("-c", setting)]
        return process.run([program, *options, *words], env=environ, cwd=folder, timeout=_TIMEOUT)

    settings = [word for setting in _SAFE_CLONE for word in ("--config", setting)]
    # Without the files of other commits, where the server can: the history alone is what a version may be taken from.
    words = [
        "clone",
        "--quiet",
        "--no-checkout",
        "--template=",
        "--filter=blob:none",
        *settings,
        "--",
        commit.repository,
        str(tree),
    ]
    _checked(git(*words), commit)
    _check_out(git, commit, tree)
    _check_tree(git, commit, tree)
    for path, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:  # a wheel holds the modes, and they follow the caller's umask
            file = os.path.join(path, name)
            if not os.path.islink(file):
                os.chmod(file, 0o755 if os.stat(file).st_mode & 0o100 else 0o644)
    return tree


def _check_out(git: Callable[..., process.Finished], commit: Commit, tree: Path) -> None:
    inside = ("-C", str(tree))
    checkout = (*inside, "checkout", "--quiet", "--detach", commit.commit)
    done = git(*checkout)
    if done.status != 0:  # a commit of no branch or tag, such as that of a pull request, has to be asked for
        fetched = git(*inside, "fetch", "--quiet", "origin", commit.commit)
        done = git(*checkout) if fetched.status == 0 else fetched
    if done.status != 0 and not _NETWORK.search(done.errors):
        raise BuildError(
            f"has no commit {commit.commit}",
            where=commit.repository,
            hint=f"git ls-remote {commit.repository} lists the commits of its branches and tags: write one of these",
        )
    _checked(done, commit)


def _check_tree(git: Callable[..., process.Finished], commit: Commit, tree: Path) -> None:
    head = _checked(git("-C", str(tree), "rev-parse", "HEAD"), commit).output.strip()
    if head != commit.commit:  # `git ls-remote` prints the object of an annotated tag
        hint = f"write git+{commit.repository}@{head}"
        raise BuildError(f"{commit.commit} is not a commit but a tag of one", where=commit.repository, hint=hint)
    listed = _checked(git("-C", str(tree), "ls-tree", "-r", "-z", "--full-tree", "HEAD"), commit).output.split("\0")
    modules = [line.partition("\t")[2] for line in listed if line.startswith("160000 ")]
    if modules:
        raise BuildError(
            f"has submodules, which are not fetched: {', '.join(modules[:3])}{' and more' if len(modules) > 3 else ''}",
            where=commit.repository,
            hint="name a wheel or source archive of the package that has their files in it",
        )
    project = tree / commit.folder
    if not process.is_inside(project, tree) or not any((project / name).is_file() for name in ("pyproject.toml", "setup.py")):
        others = [os.path.dirname(line.partition("\t")[2]) for line in listed if line.endswith(("/pyproject.toml", "/setup.py"))]
        where = f"{commit.folder} of the commit {commit.commit[:12]}" if commit.folder else f"the commit {commit.commit[:12]}"
        hint = f"behind the commit, write #subdirectory={others[0]}" if others else "name a commit and folder that has one"
        raise BuildError(f"has no pyproject.toml or setup.py in {where}", where=commit.repository, hint=hint)


def _environ(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if _KEPT.match(name)}
    transport = {name: value for name, value in variables.items() if not name.startswith("UV_")}
    cert = {"GIT_SSL_CAINFO": variables["SSL_CERT_FILE"]} if variables.get("SSL_CERT_FILE") else {}
    path = environ.get("PATH", "")
    return {
        **transport,
        "PATH": path,
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        **cert,
        **kept,
        **_NEVER_ASKED,
        "LC_ALL": "C.UTF-8",
    }


def _checked(done: process.Finished, commit: Commit) -> process.Finished:
    if done.status == 0:
        return done
    said = [line.strip() for line in without_login(done.errors).splitlines() if line.strip()]
    words = next((line for line in said if line.startswith(("fatal:", "error:"))), (said or [f"status {done.status}"])[-1])
    if _LOGIN.search(done.errors):
        what, hint = "wants a login, or is not there", "until this works without a question, set a credential helper of git:"
        hint = f"{hint} git ls-remote {commit.repository}"
    elif _NETWORK.search(done.errors):
        what, hint = "cannot be reached", "the same command where there is a network, or with the proxy variables set"
    elif _CERTIFICATE.search(done.errors):
        what, hint = "cannot be reached", "set SSL_CERT_FILE to the file of certificates that this site's proxy is signed with"
    else:
        what, hint = "cannot be cloned", f"git ls-remote {commit.repository}"
    raise BuildError(f"{what}: git says {words[:300]}", where=commit.repository, hint=hint)


def _name_of(commit: Commit) -> str:
    """Return the repository's own name, for messages: it is a path of plain characters."""
    return commit.repository.rpartition("/")[2].removesuffix(".git").lstrip(".-") or "repository"
