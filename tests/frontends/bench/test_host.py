"""Where a benchmark runs, as Slurm's commands and variables tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.frontends.bench.host import look_at_place


@pytest.fixture
def slurm(tmp_path: Path) -> str:
    """Give a PATH with programs named as Slurm's."""
    for name in ("srun", "sbatch"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    return str(tmp_path)


def test_a_login_node_is_known_by_slurms_commands_outside_of_a_job(slurm: str) -> None:
    assert look_at_place({"PATH": slurm}).is_login
    assert not look_at_place({"PATH": "/nowhere"}).is_login
    inside = look_at_place({"PATH": slurm, "SLURM_JOB_ID": "17", "SLURM_JOB_NUM_NODES": "4"})
    assert (inside.is_login, inside.nodes, inside.srun) == (False, 4, f"{slurm}/srun")
    assert look_at_place({"PATH": slurm}).srun == ""
