"""This repository's own sessions: the example on real data, and the checks of the code.

`nox -s analysis` runs the example in its locked environment. The checks use nox's plain environments.
"""

from __future__ import annotations

import nox

import ozrepro

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|venv"
nox.options.sessions = ["analysis", "lint", "typing", "tests"]


@ozrepro.session
def analysis(session: nox.Session) -> None:
    """Find the period of the solar cycle in 309 years of sunspot numbers."""
    session.run("python", "sessions/analysis.py", *session.posargs)


@ozrepro.session(default=False)
def gpu(session: nox.Session) -> None:
    """Say which GPUs TensorFlow sees: in a job on a node with one."""
    session.run("python", "sessions/gpu.py", *session.posargs)


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Run the quick tests: they need neither root, Debian's packages nor a cluster."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", "--dist", "loadfile", "-m", "quick", *session.posargs)


@nox.session
def tests_site(session: nox.Session) -> None:
    """Run all other tests: on the fake cluster, with a package index, and those that take long."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", "--dist", "loadfile", "-m", "not quick", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff, and spelling with codespell."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types with mypy, strictly, over package, tests and scripts."""
    session.install("-e", ".[typing]")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; any warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-q", "docs", "docs/_build", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure each method and form on the emulated Lustre; write the page and figures (`-- --only analysis,quiet`)."""
    session.install("-e", ".[test]")
    session.run("python", "benchmarks/suite.py", *session.posargs)
    session.run("python", "benchmarks/page.py")


@nox.session
def bench_overhead(session: nox.Session) -> None:
    """Measure what ozrepro adds to a start, a nox session and a build."""
    session.install("-e", ".[test]")
    session.run("python", "benchmarks/overhead.py", *session.posargs)


@nox.session(python="3.10", venv_backend="uv")
def minimums(session: nox.Session) -> None:
    """Run the tests of what calls a dependency, with the oldest Python and the lowest versions that are allowed."""
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    folders = ("tests/project", "tests/python", "tests/methods/conda", "tests/methods/venv", "tests/frontends/test_nox.py")
    session.run("python", "-m", "pytest", "-n", "auto", "--dist", "loadfile", "-m", "quick", *(session.posargs or folders))


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure how much of the rooms beneath the methods their own quick tests reach; fail below the floor in pyproject.toml."""
    session.install("-e", ".[test,coverage]")
    folders = ("tests/modulesystem", "tests/project", "tests/python", "tests/site", "tests/store")
    words = ("--cov", "--cov-report=term", "-n", "auto", "--dist", "loadfile", "-m", "quick")
    session.run("python", "-m", "pytest", *words, *(session.posargs or folders))
