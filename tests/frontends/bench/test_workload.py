"""Workloads: what a word of the command line starts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ozrepro.errors import UsageError
from ozrepro.frontends.bench.workload import NUMPY_CALL, Workload, of_imports, of_script, read_workload, read_workloads


def test_a_workload_is_chosen_by_its_word(tmp_path: Path) -> None:
    assert read_workload("empty", (), tmp_path) == Workload("empty")
    assert read_workload("numpy", (), tmp_path) == Workload("numpy", ("import numpy",), NUMPY_CALL)
    found = read_workload("imports", ("alpha", "scipy.signal"), tmp_path)
    assert (found.name, found.statements, found.call) == ("imports", ("import alpha", "import scipy.signal"), "")


def test_imports_below_numpy_bring_numpys_first_call() -> None:
    assert of_imports("imports", ("numpy.fft",)).statements == ("import numpy.fft", "import numpy")


def test_a_spec_without_imports_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no imports to time\n  try: imports = "):
        read_workload("imports", (), tmp_path)


@pytest.mark.parametrize("word", ["pandas", "numpy:1", "fit.sh"])
def test_an_unknown_word_for_a_workload_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(UsageError, match="unknown workload"):
        read_workload(word, (), tmp_path)


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
        read_workload("x.py", (), tmp_path)


def test_scripts_of_one_file_name_have_their_paths_as_names(tmp_path: Path) -> None:
    for folder in ("one", "other", "third"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ("fit.py" if folder != "third" else "plot.py")).write_text("")
    words = ("one/fit.py", "empty", "other/fit.py", "third/plot.py")
    found = read_workloads(words, (), tmp_path)
    assert [workload.name for workload in found] == ["one/fit.py", "empty", "other/fit.py", "plot.py"]
