"""A program behind a real Apptainer, or with its environment mounted, sees its record's id, and its end is known."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Project
from tests.fake_cluster.containers import Containers
from tests.fake_cluster.fixtures import OrdinaryProject, account, containers, ordinary, user_programs
from tests.needs import FUSE

__all__ = ["account", "containers", "ordinary", "user_programs"]

SCRIPT = 'echo "$OZREPRO_RECORD_ID"; exit 9'


def test_a_program_in_an_image_sees_the_id_and_a_read_only_folder_fails_no_run(
    ordinary: OrdinaryProject, containers: Containers
) -> None:
    ordinary.spec(f'[container]\nimage = "{containers.base}"\n')
    ordinary.done("lock")
    ordinary.done("build")
    done = ordinary.ozrepro("run", "--record", "runs/", "work", "--", "sh", "-c", SCRIPT)
    assert done.returncode == 9, done.stderr
    (item,) = json.loads(ordinary.done("record", "list", "runs", "--json"))["records"]
    assert (item["id"], item["method"], item["status"], "form" in item) == (done.stdout.strip(), "container", 9, False)
    (ordinary.root / "runs").chmod(0o555)
    done = ordinary.ozrepro("run", "--record", "runs/", "work", "--", "sh", "-c", SCRIPT)
    assert (done.stdout, done.returncode) == ("\n", 9)
    assert done.stderr.startswith("ozrepro: this run is not recorded: runs/")
    assert done.stderr.endswith(": Permission denied\n")


@FUSE
@pytest.mark.site
def test_a_program_whose_environment_is_mounted_sees_the_id(small: Project) -> None:
    small.done("lock", "work")
    small.done("build", "work", "--form", "file")
    done = small.ozrepro("run", "--record", "runs.jsonl", "work", "--", "sh", "-c", SCRIPT)
    assert done.returncode == 9, done.stderr
    (item,) = json.loads(small.done("record", "list", "runs.jsonl", "--json"))["records"]
    assert (item["id"], item["form"], item["status"]) == (done.stdout.strip(), "file", 9)
