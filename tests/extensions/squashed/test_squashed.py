"""A fifth method, added as another distribution would add it, and taken through the commands: without a change to the package."""

from __future__ import annotations

import json

from tests.extensions.squashed.conftest import Extended, succeeded
from tests.faststart.spellings import check_spellings
from tests.wheels import make_wheel

NOXFILE = """
import ozrepro


@ozrepro.session
def work(session):
    session.run("python", "-c", "import alpha, os; print('packed', os.environ['PACKED'], alpha.VERSION)")
"""
SHOW = "import alpha, os; print(os.environ['PACKED'], os.environ['OZREPRO_METHOD'])"
BENCH = ("--rounds", "2", "--budget", "10")


def test_a_session_of_a_plug_in_s_method_is_locked_built_and_run_behind_its_command(extended: Extended) -> None:
    extended.done("lock", "work")
    first = extended.project.lock().read_bytes()
    extended.done("lock", "work")
    assert extended.project.lock().read_bytes() == first
    extended.done("build", "work")
    for _ in range(2):  # by the pipeline, then by what that has left for a fast start
        assert extended.done("run", "work", "--", "python", "-c", SHOW) == "1 squashed\n"
    check_spellings(extended.project, "work", "squashed", str(extended.python), "-m", "ozrepro")
    (extended.project.root / "noxfile.py").write_text(NOXFILE)
    assert "packed 1 1.0" in succeeded(extended.project.run(str(extended.python), "-m", "nox", "-s", "work"))


def test_a_plug_in_s_command_stands_before_programs_in_a_shell_and_a_job_and_is_never_dropped(extended: Extended) -> None:
    extended.done("lock", "work")
    extended.done("build", "work")
    assert extended.done("shell", "work", "--", "python", "-c", SHOW) == "1 squashed\n"
    script = extended.project.root / "activate.sh"
    extended.done("activate", "work", "--output", str(script))
    assert succeeded(extended.project.run("bash", str(script), "python", "-c", SHOW)) == "1 squashed\n"
    sourced = extended.project.run("bash", "-c", f'. "{script}"')
    assert (sourced.returncode != 0, "start behind a command" in sourced.stderr) == (True, True)
    refused = extended.ozrepro("activate", "work", "--shell", "bash")
    assert (refused.returncode, "start behind /usr/bin/env" in refused.stderr) == (2, True)


def test_a_plug_in_s_section_and_environment_are_described_checked_and_compared(extended: Extended) -> None:
    extended.done("lock", "work")
    extended.done("build", "work")
    state = json.loads(extended.done("status", "work", "--json"))["sessions"][0]["methods"][0]
    assert (state["method"], state["lock"]) == ("squashed", "locked")
    assert state["environment"].startswith("built")
    assert state["range"].startswith("==3.")
    extended.done("verify", "work", "--level", "2")
    assert extended.done("diff", "work") == "no difference\n"
    old = extended.project.root / "old.lock"
    old.write_bytes(extended.project.lock().read_bytes())
    make_wheel(extended.project.wheelhouse, "beta", "2.0")
    extended.done("lock", "work")
    assert extended.project.lock().read_bytes() == old.read_bytes(), "what fits stays"
    extended.done("lock", "work", "--upgrade", "beta")
    assert extended.done("diff", "work", "old.lock").splitlines() == ["~ beta 1.5 -> 2.0"]


def test_a_plug_in_s_lock_is_exported_in_its_format_and_measured(extended: Extended) -> None:
    extended.done("lock", "work")
    assert extended.done("export", "work", "--format", "packing-list").startswith("# packed\n")
    assert "alpha==1.0" in extended.done("export", "work", "--format", "def")
    refused = extended.ozrepro("export", "work", "--format", "cyclonedx")
    assert (refused.returncode, "the method 'squashed' cannot list its components" in refused.stderr) == (2, True)
    extended.done("build", "work")
    assert "squashed" in extended.done("bench", "work", *BENCH)


def test_a_definition_of_an_image_is_made_from_a_plug_in_s_section(extended: Extended) -> None:
    extended.project.spec('[squashed]\nrequirements = ["alpha"]\n[container]\nfrom = "squashed"\nbase = "base.sif"\n')
    extended.done("lock", "work", "--method", "squashed")
    lines = extended.done("export", "work", "--format", "def").splitlines()
    assert lines[2] == "From: base.sif"
    assert [line for line in lines if "==" in line] == ["alpha==1.0 \\", "beta==1.5 \\"]


def test_a_plug_in_s_format_writes_another_method_s_lock(extended: Extended) -> None:
    extended.project.spec('[venv]\nrequirements = ["alpha"]\n')
    extended.done("lock", "work")
    assert extended.done("export", "work", "--format", "names") == "alpha\nbeta\n"
    refused = extended.project.ozrepro("export", "work", "--format", "names")
    assert (refused.returncode, "'names' is not a format" in refused.stderr) == (2, True)


def test_without_the_plug_in_its_table_is_refused_by_name(extended: Extended) -> None:
    extended.done("lock", "work")
    refused = extended.project.ozrepro("run", "work", "--", "true")
    assert refused.returncode == 2
    assert "squashed" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_plug_in_that_depends_on_an_unknown_fact_is_refused_by_name(extended: Extended) -> None:
    (module,) = extended.python.parent.parent.glob("lib/python3*/site-packages/ozrepro_squashed.py")
    module.write_text(module.read_text().replace('Traits(scope="machine")', 'Traits(scope="machine", facts=("gpu",))'))
    for words in (("lock", "work"), ("status", "work"), ("run", "work", "--", "true")):
        refused = extended.ozrepro(*words)
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
        assert "the method 'squashed' depends on facts that no start can compare: 'gpu'; known are cpu, " in refused.stderr
