"""The trial of the installed uv: whether it takes only locked build requirements."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from pathlib import Path

import pytest

from ozrepro.errors import CommandFailed
from ozrepro.python import install
from ozrepro.python.build_hashes import constraints
from ozrepro.python.interpreter import running
from ozrepro.python.packages import LockedFile, LockedPackage
from ozrepro.python.uv import Uv
from tests.conftest import Project
from tests.wheels import make_wheel


def uv_that(uv: Uv, folder: Path, change: str) -> Uv:
    """Return the real uv behind a script that changes its arguments, as another release would take them."""
    path, script = folder / "uv", folder / "uv.py"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
    script.write_text(
        f"import os, sys\nwords = sys.argv[1:]\n"
        f"with open({str(folder / 'calls')!r}, 'a') as stream:\n    stream.write(' '.join(words) + '\\n')\n"
        f"{change}\nos.execv({uv.path!r}, ['uv', *words])\n"
    )
    path.chmod(0o755)
    return Uv(str(path), uv.variables, uv.indexes)


def test_the_arguments_name_the_locked_files_and_require_their_hashes(uv: Uv) -> None:
    package = LockedPackage("alpha", "1.0", (LockedFile("alpha-1.0-py3-none-any.whl", "0" * 64, 1),), "")
    with constraints(uv, [package]) as words:
        assert words[0] == "--build-constraints"
        assert Path(words[1]).read_text() == f"alpha==1.0 \\\n    --hash=sha256:{'0' * 64}\n"
        assert "--require-build-hashes" in words
    assert not Path(words[1]).exists()


def test_a_uv_is_tried_once_in_a_process(uv: Uv, tmp_path: Path) -> None:
    counted = uv_that(uv, tmp_path, "")
    for _ in range(3):
        with constraints(counted, []):
            pass
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2, "one build that must be refused, one that must start"


def test_wheels_are_installed_without_a_trial(uv: Uv, project: Project, tmp_path: Path) -> None:
    wheel = make_wheel(project.wheelhouse, "alpha", "1.0")
    file = LockedFile(wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest(), wheel.stat().st_size)
    counted, prefix = uv_that(uv, tmp_path, ""), project.root / "env"
    install.make_venv(counted, running(), prefix)
    install.install(counted, prefix, install.choose_files([LockedPackage("alpha", "1.0", (file,), "")], running()), (), print)
    assert "--require-build-hashes" not in (tmp_path / "calls").read_text()


def test_a_uv_that_no_longer_has_the_preview_is_given_the_option_alone(uv: Uv, tmp_path: Path) -> None:
    later = uv_that(
        uv,
        tmp_path,
        "if '--preview-features' in words: sys.exit('error: unexpected argument \\'--preview-features\\' found')",
    )
    with constraints(later, []) as words:
        assert words[2:] == ["--require-build-hashes"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            "if '--require-build-hashes' in words: sys.exit('error: unexpected argument \\'--require-build-hashes\\' found')",
            "unexpected argument '--require-build-hashes' found",
        ),
        ("words = [word for word in words if word != '--require-build-hashes']", "it takes what is not locked"),
    ],
    ids=["it does not know the option", "it takes no notice of the option"],
)
def test_a_uv_that_cannot_check_hashes_of_build_requirements_is_refused_with_its_version(
    uv: Uv, tmp_path: Path, change: str, reason: str
) -> None:
    with pytest.raises(CommandFailed) as caught, constraints(uv_that(uv, tmp_path, change), []):
        pass
    first, hint = str(caught.value).splitlines()
    assert first.startswith("uv ")
    assert first.endswith(f"cannot check the hashes of build requirements: {reason}")
    assert hint == "  try: pip install 'uv>=0.13', or lock versions that have wheels"


def test_the_trial_leaves_nothing_behind(uv: Uv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(os.listdir(uv.variables["HOME"]))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with constraints(uv_that(uv, tmp_path, ""), []):
        pass
    assert os.listdir(temporary) == []
    assert sorted(os.listdir(uv.variables["HOME"])) == before
