"""conda-lock's files."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import BuildError, SpecError
from ozrepro.methods.conda.condalock import read_condalock, write_condalock
from tests.methods.conda.test_explicit import CHANNELS, RECORDS


def test_a_conda_lock_file_has_the_documented_form() -> None:
    text = write_condalock({"linux-64": RECORDS}, CHANNELS)
    table: dict[str, Any] = import_module("yaml").safe_load(text)
    assert list(table) == ["version", "metadata", "package"]
    assert table["version"] == 1
    assert table["metadata"]["platforms"] == ["linux-64"]
    assert table["metadata"]["channels"][0] == {"url": "https://conda.anaconda.org/conda-forge", "used_env_vars": []}
    assert table["metadata"]["sources"] == []
    assert set(table["metadata"]["content_hash"]) == {"linux-64"}
    assert table["package"][1] == {
        "name": "alpha",
        "version": "1.0",
        "manager": "conda",
        "platform": "linux-64",
        "dependencies": {"zeta": ">=1"},
        "url": "https://conda.anaconda.org/conda-forge/linux-64/alpha-1.0-h1_0.conda",
        "hash": {"md5": RECORDS[0].md5, "sha256": RECORDS[0].sha256},
        "category": "main",
        "optional": False,
    }
    assert text == write_condalock({"linux-64": tuple(reversed(RECORDS))}, CHANNELS)


def test_a_written_conda_lock_file_is_read_back() -> None:
    conda, pip = read_condalock(write_condalock({"linux-64": RECORDS, "osx-arm64": RECORDS[1:2]}, CHANNELS), "conda-lock.yml")
    assert pip == {}
    assert list(conda) == ["linux-64", "osx-arm64"]
    for named in conda["linux-64"]:
        locked = next(item for item in RECORDS if item.name == named.name)
        assert named.differs(locked, CHANNELS) is None
        assert (named.sha256, named.md5) == (locked.sha256, locked.md5)


def test_a_file_written_by_conda_lock_is_read() -> None:
    text = """\
version: 1
metadata:
  content_hash:
    linux-64: 1f9b3c
  channels:
  - url: conda-forge
    used_env_vars: []
  platforms:
  - linux-64
  sources:
  - environment.yml
package:
- name: python
  version: 3.10.0
  manager: conda
  platform: linux-64
  dependencies:
    libzlib: '>=1.2.11,<1.3.0a0'
  url: https://conda.anaconda.org/conda-forge/linux-64/python-3.10.0-h543edf9_3_cpython.tar.bz2
  hash:
    md5: 00000000000000000000000000000001
    sha256: 0000000000000000000000000000000000000000000000000000000000000002
  category: main
  optional: false
- name: emcee
  version: 3.1.6
  manager: pip
  platform: linux-64
  dependencies: {}
  url: https://files.host/emcee-3.1.6-py2.py3-none-any.whl
  hash:
    sha256: 0000000000000000000000000000000000000000000000000000000000000003
  category: main
  optional: false
- name: pytest
  version: '8'
  manager: conda
  platform: linux-64
  url: https://conda.anaconda.org/conda-forge/noarch/pytest-8-0.conda
  hash: {md5: 00000000000000000000000000000001}
  category: dev
  optional: true
"""
    conda, pip = read_condalock(text, "conda-lock.yml")
    assert [(item.name, item.build, item.md5[-1], item.sha256[-1]) for item in conda["linux-64"]] == [
        ("python", "h543edf9_3_cpython", "1", "2")
    ]
    assert pip == {"linux-64": ("emcee==3.1.6",)}


def test_a_mistake_in_a_conda_lock_file_is_told_with_its_line() -> None:
    text = write_condalock({"linux-64": RECORDS}, CHANNELS)
    for old, new in (("version: 1\n", "version: 2\n"), ("name: alpha", "name: beta"), ("platform: linux-64", "platform: moon")):
        with pytest.raises(SpecError, match=r"line \d+"):
            read_condalock(text.replace(old, new), "conda-lock.yml")
    with pytest.raises(BuildError, match="no md5"):
        write_condalock({"linux-64": [replace(RECORDS[0], md5="")]}, CHANNELS)


@given(st.text(max_size=60))
def test_any_text_is_a_conda_lock_file_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        read_condalock(text, "conda-lock.yml")
