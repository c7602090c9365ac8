"""Kernelspecs: where they lie, whose name is whose, what is read as one of ozrepro's, and that nothing of another's is touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import OzreproError, StoreError, UsageError
from ozrepro.frontends.kernels import (
    Kernel,
    ask_kernel,
    check_display_name,
    kernel_name,
    kernels_folder,
    kernels_in,
    remove_kernel,
    shown_places,
    why_not,
    write_kernel,
)

JUPYTER_TAKES = "abcdefghijklmnopqrstuvwxyz0123456789._-"
"""The characters of a kernel's name (jupyter_client.kernelspec), which makes capital letters small."""
ROOT = Path("/projects/of mine")


def written(folder: Path, session: str = "fit", root: Path = ROOT, shown: str = "Fit") -> Kernel:
    """Write a kernelspec."""
    return write_kernel(folder, root, session, root / ".ozrepro" / "bin" / session / "python", shown, {"debugger": True}, {})


def program(path: Path, text: str) -> Path:
    """Write a script of the shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("environ", "system", "expected"),
    [
        ({}, "linux", "/h/.local/share/jupyter/kernels"),
        ({"XDG_DATA_HOME": ""}, "linux", "/h/.local/share/jupyter/kernels"),
        ({"XDG_DATA_HOME": "/data"}, "linux", "/data/jupyter/kernels"),
        ({"XDG_DATA_HOME": "/data", "JUPYTER_DATA_DIR": "/mine"}, "linux", "/mine/kernels"),
        ({}, "darwin", "/h/Library/Jupyter/kernels"),
        ({"XDG_DATA_HOME": "/data"}, "darwin", "/h/Library/Jupyter/kernels"),
    ],
)
def test_kernels_lie_where_jupyter_looks_for_a_user_s(environ: dict[str, str], system: str, expected: str) -> None:
    assert kernels_folder({"HOME": "/h", **environ}, system) == Path(expected)


def test_a_relative_folder_counts_from_the_current_one_as_for_jupyter() -> None:
    assert kernels_folder({"HOME": "/h", "JUPYTER_DATA_DIR": "mine"}) == Path.cwd() / "mine" / "kernels"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"JUPYTER_RUNTIME_DIR": "/run/jupyter"}, None),
        ({"JUPYTER_DATA_DIR": "/data/$me"}, "/data/$$me/runtime"),
        ({"XDG_DATA_HOME": "/data"}, "/data/jupyter/runtime"),
        ({"JUPYTER_RUNTIME_DIR": "{link}"}, "{real}"),
        ({"HOME": "{link}"}, "{real}/.local/share/jupyter/runtime"),
    ],
)
def test_an_image_is_shown_where_jupyter_writes_connection_files(
    tmp_path: Path, environ: dict[str, str], expected: str | None
) -> None:
    places = {"{link}": str(tmp_path / "link"), "{real}": str(tmp_path / "real")}
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name, path in places.items():
        environ = {key: value.replace(name, path) for key, value in environ.items()}
        expected = expected.replace(name, path) if expected else None
    assert shown_places({"HOME": "/h", **environ}) == ({"JUPYTER_RUNTIME_DIR": expected} if expected else {})


class TestNames:
    @given(st.text(), st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z"))
    def test_any_project_and_session_have_a_name_that_jupyter_takes(self, project: str, session: str) -> None:
        name = kernel_name(project, session)
        assert name
        assert set(name) <= set(JUPYTER_TAKES)
        assert name[0] not in "-."
        assert len(name) < 220

    def test_a_name_says_project_and_session(self) -> None:
        assert kernel_name("Sun Spots", "fit_2") == "sun-spots-fit_2"

    @pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x1b[31mb", "a\u202eb", "a\udcff", "x" * 101])
    def test_what_cannot_be_shown_on_one_line_is_no_display_name(self, text: str) -> None:
        with pytest.raises(UsageError, match="--display-name"):
            check_display_name(text)

    def test_a_display_name_may_have_letters_of_any_language(self, tmp_path: Path) -> None:
        shown = check_display_name(" Größe (β, 星) ☉ ")
        assert shown == "Größe (β, 星) ☉"
        assert json.loads(written(tmp_path, shown=shown).file.read_text(encoding="utf-8"))["display_name"] == shown


class TestWriting:
    def test_a_kernelspec_starts_the_launcher_by_its_whole_path(self, tmp_path: Path) -> None:
        made = written(tmp_path / "not there" / "kernels")
        spec = json.loads(made.file.read_text(encoding="utf-8"))
        launcher = "/projects/of mine/.ozrepro/bin/fit/python"
        assert spec["argv"] == [launcher, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        assert (spec["interrupt_mode"], spec["language"], spec["display_name"]) == ("signal", "python", "Fit")
        assert spec["metadata"] == {"debugger": True, "ozrepro": {"project": "/projects/of mine", "session": "fit"}}
        assert os.listdir(made.file.parent) == ["kernel.json"]
        assert made.file.stat().st_mode & 0o022 == 0

    def test_in_an_image_lines_that_jupyter_leaves_as_they_are_start_the_kernel(self, tmp_path: Path) -> None:
        made = write_kernel(tmp_path, ROOT, "fit", ROOT / "python", "Fit", {}, {"JUPYTER_RUNTIME_DIR": "/run"}, is_image=True)
        spec = json.loads(made.file.read_text(encoding="utf-8"))
        launcher, option, how, text, *connection = spec["argv"]
        assert (launcher, option, how) == (str(ROOT / "python"), "-Xfrozen_modules=off", "-c")
        assert connection == ["-f", "{connection_file}"]
        assert "{" not in text
        compile(text, "kernel", "exec")
        assert spec["env"] == {"JUPYTER_RUNTIME_DIR": "/run"}

    def test_a_second_one_of_the_session_takes_the_first_one_s_place(self, tmp_path: Path) -> None:
        first, second = written(tmp_path), written(tmp_path, shown="Other")
        assert (first.name, second.name) == ("of-mine-fit", "of-mine-fit")
        assert [kernel.display_name for kernel in kernels_in(tmp_path)] == ["Other"]

    def test_projects_of_one_folder_name_have_a_kernel_each(self, tmp_path: Path) -> None:
        roots = [Path("/a/sun"), Path("/b/sun"), Path("/c/sun")]
        names = [written(tmp_path, root=root).name for root in roots]
        assert names[0] == "sun-fit"
        assert len(set(names)) == 3
        assert [written(tmp_path, root=root).name for root in roots] == names
        assert {kernel.project for kernel in kernels_in(tmp_path)} == set(map(str, roots))

    def test_sessions_that_differ_in_capital_letters_have_a_kernel_each(self, tmp_path: Path) -> None:
        assert len({written(tmp_path, session=name).name.lower() for name in ("fit", "Fit")}) == 2

    @pytest.mark.parametrize("kind", ["folder", "capital letters", "file", "link", "dangling link"])
    def test_what_another_has_put_there_is_left_alone(self, tmp_path: Path, kind: str) -> None:
        place = tmp_path / ("Of-Mine-Fit" if kind == "capital letters" else "of-mine-fit")
        if kind in ("folder", "capital letters"):
            place.mkdir()
            (place / "kernel.json").write_text('{"argv": ["theirs"]}')
        elif kind == "file":
            place.write_text("theirs")
        else:
            (tmp_path / "theirs").mkdir()
            place.symlink_to(tmp_path / ("theirs" if kind == "link" else "nowhere"))
        before = sorted(tmp_path.rglob("*"))
        made = written(tmp_path)
        assert made.name.startswith("of-mine-fit-")
        assert [path for path in sorted(tmp_path.rglob("*")) if not path.is_relative_to(made.file.parent)] == before

    def test_a_session_both_of_whose_names_are_taken_is_refused(self, tmp_path: Path) -> None:
        written(tmp_path, root=Path("/elsewhere/of mine"))
        taken = written(tmp_path).file
        taken.write_text("{}")
        with pytest.raises(UsageError, match="ozrepro did not write this kernel") as caught:
            written(tmp_path)
        assert caught.value.hint == f"jupyter kernelspec remove {taken.parent.name}"
        assert taken.read_text() == "{}"

    def test_what_a_killed_process_has_left_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "of-mine-fit").mkdir()
        assert written(tmp_path).name == "of-mine-fit"

    def test_nothing_is_left_of_one_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(path: Path, content: bytes) -> None:
            raise OSError(28, os.strerror(28), str(path))

        monkeypatch.setattr("ozrepro.frontends.kernels.write_whole", full)
        with pytest.raises(StoreError, match="cannot write the kernel: No space left") as caught:
            written(tmp_path)
        assert "set JUPYTER_DATA_DIR to a folder elsewhere" in caught.value.hint
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "jupyter").write_text("")
        with pytest.raises(StoreError, match="cannot write the kernel: "):
            written(tmp_path / "jupyter" / "kernels")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_may_only_be_read_is_said(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o555)
        with pytest.raises(StoreError, match="cannot write the kernel: Permission denied") as caught:
            written(tmp_path / "kernels")
        assert caught.value.hint == "set JUPYTER_DATA_DIR to a folder of your own"

    def test_a_folder_that_everybody_may_write_to_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "kernels").mkdir()
        (tmp_path / "kernels").chmod(0o777)
        with pytest.raises(StoreError, match="can be written by everybody"):
            written(tmp_path / "kernels")

    @pytest.mark.parametrize("name", ["{connection_file}", "a {prefix} b", "{resource_dir}"])
    def test_a_path_that_jupyter_would_change_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError, match="braces"):
            written(tmp_path, root=Path("/projects") / name)
        assert written(tmp_path, root=Path("/projects/{a-b}")).name == "a-b-fit"


class TestReading:
    @pytest.mark.parametrize(
        "content",
        [
            "{",
            "[]",
            "null",
            "[" * 9999,
            '{"argv": ["python"], "display_name": "theirs", "language": "python"}',
            '{"argv": [], "display_name": "x", "metadata": {"ozrepro": {"project": "/p", "session": "fit"}}}',
            '{"argv": ["x"], "display_name": 5, "metadata": {"ozrepro": {"project": "/p", "session": "fit"}}}',
            '{"argv": ["x"], "display_name": "x", "metadata": {"ozrepro": []}}',
            '{"argv": ["x"], "display_name": "x", "metadata": "ozrepro"}',
            '{"argv": ["a\\u0000"], "display_name": "x", "metadata": {"ozrepro": {"project": "/p", "session": "fit"}}}',
        ],
    )
    def test_what_ozrepro_did_not_write_is_none_of_its_kernels(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "kernel.json").write_text(content)
        assert kernels_in(tmp_path) == []

    def test_links_and_fifos_are_not_followed(self, tmp_path: Path) -> None:
        made = written(tmp_path / "elsewhere")
        folder = tmp_path / "kernels"
        folder.mkdir()
        (folder / "a").symlink_to(made.file.parent)
        (folder / "b").mkdir()
        (folder / "b" / "kernel.json").symlink_to(made.file)
        (folder / "c").mkdir()
        os.mkfifo(folder / "c" / "kernel.json")
        assert kernels_in(folder) == []

    def test_a_folder_that_is_not_there_has_none(self, tmp_path: Path) -> None:
        assert kernels_in(tmp_path / "none") == []


class TestRemoving:
    def test_a_kernel_goes_with_its_folder(self, tmp_path: Path) -> None:
        assert remove_kernel(written(tmp_path))
        assert list(tmp_path.iterdir()) == []

    def test_other_files_of_its_folder_stay(self, tmp_path: Path) -> None:
        made = written(tmp_path)
        (made.file.parent / "logo-64x64.png").touch()
        assert not remove_kernel(made)
        assert os.listdir(made.file.parent) == ["logo-64x64.png"]


class TestStarting:
    def kernel(self, folder: Path) -> Kernel:
        return Kernel("k", folder / "kernel.json", "/p", "fit", "Fit", folder / "python")

    def test_the_launcher_says_whether_a_kernel_can_start(self, tmp_path: Path) -> None:
        assert why_not(self.kernel(tmp_path), os.environ) == f"{tmp_path}/python is not there"
        program(tmp_path / "ozrepro-check", "exit 0")
        assert why_not(self.kernel(tmp_path), os.environ) == ""
        program(tmp_path / "ozrepro-check", "echo 'ozrepro: it has changed' >&2; echo '  try: this' >&2; exit 3")
        assert why_not(self.kernel(tmp_path), os.environ) == "it has changed"
        program(tmp_path / "ozrepro-check", "exit 7")
        assert why_not(self.kernel(tmp_path), os.environ) == "ozrepro-check ended with 7"

    def test_what_ipykernel_says_of_itself_is_the_last_line(self, tmp_path: Path) -> None:
        python = program(tmp_path / "python", 'echo hello; echo \'{"debugger": true, "supported_encryption": ["curve"]}\'')
        assert ask_kernel(python, "fit", os.environ) == {"debugger": True, "supported_encryption": ["curve"]}

    @pytest.mark.parametrize("text", ["echo '[]'", "echo no", "true", "echo 'ModuleNotFoundError: zmq' >&2; exit 1"])
    def test_an_ipykernel_that_does_not_start_is_said(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(OzreproError, match="ipykernel does not start: ") as caught:
            ask_kernel(program(tmp_path / "python", text), "fit", os.environ)
        assert caught.value.hint == "ozrepro run fit -- python -m ipykernel_launcher --version"
        if "zmq" in text:
            assert "ModuleNotFoundError: zmq" in caught.value.what

    def test_a_python_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(OzreproError, match="ipykernel does not start: "):
            ask_kernel(tmp_path / "python", "fit", os.environ)
