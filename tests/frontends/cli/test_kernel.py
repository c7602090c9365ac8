"""`ozrepro kernel`: what it refuses, writes, lists and removes. The kernels themselves are started in test_kernels_in_jupyter.py."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.methods.container.standin import boxed
from tests.wheels import make_wheel

IPYKERNEL = {
    "ipykernel/__init__.py": "",
    "ipykernel/kernelspec.py": "def get_kernel_dict():\n    return {'metadata': {'debugger': True}}\n",
    "ipykernel_launcher.py": "print('started')\n",
}
"""Of the real one only what the command asks: a quick test has no package index."""


@pytest.fixture
def notebook(project: Project) -> Project:
    """Give a project with a locked session that has ipykernel."""
    make_wheel(project.wheelhouse, "ipykernel", "7.4.0", modules=IPYKERNEL)
    project.spec('[venv]\nrequirements = ["ipykernel"]\n')
    project.done("lock")
    return project


def folder_of(project: Project) -> Path:
    """Return the folder of the user's kernels."""
    return Path(project.environ["HOME"]) / ".local" / "share" / "jupyter" / "kernels"


def kernels_of(project: Project) -> list[dict[str, object]]:
    """Return what --list says."""
    listed: list[dict[str, object]] = json.loads(project.done("kernel", "--list", "--json"))["kernels"]
    return listed


def test_a_kernel_is_written_listed_and_removed(notebook: Project) -> None:
    said = notebook.ozrepro("kernel", "work")
    assert said.stdout == "work: kernel a-project-work written, which Jupyter shows as work (a project)\n", said.stderr
    file = folder_of(notebook) / "a-project-work" / "kernel.json"
    spec = json.loads(file.read_text())
    assert spec["argv"][0] == f"{notebook.root}/.ozrepro/bin/work/python"
    assert spec["metadata"]["debugger"] is True
    done = notebook.run(spec["argv"][0], "-m", spec["argv"][3])
    assert done.stdout == "started\n", done.stderr
    assert notebook.done("kernel", "--list", "--plain").splitlines() == [
        "KERNEL          SESSION  PROJECT" + " " * (len(str(notebook.root)) - 5) + "CAN START",
        f"a-project-work  work     {notebook.root}  yes",
    ]
    assert notebook.done("kernel", "--remove", "work") == "work: kernel a-project-work removed\n"
    assert not file.parent.exists()
    assert kernels_of(notebook) == []


def test_what_jupyter_shows_can_be_chosen(notebook: Project) -> None:
    value = json.loads(notebook.done("kernel", "work", "--display-name", "Größe ☉", "--json"))
    assert value["kernels"][0]["display_name"] == "Größe ☉"
    assert json.loads(Path(value["kernels"][0]["file"]).read_text(encoding="utf-8"))["display_name"] == "Größe ☉"
    for text in ("two\nlines", "", "x" * 101):
        refused = notebook.ozrepro("kernel", "work", "--display-name", text)
        assert (refused.returncode, "--display-name" in refused.stderr) == (2, True)
    assert notebook.ozrepro("kernel", "work", "--remove", "--list").returncode == 2


def test_a_second_project_of_the_same_folder_name_gets_a_name_of_its_own(notebook: Project, tmp_path: Path) -> None:
    notebook.done("kernel", "work")
    other = replace(notebook, root=tmp_path / "elsewhere" / "a project")
    shutil.copytree(notebook.root, other.root, ignore=shutil.ignore_patterns(".ozrepro"))
    said = other.ozrepro("kernel", "work")
    assert "since a-project-work is another's" in said.stderr
    assert {item["project"] for item in kernels_of(notebook)} == {str(notebook.root), str(other.root)}
    other.done("kernel", "--remove", "work")
    assert [item["project"] for item in kernels_of(notebook)] == [str(notebook.root)]


def test_a_kernel_that_cannot_start_any_more_is_listed_with_the_reason_and_removed_by_its_name(notebook: Project) -> None:
    notebook.done("kernel", "work")
    notebook.lock().write_text(f"{notebook.lock().read_text()}# edited\n")
    (item,) = kernels_of(notebook)
    assert item["can_start"] is False
    assert item["reason"] == f"{notebook.lock()} has changed since work was built"
    gone = notebook.root.rename(notebook.root.with_name("moved"))
    elsewhere = replace(notebook, root=gone.parent)
    (item,) = kernels_of(elsewhere)
    assert item["reason"] == f"{notebook.root}/.ozrepro/bin/work/python is not there"
    assert elsewhere.done("kernel", "--remove", "a-project-work") == "work: kernel a-project-work removed\n"


