"""What the machine offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.methods.reading import load_settings
from ozrepro.site import home_warning, look_around, mount_of, operating_system
from ozrepro.site.scheduler import Job

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /fred rw,noatime - lustre mds@o2ib:/fred rw,flock,lazystatfs
31 22 0:41 / /home rw - lustre mds@o2ib:/home rw,localflock
32 22 0:42 / /my\\040data rw - xfs /dev/vdb rw,prjquota
"""


@pytest.mark.parametrize(
    ("path", "kind", "option"),
    [
        ("/fred/p1/x", "lustre", "flock"),
        ("/home/me", "lustre", "localflock"),
        ("/my data/x", "xfs", "prjquota"),
        ("/usr", "ext4", "rw"),
    ],
)
def test_the_mount_of_a_path_is_found(path: str, kind: str, option: str) -> None:
    mount = mount_of(Path(path), MOUNTINFO)
    assert mount is not None
    assert mount.kind == kind
    assert option in mount.options


def test_a_store_in_a_networked_home_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:40 / {tmp_path} rw - nfs4 server:/home rw\n"
    real = mount_of
    monkeypatch.setattr("ozrepro.site.mount_of", lambda path: real(path, text))
    warning = home_warning(tmp_path / "project" / ".ozrepro", {"HOME": str(tmp_path)})
    assert warning is not None
    assert "OZREPRO_STORE" in warning
    assert home_warning(Path("/fred/x"), {"HOME": str(tmp_path)}) is None


def test_job_and_ci_are_seen(tmp_path: Path) -> None:
    site = look_around(load_settings(tmp_path, {}), {"CI": "true", "SLURM_JOB_ID": "12", "PATH": ""})
    assert site.in_ci
    assert site.job == Job("Slurm", "12")
    assert site.apptainer is None


def test_the_operating_system_is_named_with_its_c_library() -> None:
    found = operating_system('NAME="Rocky Linux"\nID="rocky"\nVERSION_ID="9.4"\n')
    assert found.startswith("rocky 9.4")
    assert operating_system() == operating_system()
