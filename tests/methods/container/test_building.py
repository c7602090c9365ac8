"""An image is built whole or not at all, by a program that stands for Apptainer: what it is given, and what is made of its end."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.errors import BuildError, StoreError
from ozrepro.methods.container.apptainer import BUNDLES, ORDER_LINE, Mount, Program
from ozrepro.methods.container.building import Plan, build_image, forget_image, kept_image
from ozrepro.methods.container.definition import read_definition
from tests.methods.container.test_apptainer import COMMANDS
from tests.methods.container.test_contents import CONTENTS, TABLE

CLEAN = {"PATH": "/usr/bin:/bin"}
WRITTEN = "# The author's.\nBootstrap: docker\nFrom: python:3.11\n%post\n  echo hello\n  echo why-on-stdout; sh -c 'echo because >&2; exit 3'\n"
ANSWER = f"<ozrepro>{base64.b64encode(json.dumps(TABLE).encode()).decode()}</ozrepro>"


class Stand:
    """A program in place of Apptainer, and what it was given."""

    def __init__(self, folder: Path, build: str = 'printf image > "$out"', look: str = f"echo '{ANSWER}'") -> None:
        self.folder = folder
        self.text, self.words = folder / "given.def", folder / "given.words"
        path = folder / "apptainer"
        path.write_text(
            "#!/bin/sh\n"
            'case "$1" in build)\n'
            f'  printf "%s\\n" "$@" > "{self.words}"; for last; do out="$before"; before="$last"; done\n'
            f'  [ ! -f "$last" ] || cp "$last" "{self.text}"; [ ! -f "$last" ] || cp -r "${{last%/*}}" "{folder}/private"\n'
            f"  {build};;\n"
            f"*) {look};;\nesac\n"
        )
        path.chmod(0o755)
        self.program = Program(str(path), "apptainer", "1.4.5")


def plan(root: Path, text: str = WRITTEN) -> Plan:
    return Plan(text, "", read_definition(WRITTEN, {}), "sessions/work.def", {}, False, root)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_image_is_published_whole_and_known_again(tmp_path: Path) -> None:
    stand, folder, steps = Stand(tmp_path), tmp_path / "cache" / "images", list[str]()
    built = build_image(stand.program, plan(tmp_path), folder, tmp_path / "own", CLEAN, steps.append)
    assert (built.file, built.size, built.contents) == (folder / "image.sif", 5, CONTENTS)
    assert built.sha256 == hashlib.sha256(b"image").hexdigest()
    assert left(folder) == ["image.json", "image.sif"]
    assert kept_image(folder) == built
    assert steps == ["looking into the image"]
    assert stand.text.read_text() == f"{WRITTEN}%test\n{ORDER_LINE}\n"
    forget_image(folder)
    assert kept_image(folder) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [("image.sif", "imagf"), ("image.sif", "imag"), ("image.json", "{"), ("image.json", "[]"), ("image.json", "null"),
     ("image.json", '{"contents": {"distributions": [null]}}'), ("image.json", "[" * 200_000), ("image.sif", None), ("image.json", None)],
)  # fmt: skip
def test_an_image_that_is_not_whole_any_more_is_built_again(tmp_path: Path, name: str, content: str | None) -> None:
    folder = tmp_path / "images"
    build_image(Stand(tmp_path).program, plan(tmp_path), folder, tmp_path, CLEAN, print)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    assert kept_image(folder) is None


def test_mksquashfs_is_given_the_order_that_a_start_of_the_imports_has_written(tmp_path: Path) -> None:
    own = tmp_path / "args"
    stand = Stand(
        tmp_path,
        build=f'printf image > "$out"; python3 "$OZREPRO_ORDER"; cp "${{OZREPRO_ORDER%.py}}" "{own}.order"; echo "$APPTAINER_MKSQUASHFS_ARGS" > "{own}"',
    )
    build_image(stand.program, replace(plan(tmp_path), imports=("json.tool",)), tmp_path / "images", tmp_path, CLEAN, print)
    *given, option, name = own.read_text().split()
    assert (given[:2], option, Path(name).name) == (["-comp", "zstd"], "-sort", "order")
    lines = (tmp_path / "args.order").read_text().splitlines()
    paths = [line.split()[0] for line in lines]
    assert not any(path.startswith("/") for path in paths)
    assert any("json/decoder" in path or "json/__pycache__/decoder" in path for path in paths)
    numbers = [int(line.split()[1]) for line in lines]
    assert numbers == sorted(numbers, reverse=True)


def test_an_order_of_the_caller_s_own_is_left(tmp_path: Path) -> None:
    own = tmp_path / "args"
    stand = Stand(tmp_path, build=f'printf image > "$out"; echo "$APPTAINER_MKSQUASHFS_ARGS ${{OZREPRO_ORDER-none}}" > "{own}"')
    environ = {**CLEAN, "APPTAINER_MKSQUASHFS_ARGS": "-sort /of/mine"}
    build_image(stand.program, plan(tmp_path), tmp_path / "images", tmp_path, environ, print)
    assert own.read_text().split() == ["-sort", "/of/mine", "none"]


def test_a_source_without_a_definition_is_fetched_as_it_is(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    fetched = replace(plan(tmp_path), text="", source="docker://127.0.0.1:5999/a@sha256:0", written=None, plain=True)
    build_image(stand.program, fetched, tmp_path / "images", tmp_path, CLEAN, print)
    words = stand.words.read_text().splitlines()
    assert (words[0], words[1], words[-1]) == ("build", "--no-https", "docker://127.0.0.1:5999/a@sha256:0")


def failing(tmp_path: Path, said: str) -> BuildError:
    """Return the error of a build that says this; `GIVEN` is the path of what it was given."""
    (tmp_path / "said").write_text(said)
    stand = Stand(tmp_path, build=f'printf half > "$out"; sed "s|GIVEN|$last|g" "{tmp_path}/said" >&2; exit 255')
    with pytest.raises(BuildError) as caught:
        build_image(stand.program, plan(tmp_path), tmp_path / "images", tmp_path, CLEAN, lambda step: None)
    assert left(tmp_path / "images") == []
    return caught.value


def test_a_failing_line_of_post_is_named_with_its_log_and_nothing_half_built_stays(tmp_path: Path) -> None:
    error = failing(tmp_path, COMMANDS)
    assert error.where == "sessions/work.def, line 6"
    assert error.what.splitlines()[:2] == ["%post failed at: sh -c echo because >&2; exit 3", "    because"]
    assert error.hint == "fix that line, then the same command again"


def test_a_full_disk_is_said_with_what_to_do(tmp_path: Path) -> None:
    error = failing(tmp_path, "FATAL:   While performing build: write /tmp/build-temp-1/x: no space left on device\n")
    assert error.what.startswith("there was no room to build the image:")
    assert "APPTAINER_TMPDIR" in error.hint


def test_a_definition_that_apptainer_cannot_read_is_named_as_its_author_named_it(tmp_path: Path) -> None:
    error = failing(tmp_path, "FATAL: Unable to build from GIVEN: while parsing definition: GIVEN: invalid section(s): pots\n")
    assert "from sessions/work.def: while parsing definition: sessions/work.def: invalid section(s): pots" in error.what
    assert error.hint == "correct sessions/work.def, then the same command again"


def test_any_other_end_has_its_status_and_what_was_said(tmp_path: Path) -> None:
    error = failing(tmp_path, "FATAL:   While performing build: conveyor failed to get: unauthorized\n")
    assert error.what.splitlines()[0] == "Apptainer ended with status 255:"
    assert "unauthorized" in error.what


def test_an_image_that_cannot_be_looked_into_is_not_published(tmp_path: Path) -> None:
    stand = Stand(tmp_path, look="echo 'FATAL: no python3: not found' >&2; exit 255")
    with pytest.raises(BuildError, match="has no python3"):
        build_image(stand.program, plan(tmp_path), tmp_path / "images", tmp_path, CLEAN, print)
    assert left(tmp_path / "images") == []


def test_a_build_that_fails_leaves_the_image_that_was_there(tmp_path: Path) -> None:
    before = build_image(Stand(tmp_path).program, plan(tmp_path), tmp_path / "images", tmp_path, CLEAN, print)
    with pytest.raises(BuildError):
        build_image(Stand(tmp_path, build="exit 1").program, plan(tmp_path), tmp_path / "images", tmp_path, CLEAN, print)
    assert kept_image(tmp_path / "images") == before


def test_a_program_that_ends_well_and_writes_nothing_is_a_store_s_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot build an image"):
        build_image(Stand(tmp_path, build="true").program, plan(tmp_path), tmp_path / "images", tmp_path, CLEAN, print)


def test_a_cache_that_cannot_be_written_is_a_store_s_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot build an image"):
        build_image(Stand(tmp_path).program, plan(tmp_path), tmp_path / "file" / "images", tmp_path, CLEAN, print)


def test_certificates_and_pip_s_settings_are_seen_by_post_and_not_kept_in_the_image(tmp_path: Path) -> None:
    bundle = tmp_path / "site.crt"
    bundle.write_text("CERTIFICATE")
    stand = Stand(tmp_path)
    secret = replace(plan(tmp_path), pip="[global]\nindex-url = https://me:s3cret@index.example/simple\n")
    environ = {**CLEAN, "SSL_CERT_FILE": str(bundle)}
    build_image(stand.program, secret, tmp_path / "images", tmp_path, environ, print)
    text = stand.text.read_text()
    assert "s3cret" not in text
    lines = text.splitlines()
    private = lines[4].partition("=")[2].rpartition("/")[0]
    post = lines.index("%post")
    assert lines[post + 1 :][: len(BUNDLES)] == [f"export {name}={private}/certificates.crt" for name in BUNDLES]
    assert lines[post + len(BUNDLES) + 1] == f"export PIP_CONFIG_FILE={private}/pip.conf"
    assert lines[post + len(BUNDLES) + 2 :] == [*WRITTEN.splitlines()[4:], "%test", ORDER_LINE]
    assert (tmp_path / "private" / "certificates.crt").read_text() == "CERTIFICATE"
    assert "s3cret" in (tmp_path / "private" / "pip.conf").read_text()
    assert not Path(private).exists()


def test_folders_of_this_machine_are_mounted_where_the_image_gets_a_place_for_them(tmp_path: Path) -> None:
    wheels = tmp_path / "a $(touch hacked) 'house'"
    stand = Stand(tmp_path)
    mounted = replace(plan(tmp_path), mounts=(Mount(str(wheels), str(wheels), read_only=True),))
    build_image(stand.program, mounted, tmp_path / "images", tmp_path, CLEAN, print)
    found = read_definition(stand.text.read_text(), {})
    setup = next(part for part in found.stages[0].parts if part.name == "setup")
    for name in ("APPTAINER_ROOTFS", "SINGULARITY_ROOTFS"):
        rootfs = tmp_path / name
        subprocess.run(["sh", "-ec", "\n".join(setup.lines)], env={**CLEAN, name: str(rootfs)}, cwd=tmp_path, check=True)
        assert (rootfs / str(wheels)[1:]).is_dir()
    assert not (tmp_path / "hacked").exists()
