"""Settings: option beats variable beats file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.errors import SpecError, UsageError
from ozrepro.methods.reading import load_settings
from ozrepro.project.settings import PLATFORMS


def write(root: Path, text: str) -> None:
    (root / "pyproject.toml").write_text(text, encoding="utf-8")


def test_without_a_setting_the_store_is_in_the_project(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {})
    assert settings.store == tmp_path / ".ozrepro"
    assert settings.platforms == tuple(sorted(PLATFORMS))
    assert settings.method is None


def test_a_variable_beats_the_file_and_the_option_beats_the_variable(tmp_path: Path) -> None:
    write(tmp_path, '[tool.ozrepro]\nstore = "/file"\nlocks = "flock"\nlock-timeout = 5\npath = ["/opt/slurm/bin"]\n')
    assert load_settings(tmp_path, {}).store == Path("/file")
    assert load_settings(tmp_path, {"OZREPRO_STORE": "/variable"}).store == Path("/variable")
    assert load_settings(tmp_path, {"OZREPRO_METHOD": "conda"}).method == "conda"
    assert load_settings(tmp_path, {"OZREPRO_METHOD": "conda"}, method="venv").method == "venv"
    settings = load_settings(tmp_path, {"OZREPRO_LOCKS": "ticket", "OZREPRO_LOCK_TIMEOUT": "7", "OZREPRO_PATH": "/a:/b"})
    assert (settings.locks, settings.lock_timeout, settings.path) == ("ticket", 7.0, ("/a", "/b"))


def test_a_relative_store_is_relative_to_the_project(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {"OZREPRO_STORE": "built"}).store == tmp_path / "built"


def test_the_folder_of_records_counts_from_the_project_and_the_file_s_word_is_known_beside_the_variable_s(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}).record is None
    settings = load_settings(tmp_path, {"OZREPRO_RECORD": "runs", "OZREPRO_RECORD_WITH": "host,user"})
    assert (settings.record, settings.record_with, settings.recorded) == (tmp_path / "runs", ("host", "user"), False)
    write(tmp_path, '[tool.ozrepro]\nrecord = "~/runs"\nrecord-with = ["host"]\n')
    settings = load_settings(tmp_path, {"OZREPRO_RECORD": "/elsewhere"})
    assert (settings.record, settings.record_with, settings.recorded) == (Path("/elsewhere"), ("host",), True)
    assert load_settings(tmp_path, {}).record == Path("~/runs").expanduser()
    write(tmp_path, '[tool.ozrepro]\nrecord = "$NOT_SET_HERE/x"\nrecord-with = ["shoes"]\n')
    with pytest.raises(SpecError) as caught:
        load_settings(tmp_path, {})
    said = "\n".join(caught.value.problems)
    assert "record: " in said
    assert "names a variable that is not set" in said
    assert "'shoes' is not known; write one of: host, user" in said


def test_all_mistakes_of_the_table_are_reported_together(tmp_path: Path) -> None:
    write(
        tmp_path,
        '[tool.ozrepro]\nstroe = "x"\nlocks = "soft"\nlock-timeout = 0\nmethods = ["pip"]\npath = ["bin"]\nindexes = 3\n',
    )
    with pytest.raises(SpecError) as caught:
        load_settings(tmp_path, {})
    said = "\n".join(caught.value.problems)
    for part in (
        "did you mean 'store'",
        "auto, flock, ticket",
        "a number of seconds above 0 and below 31,622,400",
        "'pip' is not known",
        "is not an absolute path",
        "a table",
    ):
        assert part in said


@pytest.mark.parametrize("environ", [{"OZREPRO_METHOD": "pip"}, {"OZREPRO_LOCK_TIMEOUT": "soon"}])
def test_a_wrong_variable_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(environ))):
        load_settings(tmp_path, environ)


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("OZREPRO_LOCKS", "soft", "auto, flock, ticket"),
        ("OZREPRO_LOCK_TIMEOUT", "inf", "a number of seconds above 0 and below 31,622,400"),
        ("OZREPRO_LOCK_TIMEOUT", "nan", "a number of seconds above 0 and below 31,622,400"),
        ("OZREPRO_METHODS", "venv,pip", "write one of"),
        ("OZREPRO_PLATFORMS", "amiga", "write one of"),
        ("OZREPRO_PLATFORM", "a b", "such as milan"),
        ("OZREPRO_PATH", "bin", "is not an absolute path"),
        ("OZREPRO_MODULEPATH", "modules", "is not an absolute path"),
        ("OZREPRO_STORE", "$NOT_SET_HERE/x", "names a variable that is not set"),
        ("OZREPRO_CACHE", "$NOT_SET_HERE/x", "names a variable that is not set"),
    ],
)
@pytest.mark.parametrize("text", ["", '[tool.ozrepro]\nlocks = "flock"\n'])
def test_a_mistake_of_a_variable_is_told_as_one(tmp_path: Path, text: str, variable: str, value: str, right: str) -> None:
    write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        load_settings(tmp_path, {variable: value})
    assert str(caught.value).startswith(f"environment variables: 1 mistake:\n  {variable}: ")
    assert right in str(caught.value)


def test_mistakes_of_the_file_and_of_variables_are_told_together(tmp_path: Path) -> None:
    write(tmp_path, '[tool.ozrepro]\nplatform = "a b"\n')
    with pytest.raises(SpecError, match=r"pyproject\.toml: 2 mistakes") as caught:
        load_settings(tmp_path, {"OZREPRO_LOCKS": "soft"})
    assert [line.partition(": ")[0] for line in caught.value.problems] == ["line 2, tool.ozrepro.platform", "OZREPRO_LOCKS"]


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "true", "1979-05-27", "07:32:00", "9223372036854775807", '"1"'])
def test_a_value_that_is_no_number_of_seconds_is_refused(tmp_path: Path, value: str) -> None:
    write(tmp_path, f"[tool.ozrepro]\nlock-timeout = {value}\n")
    with pytest.raises(SpecError, match=r"lock-timeout: is .*; write a number of seconds above 0"):
        load_settings(tmp_path, {})


def test_a_pyproject_that_is_no_toml_is_named(tmp_path: Path) -> None:
    write(tmp_path, "[tool.ozrepro\n")
    with pytest.raises(SpecError, match=r"pyproject\.toml: 1 mistake"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize(
    "address", ["https://me:s3cret@mirror.example", "me:s3cret@mirror.example/hub", "mirror.example/?key=s3cret"]
)
def test_an_address_with_a_login_is_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    """Such a file is committed; an address of a registry may have no scheme."""
    (tmp_path / "pyproject.toml").write_text(f'[tool.ozrepro.registries]\n"docker.io" = "{address}"\n')
    with pytest.raises(SpecError, match="holds a login, a token, a query") as caught:
        load_settings(tmp_path, {})
    assert "s3cret" not in str(caught.value)


def test_what_a_site_and_a_project_pass_adds_up(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.ozrepro]\npass = ["MY_DATA"]\n')
    assert load_settings(tmp_path, {}).passed == ("MY_DATA",)
    assert load_settings(tmp_path, {"OZREPRO_PASS": "SCRATCH, UCX_*,"}).passed == ("MY_DATA", "SCRATCH", "UCX_*")
    with pytest.raises(UsageError, match=r"OZREPRO_PASS: 'A-B' is not a variable's name"):
        load_settings(tmp_path, {"OZREPRO_PASS": "A-B"})
    (tmp_path / "pyproject.toml").write_text('[tool.ozrepro]\npass = ["*"]\n')
    with pytest.raises(SpecError, match="is not a variable's name"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize(("text", "kind"), [("[tool]\nozrepro = 3\n", "a whole number"), ("[tool]\nozrepro = []\n", "an array")])
def test_settings_that_are_not_a_table_are_refused(tmp_path: Path, text: str, kind: str) -> None:
    write(tmp_path, text)
    with pytest.raises(SpecError, match=rf"line 2, tool\.ozrepro: is {kind}; write a table"):
        load_settings(tmp_path, {})
    with pytest.raises(SpecError, match="write a table"):
        load_settings(tmp_path, {"OZREPRO_LOCKS": "flock"})


def test_each_address_of_the_settings_is_checked_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, '[tool.ozrepro.channels]\nlab = 3\n"a b" = "https://x"\nfine = "https://y"\n"pkgs/main" = "https://y"\n')
    with pytest.raises(SpecError) as caught:
        load_settings(tmp_path, {})
    assert list(caught.value.problems) == [
        "line 2, tool.ozrepro.channels.lab: is a whole number; write a string in quotes",
        "line 3, tool.ozrepro.channels.a b: is not a channel's name; write one such as conda-forge, or pkgs/main in quotes",
    ]


@pytest.mark.parametrize("table", ["channels", "indexes", "registries"])
@pytest.mark.parametrize(
    "address", ["https://me:s3cret@h/c", "https://h/t/s3cret/c", "https://h/c/t/tk-s3cret", "https://h/c?sig=s3cret"]
)
def test_no_address_of_the_settings_holds_a_secret_and_none_is_shown(tmp_path: Path, table: str, address: str) -> None:
    write(tmp_path, f'[tool.ozrepro.{table}]\nlab = "{address}"\n')
    with pytest.raises(SpecError, match="holds a login, a token, a query") as caught:
        load_settings(tmp_path, {})
    assert "s3cret" not in str(caught.value)
