"""From a locked section to what Apptainer is asked to build here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ozrepro.errors import BuildError, LockError
from ozrepro.methods.container.lock import Locked
from ozrepro.methods.container.plan import folder_of, plan_of, refuse_in_job
from tests.methods.container.test_lock import DEFINED, DIGEST, IMAGE, read, site_at, spec_at

TEXT = "Bootstrap: docker\nFrom: python:{{ VERSION }}  # pinned\n%post\n  echo {{ OTHER }}\n"


def locked(**change: Any) -> Locked:
    return read({**DEFINED, "arguments": {"VERSION": "3.11", "OTHER": "x", "UNUSED": "y"}, **change})


def test_what_is_built_names_the_digest_at_the_site_s_registry(tmp_path: Path) -> None:
    spec_at(tmp_path, "[venv]\n", TEXT)
    (tmp_path / "pyproject.toml").write_text('[tool.ozrepro.registries]\n"docker.io" = "http://127.0.0.1:5999/hub"\n')
    found = plan_of(locked(), site_at(tmp_path))
    source = f"From: 127.0.0.1:5999/hub/library/python@{DIGEST}"
    assert found.text == TEXT.replace("From: python:{{ VERSION }}  # pinned", source)
    assert (found.plain, found.name, found.source) == (True, "sessions/work.def", "")
    assert found.arguments == {"OTHER": "x", "UNUSED": "y"}, "an argument that only named the base is fatal to Apptainer"


def test_an_image_of_a_registry_is_fetched_by_its_digest(tmp_path: Path) -> None:
    found = plan_of(read(IMAGE), site_at(tmp_path))
    assert (found.text, found.source) == ("", f"docker://docker.io/library/python@{DIGEST}")


@pytest.mark.parametrize(
    "text",
    [
        "Bootstrap: docker\nFrom: python:3.12\n",
        "Bootstrap: docker\nFrom: ghcr.io/library/python:3.11\n",
        "Bootstrap: localimage\nFrom: docker.io/library/python:3.11\n",
        f"Bootstrap: docker\nFrom: python:3.11@sha256:{'0' * 64}\n",
        "Bootstrap: docker\nFrom: python:3.11\nBootstrap: docker\nFrom: python:3.11\n",
        "Bootstrap: docker\nFrom: A B\n",
    ],
)
def test_a_lock_that_names_another_base_than_the_definition_is_refused(tmp_path: Path, text: str) -> None:
    spec_at(tmp_path, "[venv]\n", text)
    with pytest.raises(LockError, match="is built on other bases than the lock names"):
        plan_of(locked(), site_at(tmp_path))


def test_a_build_whose_definition_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="cannot be read"):
        plan_of(locked(), site_at(tmp_path))


def test_an_image_is_not_built_in_a_job(tmp_path: Path) -> None:
    refuse_in_job(site_at(tmp_path), "ozrepro build work")
    with pytest.raises(BuildError, match="not built in a Slurm job") as caught:
        refuse_in_job(site_at(tmp_path, SLURM_JOB_ID="7"), "ozrepro build work")
    assert caught.value.hint == "on a login node: ozrepro build work"


def test_what_is_built_of_the_same_is_kept_in_one_folder_of_the_cache(tmp_path: Path) -> None:
    folder = folder_of(site_at(tmp_path), DEFINED["inputs"])
    assert folder.name == "2" * 32
    assert folder.is_relative_to(tmp_path / ".ozrepro")
