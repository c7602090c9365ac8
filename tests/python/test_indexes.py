"""Which indexes uv is told of: uv's own settings, else pip's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ozrepro.python.indexes import PYPI, Indexes, base_variables, find_indexes, pip_settings

NOWHERE = {"PIP_CONFIG_FILE": os.devnull}


def find(tmp_path: Path, **environ: str) -> Indexes:
    return find_indexes(tmp_path, {}, {**NOWHERE, "HOME": str(tmp_path), **environ})


def test_without_any_setting_the_index_is_pypi(tmp_path: Path) -> None:
    assert find(tmp_path).pairs == (("pypi", PYPI),)


def test_pip_s_variables_are_passed_on_with_the_main_index_first(tmp_path: Path) -> None:
    found = find(
        tmp_path, PIP_INDEX_URL="https://a/simple", PIP_EXTRA_INDEX_URL="https://b/simple https://c/simple", PIP_CERT="/ca.pem"
    )
    assert found.variables() == {
        "UV_INDEX": "https://a/simple https://b/simple",
        "UV_DEFAULT_INDEX": "https://c/simple",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_no_index_and_a_wheelhouse_with_spaces_are_passed_on(tmp_path: Path) -> None:
    house = tmp_path / "wheel house, mine"
    house.mkdir()
    found = find(tmp_path, PIP_NO_INDEX="true", PIP_FIND_LINKS=str(house))
    assert "--no-index" in found.flags()
    assert found.variables() == {"UV_FIND_LINKS": house.as_uri()}
    assert "," not in found.variables()["UV_FIND_LINKS"]


def test_uv_s_variables_beat_pip_s(tmp_path: Path) -> None:
    found = find(
        tmp_path, PIP_INDEX_URL="https://pip/simple", UV_DEFAULT_INDEX="https://uv/simple", UV_INDEX="lab=https://lab/simple"
    )
    assert found.pairs == (("lab", "https://lab/simple"), ("", "https://uv/simple"))


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("pyproject.toml", '[[tool.uv.index]]\nname = "lab"\nurl = "https://lab/simple"\n'),
        ("uv.toml", '[[index]]\nname = "lab"\nurl = "https://lab/simple"\n'),
        (".config/uv/uv.toml", '[pip]\nextra-index-url = ["lab=https://lab/simple"]\n'),
    ],
)
def test_indexes_in_uv_s_configuration_files_are_taken(tmp_path: Path, place: str, text: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert find(tmp_path, PIP_INDEX_URL="https://pip/simple").pairs == (("lab", "https://lab/simple"), ("pypi", PYPI))


def test_pip_s_files_are_read_in_pip_s_order_and_variables_come_last(tmp_path: Path) -> None:
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text("[global]\nindex-url = https://user/simple\nfind-links = /a\n    /b\n")
    named = tmp_path / "named.conf"
    named.write_text("[install]\nindex-url = https://named/simple\n")
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(named), "XDG_CONFIG_DIRS": str(tmp_path)}
    assert pip_settings(environ)["index-url"] == "https://named/simple"
    assert pip_settings(environ)["find-links"].split() == ["/a", "/b"]
    assert pip_settings({**environ, "PIP_INDEX_URL": "https://v/simple"})["index-url"] == "https://v/simple"


def test_an_index_is_named_without_its_login(tmp_path: Path) -> None:
    found = Indexes((("lab", "https://me:word@lab/simple/"), ("", PYPI)))
    assert found.name_of("https://lab/simple") == "lab"
    assert found.name_of(PYPI) == "extra-1"
    assert find(tmp_path).name_of(PYPI) == "pypi"


def test_only_folders_and_indexes_of_this_machine_may_offer_a_file_without_a_network(tmp_path: Path) -> None:
    house = tmp_path / "a house"
    house.mkdir()
    (house / "one-1-py3-none-any.whl").touch()
    plain = Indexes((("pypi", PYPI),), (str(house),))
    assert plain.links_are_local()
    assert [plain.offers_here(name) for name in ("one-1-py3-none-any.whl", "two-1-py3-none-any.whl")] == [True, False]
    web = Indexes((("pypi", PYPI),), ("https://files/simple",))
    assert not web.links_are_local()
    assert web.offers_here("two-1-py3-none-any.whl")
    assert Indexes((("", f"file://{house}"),)).offers_here("two-1-py3-none-any.whl")


def test_uv_sees_transport_and_login_settings_and_nothing_that_changes_what_it_installs() -> None:
    caller = {
        "HOME": "/h",
        "https_proxy": "p",
        "UV_INDEX_LAB_PASSWORD": "s",
        "UV_CONSTRAINT": "x",
        "PYTHONPATH": "y",
        "PIP_TARGET": "z",
    }
    assert base_variables(caller) == {"HOME": "/h", "https_proxy": "p", "UV_INDEX_LAB_PASSWORD": "s"}
