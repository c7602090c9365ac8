"""What a test needs of the machine, as markers: a test that has one is not among the quick ones."""

from __future__ import annotations

import shutil
import tarfile

import pytest

UNPACKS = pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="ozrepro unpacks no sdist with a Python so old")
STRACE = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
