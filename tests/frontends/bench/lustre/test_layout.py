"""What Lustre's own programs say, from stand-ins: none is here, and what they print is copied from real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.frontends.bench.lustre.layout import Component, components, lustre_notes

PLAIN = "stripe_count:  1 stripe_size:   1048576 pattern:       raid0 stripe_offset: -1 pool:          ddn_hdd\n\n"
OLD = "stripe_count:   1 stripe_size:    1048576 stripe_offset:  -1 \n"
UNSET = "stripe_count:  1 stripe_size:   1048576 pattern:       0 stripe_offset: -1\n\n"
ALL = "stripe_count:  -1 stripe_size:   4194304 pattern:       raid0,overstriped stripe_offset: -1\n"
PROGRESSIVE = """\
  lcm_layout_gen:    0
  lcm_mirror_count:  1
  lcm_entry_count:   3
    lcme_id:             N/A
    lcme_mirror_id:      N/A
    lcme_flags:          0
    lcme_extent.e_start: 0
    lcme_extent.e_end:   65536
      stripe_count:  0       stripe_size:   65536       pattern:       mdt       stripe_offset: -1

    lcme_id:             N/A
    lcme_mirror_id:      N/A
    lcme_flags:          0
    lcme_extent.e_start: 65536
    lcme_extent.e_end:   104857600
      stripe_count:  8       stripe_size:   1048576       pattern:       raid0       stripe_offset: -1

    lcme_id:             N/A
    lcme_mirror_id:      N/A
    lcme_flags:          0
    lcme_extent.e_start: 104857600
    lcme_extent.e_end:   EOF
      stripe_count:  -1       stripe_size:   1048576       pattern:       raid0       stripe_offset: -1

"""
ELSEWHERE = "error: getstripe failed for %s: Inappropriate ioctl for device (25)"


def program(folder: Path, name: str, script: str) -> None:
    """Write a stand-in for one of Lustre's programs."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def printing(text: str) -> str:
    """Return a script that prints a text."""
    return f"cat <<'END'\n{text}\nEND"


@pytest.mark.parametrize(
    ("text", "count", "words"),
    [
        (PLAIN, "1", "raid0, 1 stripe of 1.0 MiB, pool ddn_hdd"),
        (OLD, "1", "1 stripe of 1.0 MiB"),
        (UNSET, "1", "1 stripe of 1.0 MiB"),
        (ALL, "-1", "raid0,overstriped, a stripe of 4.0 MiB on each target"),
        (
            PROGRESSIVE,
            "0, 8, -1",
            (
                "0 B to 64 KiB: mdt; 64 KiB to 100 MiB: raid0, 8 stripes of 1.0 MiB; "
                "100 MiB to the end: raid0, a stripe of 1.0 MiB on each target"
            ),
        ),
    ],
    ids=["plain", "old", "unset", "all", "progressive"],
)
def test_the_layout_of_new_files_is_told_in_words(text: str, count: str, words: str, tmp_path: Path) -> None:
    program(tmp_path / "bin", "lfs", printing(text))
    said: list[str] = []
    assert lustre_notes(tmp_path, str(tmp_path / "bin"), said.append) == {"stripe_count": count, "layout": words}
    assert said == []


def test_lfs_is_asked_about_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its whole path, whatever its name, and `lctl` for one parameter."""
    log = tmp_path / "asked"
    for name in ("lfs", "lctl"):
        program(tmp_path / "bin", name, f"printf '%s|' {name} \"$@\" >> '{log}'")
    (tmp_path / "-d a").mkdir()
    monkeypatch.chdir(tmp_path)
    assert lustre_notes(Path("-d a"), str(tmp_path / "bin"), print) == {}
    assert log.read_text() == f"lctl|get_param|-n|version|lfs|getstripe|-d|{tmp_path}/-d a|"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.15.3", "2.15.3"),
        ("2.12.8_ddn18", "2.12.8_ddn18"),
        ("lustre: 2.7.0\nkernel: patchless_client\nbuild: 2.7.0-RC4--PRISTINE-3.10.0", "2.7.0"),
    ],
)
def test_the_version_of_the_lustre_client_is_told(text: str, version: str, tmp_path: Path) -> None:
    program(tmp_path / "bin", "lctl", printing(text))
    assert lustre_notes(tmp_path, str(tmp_path / "bin"), print) == {"client": version}


@pytest.mark.parametrize("text", ["", "nothing that is known", "stripe_count: many stripe_size: 1", "\x1b[31m" * 9, "x" * 9999])
def test_words_of_a_layout_that_are_not_understood_are_left_out(text: str, tmp_path: Path) -> None:
    for name in ("lfs", "lctl"):
        program(tmp_path / "bin", name, printing(text))
    assert lustre_notes(tmp_path, str(tmp_path / "bin"), print) == {}


def test_a_folder_of_another_file_system_is_told_with_the_programs_own_words(tmp_path: Path) -> None:
    program(tmp_path / "bin", "lfs", f"printf '{ELSEWHERE}\\n' \"$3\" >&2; exit 25")
    program(tmp_path / "bin", "lctl", "echo 2.15.3")
    said: list[str] = []
    assert lustre_notes(tmp_path, str(tmp_path / "bin"), said.append) == {"client": "2.15.3"}
    assert said == [f"lfs getstripe tells nothing here: {ELSEWHERE % tmp_path}"]


def test_an_lfs_that_hangs_is_ended(tmp_path: Path) -> None:
    """As it does where a server does not answer."""
    program(tmp_path / "bin", "lfs", "exec sleep 1000")
    said: list[str] = []
    assert lustre_notes(tmp_path, str(tmp_path / "bin"), said.append, patience=0.2) == {}
    assert said == ["lfs getstripe tells nothing here: lfs was killed: it took longer than 0.2 s"]


def test_an_lfs_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lfs").write_text("#!/nowhere\n")
    (tmp_path / "bin" / "lfs").chmod(0o755)
    said: list[str] = []
    assert lustre_notes(tmp_path, str(tmp_path / "bin"), said.append) == {}
    assert "cannot start" in said[0]


def test_no_layout_is_told_without_lfs_and_lctl(tmp_path: Path) -> None:
    said: list[str] = []
    assert lustre_notes(tmp_path, str(tmp_path), said.append) == {}
    assert said == []


def test_an_absurd_number_in_a_layout_is_no_error() -> None:
    assert len(components(f"stripe_count: {'9' * 5000} stripe_size: {'9' * 5000}")) == 1


def test_mirrors_of_a_layout_are_components() -> None:
    text = "lcme_extent.e_start: 0\nlcme_extent.e_end: EOF\nstripe_count: 2\n" * 2
    assert components(text) == (Component(2, start="0", end="EOF"),) * 2
