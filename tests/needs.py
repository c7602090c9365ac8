"""What a test needs of the machine, as markers: a test that has one is not among the quick ones."""

from __future__ import annotations

import os
import shutil
import tarfile

import pytest

UNPACKS = pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="ozrepro unpacks no sdist with a Python so old")
STRACE = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
FUSE = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("squashfuse_ll", "mksquashfs", "unshare", "nsenter"))
    or not os.path.exists("/dev/fuse"),
    reason="squashfuse, squashfs-tools or /dev/fuse is missing",
)
