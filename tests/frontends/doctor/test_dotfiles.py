"""Lines of start-up files that change every shell, and lines that do not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ozrepro.frontends.doctor.dotfiles import FILES, check_collections, check_dotfiles, lines_that_hurt
from tests.frontends.doctor.conftest import Patient


@pytest.mark.parametrize(
    "line",
    [
        "module load gcc/11.3.0",
        "  module add gcc/11.3.0",
        "module use /fred/oz1/modules",
        "module -q load gcc/11.3.0",
        "module restore work",
        "ml gcc/11.3.0 openmpi/4.1.4",
        "ml load gcc",
        "[ -t 0 ] && module load gcc",
        "if true; then module load gcc; fi",
        "conda activate base",
        "mamba activate work",
        "source activate work",
        "source ~/venvs/work/bin/activate",
        '. "$HOME/venvs/work/bin/activate"',
        "source /v/bin/activate.csh",
        "export PYTHONPATH=$HOME/lib:$PYTHONPATH",
        "export A=1 LD_LIBRARY_PATH=/x",
        "setenv PYTHONPATH /x",
        "set -gx LD_LIBRARY_PATH /x $LD_LIBRARY_PATH",
        "module load gcc # for work",
        "echo hello; module load gcc",
    ],
)
def test_a_start_up_line_that_breaks_sessions_is_found(line: str) -> None:
    """It is found with its number and without what stands behind it."""
    ((number, words, _),) = lines_that_hurt(f"# start\n\n{line}\n")
    assert number == 3
    assert words in " ".join(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "# module load gcc/11.3.0",
        "   #module load gcc",
        "echo hi # module load gcc",
        "alias work='module load gcc/11.3.0'",
        "work() { module load gcc; }",
        "function work { module load gcc; }",
        "work() {\n  module load gcc\n  if true; then\n    ml gcc\n  fi\n}",
        "  work ()\n  {\n    module load gcc\n  }",
        "module list",
        "module purge",
        "ml",
        "ml av",
        "ml -gcc",
        "ml spider python",
        "echo module load gcc",
        "conda deactivate",
        "source ~/deactivate.sh",
        "source ~/.bash_aliases",
        "export PYTHONPATH_OLD=/x",
        "export PATH=$HOME/bin:$PATH",
        "unset PYTHONPATH",
        "export PYTHONNOUSERSITE=1",
    ],
)
def test_a_harmless_start_up_line_is_no_finding(line: str) -> None:
    """Comments, functions, aliases, questions and other variables change no shell."""
    assert list(lines_that_hurt(line)) == []


def test_lines_behind_a_function_are_read() -> None:
    """Also in fish, where a function ends with `end`."""
    assert list(lines_that_hurt("f() {\n  ml gcc\n}\nml gcc\n")) == [(4, "ml gcc", True)]
    assert list(lines_that_hurt("function f\n  if true\n    ml gcc\n  end\nend\nml gcc\n", fish=True)) == [(6, "ml gcc", True)]
    assert list(lines_that_hurt("function f\n{\n  ml gcc\n}\nml gcc\n")) == [(5, "ml gcc", True)]


def test_words_behind_a_command_are_not_repeated(patient: Patient) -> None:
    """A line may hold a secret."""
    patient.plant(".bashrc", "module load gcc; export TOKEN=secret\nexport PYTHONPATH=/secret\n")
    assert "secret" not in repr(check_dotfiles(patient.place()))


@pytest.mark.parametrize("name", FILES)
def test_each_start_up_file_is_read(patient: Patient, name: str) -> None:
    """With the file, the line, and a command that comments it out."""
    patient.plant(name, "\nconda activate work\n")
    (found,) = check_dotfiles(patient.place())
    assert (found.level, found.seen) == ("wrong", f"~/{name} line 2: conda activate work")
    assert found.remedy == (f"sed -i --follow-symlinks '2s/^/: # /' ~/{name}",)


def test_the_suggested_command_removes_the_line(patient: Patient, tmp_path: Path) -> None:
    """After it nothing is found, bash still reads the file, and a link to a repository of such files stays one."""
    kept = tmp_path / "dotfiles" / "bashrc"
    kept.parent.mkdir()
    kept.write_text("if true; then\n  module load gcc\nfi\necho read\n")
    (patient.home / ".bashrc").symlink_to(kept)
    (found,) = check_dotfiles(patient.place())
    subprocess.run(["sh", "-c", found.remedy[0]], env=patient.environ, check=True)
    assert [item.level for item in check_dotfiles(patient.place())] == ["fine"]
    assert (patient.home / ".bashrc").is_symlink()
    assert subprocess.run(["bash", str(kept)], env=patient.environ, capture_output=True, check=True).stdout == b"read\n"


@pytest.mark.parametrize("line", ["if true; then module load gcc", "ml gcc; fi", "export PYTHONPATH=/x", "module load gcc \\"])
def test_a_start_up_line_with_more_on_it_gets_no_command(patient: Patient, line: str) -> None:
    """A command could break what stands around it."""
    patient.plant(".bashrc", line + "\n")
    (found,) = check_dotfiles(patient.place())
    assert found.remedy == ("${EDITOR:-vi} +1 ~/.bashrc",)


def test_conda_s_own_block_is_noted_unless_it_activates_nothing(patient: Patient) -> None:
    """`conda init` of conda 24 writes this line."""
    patient.plant(".bashrc", "__conda_setup=\"$('/x/bin/conda' 'shell.bash' 'hook' 2> /dev/null)\"\n")
    assert [item.level for item in check_dotfiles(patient.place())] == ["note"]
    patient.plant(".condarc", "auto_activate_base: false\n")
    assert [item.level for item in check_dotfiles(patient.place())] == ["fine"]


def test_a_pipe_or_another_s_file_holds_nobody_up(patient: Patient) -> None:
    """Only regular files are read."""
    os.mkfifo(patient.home / ".bashrc")
    (patient.home / ".zshrc").mkdir()
    (patient.home / ".profile").symlink_to("/dev/zero")
    assert [item.level for item in check_dotfiles(patient.place())] == ["fine"]


@pytest.mark.parametrize("name", [".lmod.d/default", ".config/lmod/default", ".lmod.d/default.milan", ".module/default"])
def test_a_default_collection_is_wrong(patient: Patient, name: str) -> None:
    """It is found, and gone for the doctor after its command."""
    path = patient.plant(name, "-- a collection")
    (found,) = check_collections(patient.place())
    assert (found.level, found.seen) == ("wrong", f"~/{name} is a default collection of modules")
    path.rename(path.with_name(f"was-{path.name}"))
    assert found.remedy[0].endswith(f"/was-{path.name}")
    assert [item.level for item in check_collections(patient.place())] == ["fine"]


@pytest.mark.parametrize("name", [".modulerc", ".modulerc.lua"])
def test_a_user_s_own_names_are_noted(patient: Patient, name: str) -> None:
    """Locks pass them over, a shell does not."""
    patient.plant(name, "module_alias('a', 'b')")
    patient.plant(".lmod.d/work", "another collection")
    assert [(item.level, item.seen.split()[0]) for item in check_collections(patient.place())] == [("note", f"~/{name}")]
