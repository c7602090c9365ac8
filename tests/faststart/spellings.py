"""How `ozrepro run` may be written, as docs/reference/run.md has it, and whether each start is a warm one."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conftest import Project

HEAVY = (
    *("argparse", "asyncio", "concurrent.futures", "dataclasses", "filelock", "importlib.metadata", "inspect", "logging"),
    *("nox", "packaging", "pathlib", "pexpect", "rattler", "rich", "shutil", "socket", "subprocess", "tempfile", "threading"),
    *("tomli", "tomllib", "typing", "uv"),
)
"""Modules that no warm start may load: each costs tens to hundreds of opens on a parallel file system."""

SPELLINGS = [
    ((), ()),
    ((), ("--plain",)),
    ((), ("--method", "{method}")),
    ((), ("--method={method}",)),
    (("--project", "{root}"), ()),
    (("--project={root}",), ("--method", "{method}", "--plain")),
]
"""Options before `run`, and between it and the name or behind the name."""


def spellings(project: Project, name: str, method: str) -> Iterator[tuple[Project, list[str]]]:
    """Yield the words of each spelling, and the project in the folder where they are said: outside of it where they name it."""
    for top, options in SPELLINGS:
        first = [word.format(root=project.root) for word in top]
        second = [word.format(method=method) for word in options]
        folder = Project(project.root.parent if top else project.root / "sessions", project.environ)
        yield folder, [*first, "run", *second, name, "--", "true"]
        yield folder, [*first, "run", name, *second, "--", "true"]


def check_spellings(project: Project, name: str, method: str, *program: str) -> None:
    """Check that each spelling loads little, once a start with and one without `--method` has left its record.

    `program` are the words that start ozrepro, for another installation than the tests' own.
    """
    start = program or ("ozrepro",)
    for words in (("run", name), ("run", name, "--method", method)):
        done = project.run(*start, *words, "--", "true")
        assert done.returncode == 0, done.stderr
    for folder, spelt in spellings(project, name, method):
        done = folder.run(*start, *spelt, PYTHONPROFILEIMPORTTIME="1")
        assert done.returncode == 0, done.stderr
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
        assert "ozrepro.faststart.ready" in loaded, spelt
        more = {module for module in loaded if module.startswith(("ozrepro.frontends", "ozrepro.methods", "ozrepro.pipeline"))}
        assert not more, spelt
        if not program:  # -m loads runpy, and what that needs
            assert not loaded & set(HEAVY), spelt
