"""An image that was copied to the node of a job, started by the real Apptainer."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.store.mounted import wait

if TYPE_CHECKING:
    from tests.fake_cluster.containers import Containers
    from tests.fake_cluster.fixtures import OrdinaryProject

pytestmark = pytest.mark.site

SCRIPT = """
ozrepro stage work
ozrepro run work -- sh -c 'echo "$APPTAINER_CONTAINER"'
bash env.sh sh -c 'echo "$APPTAINER_CONTAINER"'
touch "$JOBFS"/*.sif
ozrepro run work -- sh -c 'echo "$APPTAINER_CONTAINER"' 2>&1
exit
"""


def test_programs_of_a_job_run_in_the_copy_of_their_image(ordinary: OrdinaryProject, containers: Containers) -> None:
    shutil.copyfile(containers.base, ordinary.root / "base.sif")
    ordinary.account.give(ordinary.root / "base.sif")
    ordinary.spec('[container]\nimage = "base.sif"\n')
    for words in (("lock",), ("build",), ("activate", "work", "--output", "env.sh")):
        ordinary.done(*words)
    disk = ordinary.account.make_folder("disk of")
    image = f"{ordinary.prefix()}/image.sif"
    copy = f"{disk}/ozrepro-{ordinary.account.uid}-1.server-{ordinary.prefix().parent.name}.sif"
    said = ordinary.run("setsid", "--wait", "bash", "-c", SCRIPT, PBS_JOBID="1.server", JOBFS=str(disk))
    staged, *lines = said.stdout.splitlines()
    assert staged.startswith("work: staged on 1 node ("), said.stderr
    assert lines == [copy, copy, f"ozrepro: skipping {copy}: it is not as it was staged", image]
    assert wait(lambda: not list(disk.iterdir()))
