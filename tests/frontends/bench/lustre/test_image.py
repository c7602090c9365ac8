"""An image and one file against a directory on the emulator: how much less a metadata server is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.model import METADATA

ROOT = Path(__file__).resolve().parents[4]
REASON = Emulator.unavailable()

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.skipif(bool(REASON), reason=REASON)]


def test_a_cold_start_from_an_image_or_a_file_asks_for_a_hundredth_of_the_metadata(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    words = [
        sys.executable,
        str(ROOT / "benchmarks" / "lustre.py"),
        "--rounds",
        "1",
        "--presets",
        "quiet",
        "--light",
        "--json",
        str(rows),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "no containers:" in done.stderr or "dns error" in done.stderr or "Request failed" in done.stderr:
        pytest.skip(done.stderr.strip()[-300:])
    assert done.returncode == 0, done.stderr
    asked: Counter[tuple[str, str]] = Counter()
    for row in json.loads(rows.read_text()):
        asked[row["method"], row["state"]] += sum(row["requests"][kind] for kind in METADATA)
    for name in ("image", "file"):
        assert asked[name, "cold"] > 0
        assert asked["venv", "cold"] >= 100 * asked[name, "cold"]
        assert asked["venv", "warm"] > 100 * asked[name, "warm"]
