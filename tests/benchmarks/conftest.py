"""The scripts of benchmarks/ stand beside each other, and are imported as they import one another."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