def test_a_kernel_of_another_s_is_never_removed(notebook: Project) -> None:
    place = folder_of(notebook) / "work"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text("{}")
    refused = notebook.ozrepro("kernel", "--remove", "work")
    assert refused.returncode == 2
    assert "ozrepro did not write the kernel work, and keeps it\n  try: jupyter kernelspec remove work" in refused.stderr
    refused = notebook.ozrepro("kernel", "--remove", "nosuch")
    assert (refused.returncode, "ozrepro has no kernel 'nosuch'\n  try: ozrepro kernel --list" in refused.stderr) == (2, True)
    assert (place / "kernel.json").read_text() == "{}"


def test_a_user_of_a_cluster_is_told_how_kernels_are_not_overheard(notebook: Project, tmp_path: Path) -> None:
    assert "TCP" not in notebook.ozrepro("kernel", "work").stderr
    said = notebook.ozrepro("kernel", "work", SLURM_JOB_ID="7", JUPYTER_CONFIG_DIR="/my configs").stderr
    assert "as other users of this machine can\n  try: mkdir -p '/my configs' && echo " in said
    assert "'c.KernelManager.transport = \"ipc\"' >> '/my configs'/jupyter_config.py\n" in said


def test_where_a_user_s_jupyter_keeps_its_data_kernels_are_kept(notebook: Project, tmp_path: Path) -> None:
    notebook.done("kernel", "work", JUPYTER_DATA_DIR=str(tmp_path / "data"))
    assert (tmp_path / "data" / "kernels" / "a-project-work" / "kernel.json").exists()
    assert not folder_of(notebook).exists()


class TestRefusing:
    def test_a_session_without_a_lock_or_of_another_name(self, notebook: Project) -> None:
        notebook.spec('[venv]\nrequirements = ["ipykernel"]\n', "second")
        for words, status, expected in (
            (("kernel", "second"), 3, "ozrepro lock second"),
            (("kernel", "wrok"), 2, "there is no session 'wrok'"),
            (("kernel",), 2, "name a session\n  try: one of: second, work"),
        ):
            refused = notebook.ozrepro(*words)
            assert (refused.returncode, expected in refused.stderr) == (status, True), refused.stderr
        assert not folder_of(notebook).exists()

    def test_outside_of_a_project(self, notebook: Project, tmp_path: Path) -> None:
        outside = replace(notebook, root=tmp_path)
        refused = outside.ozrepro("kernel", "work")
        assert (refused.returncode, "there is no session 'work'" in refused.stderr) == (2, True)
        assert outside.done("kernel", "--list").startswith("ozrepro has written no kernel in ")

    def test_a_venv_without_ipykernel(self, small: Project) -> None:
        small.done("lock")
        refused = small.ozrepro("kernel", "work")
        assert refused.returncode == 3
        assert "session 'work': ipykernel is not locked for venv, and Jupyter starts a Python kernel by it\n" in refused.stderr
        assert "  try: ozrepro add work ipykernel\n" in refused.stderr
        assert not (small.store() / "names").exists(), "nothing is built for a kernel that there will not be"
        make_wheel(small.wheelhouse, "ipykernel", "7.4.0", modules=IPYKERNEL)
        small.done("add", "work", "ipykernel")
        small.done("kernel", "work")

    def test_an_image_without_ipykernel(self, project: Project) -> None:
        image = boxed(project)
        refused = image.ozrepro("kernel", "work")
        assert refused.returncode == 3, refused.stderr
        assert "ipykernel is not locked for container" in refused.stderr
        assert "then: ozrepro lock work\n" in refused.stderr

    def test_an_ipykernel_that_does_not_start(self, project: Project) -> None:
        broken = {**IPYKERNEL, "ipykernel/kernelspec.py": "import zmq\n"}
        make_wheel(project.wheelhouse, "ipykernel", "7.4.0", modules=broken)
        project.spec('[venv]\nrequirements = ["ipykernel"]\n')
        project.done("lock")
        refused = project.ozrepro("kernel", "work")
        assert refused.returncode == 1
        assert "ipykernel does not start: ModuleNotFoundError: No module named 'zmq'" in refused.stderr
        assert not folder_of(project).exists()

    def test_a_data_folder_that_cannot_be_written(self, notebook: Project, tmp_path: Path) -> None:
        refused = notebook.ozrepro("kernel", "work", JUPYTER_DATA_DIR="/proc/jupyter")
        assert refused.returncode == 1
        assert "cannot write the kernel: " in refused.stderr
        assert "Traceback" not in refused.stderr
