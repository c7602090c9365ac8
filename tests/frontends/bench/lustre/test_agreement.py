"""The model against the emulator: what a trace predicts is what a mount is asked for, on real packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.model import QUIET, Client, Totals, requests
from ozrepro.frontends.bench.lustre.trace import read_trace
from tests.frontends.bench.lustre.events import strace

REASON = Emulator.unavailable()
pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.skipif(bool(REASON), reason=REASON)]

HEAVY = "import numpy, scipy, pandas, matplotlib.pyplot, astropy.table, astropy.io.fits"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an environment with the heavy astronomy stack, compiled, and with its caches in the home warm."""
    root = tmp_path_factory.mktemp("agreement") / "env"
    subprocess.run([sys.executable, "-m", "venv", str(root)], check=True)
    pip = [str(root / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "numpy", "scipy", "pandas", "matplotlib", "astropy"], check=True)
    subprocess.run([str(root / "bin/python"), "-c", HEAVY], check=True, env=environment(root))
    return root


def environment(root: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(root.parent), "LANG": "C.UTF-8"}


@pytest.mark.parametrize("code", ["import numpy", "import numpy, scipy.stats", HEAVY], ids=["numpy", "scipy.stats", "heavy"])
def test_predicted_requests_are_those_that_are_sent(code: str, tree: Path, tmp_path: Path) -> None:
    python, variables = str(tree / "bin/python"), environment(tree)
    text = strace(tmp_path / "trace", python, "-c", code, cwd=tmp_path, env=variables)
    client = Client((str(tree),))
    events = read_trace(text, roots=(str(tree),))
    predicted = [Totals.of(requests(events, client)) for _ in range(2)]
    mount = tmp_path / "mount"
    with Emulator(tree, [mount], QUIET) as emulator:
        # The first process on the node, and the second.
        for number, expected in enumerate(predicted):
            before = emulator.totals().as_dict() if number else dict.fromkeys(expected.as_dict(), 0)
            subprocess.run([str(mount / "bin/python"), "-c", code], check=True, cwd=tmp_path, env=variables)
            after = emulator.totals().as_dict()
            sent = Totals.from_dict({kind: after[kind] - before[kind] for kind in after})
            for kind in ("lookups", "opens", "closes", "readdirs", "glimpses", "enqueues"):
                assert getattr(expected, kind) == pytest.approx(getattr(sent, kind), rel=0.03, abs=1), (kind, expected, sent)
            assert expected.misses == pytest.approx(sent.misses, rel=0.3), (expected, sent)
