"""The tasks of an array of a real Slurm record their runs into one folder, each with its place in the array."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Project
from tests.fake_cluster import SiteUnavailable
from tests.fake_cluster.slurm import Slurm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.site


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """Give a running Slurm of one node."""
    try:
        with Slurm(tmp_path / "slurm") as running:
            yield running
    except SiteUnavailable as reason:
        pytest.skip(f"no Slurm: {reason}")


def test_each_task_of_an_array_has_its_record(slurm: Slurm, built: Project, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in built.environ.items())
    run = "ozrepro run --record runs/ work -- sh -c 'exit $SLURM_ARRAY_TASK_ID'"
    script.write_text(f"#!/bin/bash\n{exports}\ncd {shlex.quote(str(built.root))}\nsrun -n1 {run}\n{run}\nexit 0\n")
    path = f"{slurm.bin}:{built.environ['PATH']}"
    script.write_text(script.read_text().replace("\ncd ", f"\nexport PATH={shlex.quote(path)}\ncd "))
    words = (str(slurm.bin / "sbatch"), "--wait", "--parsable", "--array=3,5", f"--output={tmp_path}/said-%a", str(script))
    done = subprocess.run(words, cwd=tmp_path, env={**built.environ, "PATH": path}, capture_output=True, text=True, check=False)
    said = [file.read_text() for file in sorted(tmp_path.glob("said-*"))]
    assert done.returncode == 0, (done.stderr, said)
    array = done.stdout.split()[0]
    records = json.loads(built.done("record", "list", "runs", "--json"))["records"]
    assert sorted((item["job"]["scheduler"], item["job"]["array"], item["job"]["index"], item["status"]) for item in records) == [
        ("Slurm", array, "3", 3),
        ("Slurm", array, "3", 3),
        ("Slurm", array, "5", 5),
        ("Slurm", array, "5", 5),
    ]
    assert all(item["end"] for item in records)
    assert len({item["job"]["id"] for item in records}) == 2
