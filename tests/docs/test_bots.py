"""The hook, the action and the template that other projects use do what the page says, with the real pre-commit, pip and nox."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import DOCS, ROOT, fences
from tests.docs.running import BIN

PAGE = (DOCS / "how-to" / "editors-and-bots.md").read_text(encoding="utf-8")
COPIED = ("ozrepro", "docs/examples", "pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml", "action.yml")
NOXFILE = 'import ozrepro\n\n\n@ozrepro.session\ndef hello(session):\n    session.run("python", "-c", "import six; print(six.__name__)")\n'
SPEC = '[venv]\npython = ">=3.10"\nrequirements = ["six==1.16.0"]\n'
Environ = dict[str, str]


def read_yaml(text: str) -> Any:
    return import_module("yaml").safe_load(text)


def run(words: list[str], folder: Path, environ: Environ) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def shown(path: str) -> Any:
    """Return the YAML file that the page shows."""
    (text,) = (fence.text for fence in fences(PAGE) if fence.text.startswith(f"# {path}\n"))
    return read_yaml(text)


@pytest.fixture(scope="module")
def repository(index: Environ, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a repository with what an installation needs of this one."""
    folder = tmp_path_factory.mktemp("ozrepro")
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    commit(folder, index)
    return folder


@pytest.fixture(scope="module")
def installed(index: Environ, tmp_path_factory: pytest.TempPathFactory) -> Environ:
    """Give the variables of a machine with a fresh Python first on PATH, as CI services have it."""
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return {**index, "PATH": f"{folder}/bin:{index['PATH']}".replace(f":{BIN}:", ":"), "CI": "true", "HOME": str(folder)}


@pytest.fixture
def project(index: Environ, tmp_path: Path) -> Path:
    """Give a locked project in a repository."""
    root = tmp_path / "a project"
    (root / "sessions").mkdir(parents=True)
    (root / "noxfile.py").write_text(NOXFILE, encoding="utf-8")
    (root / "sessions" / "hello.toml").write_text(SPEC, encoding="utf-8")
    assert run([str(BIN / "ozrepro"), "lock"], root, index).returncode == 0
    commit(root, index)
    return root


def commit(folder: Path, environ: Environ) -> None:
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "All"]):
        done = run(["git", *words], folder, environ)
        assert done.returncode == 0, done.stderr


def change(project: Path) -> None:
    spec = project / "sessions" / "hello.toml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("1.16.0", "1.17.0"), encoding="utf-8")


@pytest.mark.network
@pytest.mark.slow
def test_the_hook_takes_a_commit_that_answers_its_lock_and_refuses_another(
    repository: Path, project: Path, index: Environ, tmp_path: Path
) -> None:
    (hook,) = shown(".pre-commit-config.yaml")["repos"][0]["hooks"]
    environ = {**index, "HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "pre-commit")}
    words = [str(BIN / "pre-commit"), "try-repo", str(repository), hook["id"], "--verbose"]
    taken = run(words, project, environ)
    assert taken.returncode == 0, taken.stdout + taken.stderr
    assert "hello: lock is up to date" in taken.stdout
    change(project)
    run(["git", "add", "--all"], project, index)
    refused = run(words, project, environ)
    assert refused.returncode == 1
    assert "- exit code: 3" in refused.stdout
    assert "ozrepro lock hello" in refused.stdout


@pytest.mark.network
@pytest.mark.slow
def test_the_scripts_of_the_action_compare_and_run(repository: Path, project: Path, installed: Environ) -> None:
    steps = [step for step in read_yaml((ROOT / "action.yml").read_text())["runs"]["steps"] if "run" in step]
    environ = {**installed, "GITHUB_ACTION_PATH": str(repository), "SESSIONS": "hello"}

    def play() -> list[subprocess.CompletedProcess[str]]:
        return [run(["bash", "-eo", "pipefail", "-c", step["run"]], project, environ) for step in steps]

    install, compare, sessions = play()
    assert install.returncode == 0, install.stderr
    assert compare.stdout == "hello: lock is up to date\n", compare.stderr
    assert sessions.returncode == 0, sessions.stderr
    assert (Path(environ["HOME"]) / ".cache" / "ozrepro-downloads").is_dir()
    change(project)
    steps = steps[1:2]
    (compare,) = play()
    assert compare.returncode == 3


@pytest.mark.network
@pytest.mark.slow
def test_the_template_of_gitlab_runs_a_session_and_finds_the_downloads_again(
    repository: Path, project: Path, installed: Environ, tmp_path: Path
) -> None:
    job = read_yaml((ROOT / ".ci" / "sessions.gitlab-ci.yml").read_text())[".ozrepro"]
    own = {"OZREPRO": str(repository), "SESSIONS": "hello", "OZREPRO_CACHE": str(tmp_path / "downloads")}
    environ = {**installed, **job["variables"], **own}
    for _ in range(2):
        script = "\n".join([*job["before_script"], *job["script"]])
        done = run(["bash", "-eo", "pipefail", "-c", script], project, environ)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "building venv.any for hello" in done.stdout + done.stderr
        after = run(["bash", "-eo", "pipefail", "-c", "\n".join(job["after_script"])], project, environ)
        assert after.returncode == 0, after.stderr
        assert any((project / job["cache"]["paths"][0]).iterdir())
        shutil.rmtree(project / ".ozrepro")
        # The second time there is no network: what is installed comes out of the cache.
        environ |= {"UV_OFFLINE": "1"}


def test_the_action_passes_what_a_caller_writes_as_variables_alone() -> None:
    action = read_yaml((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    assert all("${{" not in step["run"] and step["shell"] for step in action["runs"]["steps"] if "run" in step)
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert {name: words.partition(";")[0] for name, words in rows} == {
        name: given["description"].partition(";")[0] for name, given in action["inputs"].items()
    }


def test_the_page_s_files_name_what_there_is() -> None:
    (hook,) = read_yaml((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == shown(".pre-commit-config.yaml")["repos"][0]["hooks"][0]["id"]
    used = shown(".github/workflows/sessions.yml")["jobs"]["sessions"]["steps"][1]["with"]
    assert set(used) <= set(read_yaml((ROOT / "action.yml").read_text())["inputs"])
    pipeline = shown(".gitlab-ci.yml")
    template = read_yaml((ROOT / pipeline["include"][0]["file"].lstrip("/")).read_text())
    assert set(pipeline["sessions"]["variables"]) <= set(template[pipeline["sessions"]["extends"]]["variables"])


def test_the_expression_for_renovate_finds_pins_and_nothing_else() -> None:
    (text,) = (fence.text for fence in fences(PAGE) if fence.language == "json")
    (manager,) = json.loads(text)["customManagers"]
    pattern = re.compile(manager["matchStrings"][0].replace("(?<", "(?P<"))
    spec = 'requirements = ["astropy[all]==6.1.0", "numpy>=1.26", "six==1.17.0; python_version < \'3.13\'", "-r a.txt"]'
    pins = {found["depName"]: found["currentValue"] for found in pattern.finditer(spec)}
    assert pins == {"astropy": "6.1.0", "six": "1.17.0"}
