"""What a job usually has and a session does not get."""

from __future__ import annotations

import pytest

from ozrepro.frontends.keptout import kept_out, listed
from tests.conftest import Project


def test_only_what_a_job_usually_has_is_named_and_nothing_that_is_kept_or_passed() -> None:
    caller = [
        "LD_PRELOAD",
        "XALT_DIR",
        "NCCL_NET_PLUGIN",
        "NCCL_DEBUG",
        "SCRATCH",
        "PROJECT",
        "MY_SHELL_THING",
        "PS1",
        "PYTHONPATH",
    ]
    assert kept_out(caller) == ["LD_PRELOAD", "NCCL_NET_PLUGIN", "PROJECT", "SCRATCH", "XALT_DIR"]
    assert kept_out(caller, ("XALT_*", "SCRATCH")) == ["LD_PRELOAD", "NCCL_NET_PLUGIN", "PROJECT"]


def test_many_variables_that_are_kept_out_are_named_in_one_line() -> None:
    assert listed(["A", "B"]) == "A, B"
    assert listed([f"N{number}" for number in range(11)]).endswith("N7, and 3 more")


@pytest.mark.parametrize("pass_", ["", "SCRATCH,LD_PRELOAD"])
def test_status_names_variables_that_are_kept_out_with_verbose_alone(small: Project, pass_: str) -> None:
    small.spec('[venv]\nrequirements = ["alpha"]\npass = ["NCCL_*"]\n')
    variables = {"SCRATCH": "/scratch/secret", "NCCL_NET_PLUGIN": "ofi", "OZREPRO_PASS": pass_}
    plain = small.run("ozrepro", "status", **variables)
    verbose = small.run("ozrepro", "status", "--verbose", **variables)
    assert plain.stderr == ""
    line = 'ozrepro: kept out of work: SCRATCH; pass = ["SCRATCH"] in the spec lets it in\n'
    assert verbose.stderr == ("" if pass_ else line)
    assert verbose.stdout == plain.stdout
