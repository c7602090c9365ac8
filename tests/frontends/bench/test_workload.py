"""Workloads: what a word of the command line starts."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.errors import StoreError, UsageError
from ozrepro.frontends.bench.workload import NUMPY_CALL, Workload, generate, of_imports, of_script, read_workload, read_workloads


def test_a_workload_is_chosen_by_its_word(tmp_path: Path) -> None:
    assert read_workload("empty", (), tmp_path, tmp_path) == Workload("empty")
    assert read_workload("numpy", (), tmp_path, tmp_path) == Workload("numpy", ("import numpy",), NUMPY_CALL)
    found = read_workload("imports", ("alpha", "scipy.signal"), tmp_path, tmp_path)
    assert (found.name, found.statements, found.call) == ("imports", ("import alpha", "import scipy.signal"), "")


def test_imports_below_numpy_bring_numpys_first_call() -> None:
    assert of_imports("imports", ("numpy.fft",)).statements == ("import numpy.fft", "import numpy")


def test_a_spec_without_imports_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no imports to time\n  try: imports = "):
        read_workload("imports", (), tmp_path, tmp_path)


@pytest.mark.parametrize("word", ["pandas", "generated:x", "generated:1:2:3", "generated:0", "generated:-1", "generated:500:²"])
def test_an_unknown_word_for_a_workload_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(UsageError, match=r"(unknown|invalid) workload"):
        read_workload(word, (), tmp_path, tmp_path)


def test_a_scripts_own_imports_are_taken_without_running_it(tmp_path: Path) -> None:
    script = tmp_path / "a script.py"
    script.write_text(
        "from __future__ import annotations\nimport json as j, os\nfrom pathlib import Path\nimport os\n"
        "from . import near\ntry:\n    import absent\nexcept ImportError:\n    pass\nraise SystemExit(3)\n"
    )
    found = of_script(script, ("--fast",))
    assert found.statements == ("import json as j, os", "from pathlib import Path", "import os")
    assert (found.name, found.script, found.arguments, found.path) == ("a script.py", str(script), ("--fast",), (str(tmp_path),))
    assert found.digest == hashlib.sha256(script.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"import (", "cannot be parsed as Python"), (b"\0", "cannot be parsed as Python"), (None, "cannot be read")],
)
def test_a_script_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "x.py").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_workload("x.py", (), tmp_path, tmp_path)


def test_scripts_of_one_file_name_have_their_paths_as_names(tmp_path: Path) -> None:
    for folder in ("one", "other", "third"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ("fit.py" if folder != "third" else "plot.py")).write_text("")
    words = ("one/fit.py", "empty", "other/fit.py", "third/plot.py")
    found = read_workloads(words, (), tmp_path, tmp_path)
    assert [workload.name for workload in found] == ["one/fit.py", "empty", "other/fit.py", "plot.py"]


def test_generated_trees_of_other_numbers_are_apart(tmp_path: Path) -> None:
    first, second = read_workloads(("generated:30:10", "generated:3:10"), (), tmp_path, tmp_path)
    assert first.path != second.path
    for work, last in ((first, "29"), (second, "2")):
        code = f"import sys; sys.path.insert(0, {work.path[0]!r}); {work.statements[0]}; print({work.call})"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == f"{last}\n"


def test_without_a_folder_to_work_in_the_same_workload_is_found_and_nothing_made(tmp_path: Path) -> None:
    looked = read_workload("generated:3:10", (), tmp_path, None)
    assert list(tmp_path.iterdir()) == []
    made = read_workload("generated:3:10", (), tmp_path, tmp_path)
    assert (looked.name, looked.statements, looked.call) == (made.name, made.statements, made.call)
    with pytest.raises(UsageError, match="invalid workload"):
        read_workload("generated:0", (), tmp_path, None)


def test_a_generated_tree_has_the_modules_and_sizes_asked_for_and_imports(tmp_path: Path) -> None:
    work = generate(tmp_path, 45, 3000)
    modules = sorted(tmp_path.rglob("module*.py"))
    assert len(modules) == 45
    assert all(3000 <= path.stat().st_size < 3200 for path in modules)
    code = f"import sys; sys.path.insert(0, {work.path[0]!r}); {work.statements[0]}; print({work.call})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("44\n", "")


def test_a_tree_for_which_there_is_no_room_is_an_error_with_the_room_left(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=16384", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="cannot write the generated tree: No space left on device"):
        generate(small_disk, 20, 4000)


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "other"):
        generate(tmp_path / name, 3, 200)
        texts.append([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.py"))])
    assert texts[0] == texts[1]
