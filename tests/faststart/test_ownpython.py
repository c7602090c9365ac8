"""A Python that its module's LD_LIBRARY_PATH alone lets start: told beforehand, since afterwards nothing can be told."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import ozrepro
from ozrepro.faststart.ownpython import needs_module
from tests.conftest import BIN, Project

LIBRARY = Path(sys.base_prefix) / "lib" / str(sysconfig.get_config_var("INSTSONAME"))
OF_MODULE = f"{LIBRARY.name[:-1]}x"
"""Its name in the module: the system's linker may know the other one."""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Give an environment whose Python is this one's, but for its library, which is inside `lib` beside and nowhere else."""
    if not sysconfig.get_config_var("Py_ENABLE_SHARED") or not LIBRARY.exists():
        pytest.skip("this Python has no library of its own")
    program = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    content = program.read_bytes().replace(LIBRARY.name.encode() + b"\0", OF_MODULE.encode() + b"\0")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--copies", str(venv)], check=True)
    (made,) = (path for path in (venv / "bin").iterdir() if path.name == program.name)
    for path in (venv / "bin").glob("python*"):
        path.unlink()
    made.write_bytes(content)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / OF_MODULE).symlink_to(LIBRARY)
    made.chmod(0o755)
    if subprocess.run([made, "-c", ""], env={}, capture_output=True, check=False).returncode == 0:
        pytest.skip("this Python finds its library by other ways")
    site = next((venv / "lib").glob("python*")) / "site-packages"
    own = Path(ozrepro.__file__).parent.parent
    (site / "here.pth").write_text(f"{own}\n{sysconfig.get_paths()['purelib']}\n", encoding="utf-8")
    return made


def test_a_python_that_needs_a_module_is_told_by_first_commands_and_doctor(small: Project, python: Path, tmp_path: Path) -> None:
    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(python), str(BIN / "ozrepro"), *words]
        environ = {**small.environ, **more}
        return subprocess.run(command, cwd=small.root, env=environ, capture_output=True, text=True, check=False)

    assert run("lock", "work").returncode == 127, "without the module it cannot start"
    module = {"LD_LIBRARY_PATH": f"/no/such:{tmp_path / 'lib'}"}
    done = run("lock", "work", **module)
    assert done.returncode == 0, done.stderr
    assert f"starts only while LD_LIBRARY_PATH finds {OF_MODULE} for it" in done.stderr
    assert "try: uv tool install --managed-python" in done.stderr
    assert "LD_LIBRARY_PATH" not in run("status", **module).stderr
    assert f"LD_LIBRARY_PATH finds {OF_MODULE}" in run("doctor", **module).stdout


def test_a_python_that_finds_its_library_itself_needs_no_module() -> None:
    assert needs_module({}) is None
    assert needs_module({"LD_LIBRARY_PATH": "/no/such"}) is None
    maps = f"7f00-7f01 r-xp 00000000 fe:00 12 {LIBRARY}\n"
    assert needs_module({"LD_LIBRARY_PATH": str(LIBRARY.parent), "PATH": "/usr/bin"}, maps) is None, "this one starts without"


def test_maps_that_cannot_be_read_prove_nothing() -> None:
    assert needs_module({"LD_LIBRARY_PATH": "/a"}, "libpython\n\n") is None
