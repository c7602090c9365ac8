"""The parameters of the cost model, and their file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from ozrepro.errors import OzreproError
from ozrepro.frontends.bench.lustre import profile as module
from ozrepro.frontends.bench.lustre.profile import BUSY, PRESETS, QUIET, STORM, Profile, read_profile, write_profile


@pytest.mark.parametrize("preset", PRESETS.values(), ids=str)
def test_a_profile_comes_back_from_its_file(preset: Profile, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    write_profile(preset, path)
    assert read_profile(path) == preset
    assert Profile.from_dict(preset.as_dict()) == preset


def test_notes_in_a_profile_change_no_number(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    write_profile(BUSY, path)
    path.write_text(f"{path.read_text()}[notes]\nclient = '2.15.3'\n")
    assert read_profile(path) == BUSY
    path.write_text("schema = 1\n[notes]\nmine = [1, 2]\n")
    assert read_profile(path) == QUIET


def test_the_presets_get_slower_from_quiet_to_storm() -> None:
    assert list(PRESETS.values()) == [QUIET, BUSY, STORM]
    assert QUIET.mds_us < BUSY.mds_us < STORM.mds_us
    assert QUIET.mds_stats > BUSY.mds_stats > STORM.mds_stats


def test_each_parameter_of_a_preset_names_the_source_of_its_number() -> None:
    text = Path(module.__file__).read_text(encoding="utf-8")
    body = text.split("class Profile:")[1].split("def __post_init__")[0]
    for field in fields(Profile):
        said = body.split(f"    {field.name}: ")[1].split('"""')[1]
        assert field.name == "name" or any(word in said for word in ("dell:", "source:", "ozstar:", "assumption")), field.name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = 1\nmds_us = -1\nost_us = 2.5\nin_flight = true\n", "mds_us is at least 0, not -1"),
        ("schema = 1\nmds_us = -1\nost_us = 2.5\nin_flight = true\n", "ost_us is a whole number, not 2.5"),
        ("schema = 1\nmds_us = -1\nost_us = 2.5\nin_flight = true\n", "in_flight is a whole number, not True"),
        ("schema = 1\nmds_stats = 0\n", "mds_stats is at least 1"),
        ("schema = 1\nlatency = 3\n", "has no latency"),
        ("schema = 1\nname = 3\n", "name is a text"),
        ("mds_us = 3\n", "schema is None"),
        ("schema = 9\n", "schema is 9"),
        ("schema = \n", "not valid TOML"),
        ('schema = 1\nnotes = "x"\n', "notes is a table"),
    ],
)
def test_a_wrong_profile_is_refused_by_name_with_each_mistake(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(OzreproError) as caught:
        read_profile(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_profile_is_refused_with_the_presets_there_are(tmp_path: Path) -> None:
    with pytest.raises(OzreproError, match="quiet, busy, storm"):
        read_profile(tmp_path / "none.toml")


def test_a_profile_cannot_be_written_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OzreproError, match="cannot write the profile"):
        write_profile(QUIET, tmp_path / "none" / "site.toml")
