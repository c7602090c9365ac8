"""The tree of imports, from CPython's own text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ozrepro.environment import Environment
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.importtime import KEPT, begun, imports_of, read_importtime, slowest, total_us
from ozrepro.frontends.bench.launch import Starter
from ozrepro.frontends.bench.result import Module
from ozrepro.frontends.bench.workload import Workload, of_imports

TEXT = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   zipimport
a warning of the program
import time:       300 |        300 |     a.b.c
import time:       200 |        500 |   a.b
import time:        50 |         50 |   a.d
import time:        10 |        560 | a
import time:         5 |          5 | e
"""


def test_modules_stand_before_what_they_import() -> None:
    # zipimport stands deeper than the line after it that closes it: CPython prints the start-up's own imports so.
    assert read_importtime(TEXT) == (
        Module("a", 10, 560, 0, 0),
        Module("zipimport", 100, 100, 1, 0),
        Module("a.b", 200, 500, 1, 100),
        Module("a.b.c", 300, 300, 2, 100),
        Module("a.d", 50, 50, 1, 600),
        Module("e", 5, 5, 0, 560),
    )


def test_the_slowest_keep_their_importers() -> None:
    kept = slowest(read_importtime(TEXT), 3)
    assert [module.name for module in kept] == ["a", "a.b", "a.b.c"]


def test_imports_that_are_left_out_do_not_move_the_others() -> None:
    """`e` begins after `a` and all that `a` imports, whichever of those are kept."""
    text = TEXT.replace("         5 |          5 | e", "       900 |        900 | e")
    assert [(module.name, module.begin_us) for module in slowest(read_importtime(text), 2)] == [("a", 0), ("e", 560)]
    many = "".join(f"import time: {10 + number:9} | {10 + number:10} | m{number}\n" for number in range(100))
    whole = read_importtime(many)
    kept = slowest(whole)
    assert total_us(whole) == sum(range(10, 110))
    assert total_us(kept) < total_us(whole)
    assert [(module.name, module.begin_us) for module in kept] == [
        (f"m{number}", sum(range(10, 10 + number))) for number in range(60, 100)
    ]


def test_text_without_imports_is_an_empty_tree() -> None:
    assert read_importtime("nothing\nimport time: bad | line\n") == ()


def test_the_text_of_this_python_is_read_whole() -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", "import json"], capture_output=True, text=True, check=True)
    found = read_importtime(done.stderr)
    assert begun(found) == found
    assert len(found) == done.stderr.count("import time:") - 1
    by_name = {module.name: module for module in found}
    assert by_name["json.decoder"].depth == by_name["json"].depth + 1
    assert by_name["json"].cumulative_us >= by_name["json.decoder"].cumulative_us


@pytest.mark.parametrize("kept", [1, 5, 20])
def test_every_import_that_is_kept_has_its_importer_kept(kept: int) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", "import email"], capture_output=True, text=True, check=True)
    part = slowest(read_importtime(done.stderr), kept)
    assert len(part) == kept
    before = -1
    for module in part:
        assert module.depth <= before + 1
        before = module.depth


def test_a_program_that_fails_has_no_tree(starter: Starter, here: Candidate) -> None:
    assert imports_of(starter, here, Workload("bad", ("import not_there",)), 60) is None
    nothing = Candidate("nothing", Environment(base=("/nowhere",)), here.prefix, ())
    assert imports_of(starter, nothing, of_imports("imports", ("own",)), 60) is None
    found = imports_of(starter, here, of_imports("imports", ("own",)), 60)
    assert found is not None
    assert "own" in [module.name for module in found.modules]


def test_what_all_imports_took_is_kept_with_the_slowest(starter: Starter, here: Candidate) -> None:
    found = imports_of(starter, here, of_imports("imports", ("email.message", "json")), 60)
    assert found is not None
    assert len(found.modules) == KEPT
    assert found.total_us > total_us(found.modules)
