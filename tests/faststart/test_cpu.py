"""The CPU's level, by which binaries of module trees differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.faststart import cpu
from ozrepro.faststart.cpu import cpu_flags, cpu_level


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("", None),
        ("cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3", "v2"),
        ("cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 abm avx avx2 bmi1 bmi2 f16c fma movbe xsave", "v3"),
        ("abm avx avx2 bmi1 bmi2 f16c fma movbe xsave", None),
    ],
)
def test_the_cpu_level_needs_all_flags_of_it_and_below(flags: str, level: str | None) -> None:
    assert cpu_level(frozenset(flags.split())) == level


def test_the_flags_of_the_first_processor_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "processor\t: 0\nflags\t\t: fpu sse4_2\nbugs\t\t:\n\nprocessor\t: 1\nflags\t\t: none\n"
    (tmp_path / "cpuinfo").write_text(text * 3)
    monkeypatch.setattr(cpu, "_CPUINFO", str(tmp_path / "cpuinfo"))
    assert cpu_flags() == {"fpu", "sse4_2"}
    monkeypatch.setattr(cpu, "_CPUINFO", str(tmp_path / "none"))
    assert cpu_flags() == frozenset()
