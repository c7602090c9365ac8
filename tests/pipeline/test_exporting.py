"""Exports that any method's lock has: inventories."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from ozrepro.project.toml import loads
from tests.conftest import Project
from tests.methods.container.standin import boxed
from tests.pipeline.bom import read_bom

CYCLONEDX = ("export", "work", "--format", "cyclonedx")


def test_an_inventory_has_each_package_with_the_lock_s_hash_and_is_the_same_for_everybody(small: Project, tmp_path: Path) -> None:
    small.done("lock", "work")
    text = small.done(*CYCLONEDX)
    bom = read_bom(text)
    locked = loads(small.lock().read_text())["venv"]["any"]["package"]
    assert [(item["purl"], item["hashes"][0]["content"]) for item in bom["components"]] == [
        (f"pkg:pypi/{item['name']}@{item['version']}", item["files"][0]["sha256"]) for item in locked
    ]
    other = tmp_path / "another" / "folder"
    shutil.copytree(small.root, other)
    elsewhere = replace(small, root=other, environ={**small.environ, "HOME": str(tmp_path), "PIP_FIND_LINKS": str(tmp_path)})
    assert elsewhere.done(*CYCLONEDX, "--output", "bom.json") == ""
    assert (other / "bom.json").read_text() == text
    assert str(tmp_path) not in text


def test_an_inventory_of_a_lock_that_is_out_of_date_is_refused(small: Project) -> None:
    small.done("lock", "work")
    small.spec('[venv]\nrequirements = ["beta"]\n')
    refused = small.ozrepro(*CYCLONEDX)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "is out of date" in refused.stderr


def test_an_inventory_is_of_the_first_method_that_is_locked_here_and_of_another_on_request(small: Project) -> None:
    found = boxed(small, '[venv]\nrequirements = ["alpha"]\n')
    said = found.ozrepro(*CYCLONEDX)
    assert said.returncode == 0, said.stderr
    assert said.stderr == "ozrepro: work: cyclonedx lists container.linux-64; --method METHOD lists another: venv\n"
    bom = read_bom(said.stdout)
    assert [item["name"] for item in bom["components"]] == ["own image.sif", "python", "alpha", "bash"]
    packages = [item["name"] for item in read_bom(found.done(*CYCLONEDX, "--method", "venv"))["components"]]
    assert packages == ["alpha", "beta"]
    refused = found.ozrepro("export", "work", "--format", "requirements", "--method", "venv")
    assert (refused.returncode, "--method has no effect on requirements" in refused.stderr) == (2, True)


def test_a_method_without_a_section_here_has_no_inventory(small: Project) -> None:
    small.done("lock", "work")
    lock = small.lock().read_text()
    small.spec('imports = ["alpha", "beta"]\n\n[venv]\nrequirements = ["alpha"]\n[conda]\ndependencies = ["python"]\n')
    refused = small.ozrepro(*CYCLONEDX, "--method", "conda")
    assert (refused.returncode, small.lock().read_text()) == (4, lock)
    assert "has no section conda." in refused.stderr
    assert "try: ozrepro lock work" in refused.stderr
