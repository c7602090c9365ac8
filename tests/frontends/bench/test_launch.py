"""Starting programs through the launcher, and what the probe in them says."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from ozrepro.environment import Environment
from ozrepro.errors import BuildError, CommandFailed
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.launch import Starter, look, source, words_of
from ozrepro.frontends.bench.workload import Workload, of_imports, of_script

EMPTY = Workload("empty")


def test_the_phases_follow_one_another_from_one_zero_and_end_before_the_process(starter: Starter, here: Candidate) -> None:
    done = starter.start(here, of_imports("imports", ("json", "own")))
    assert list(done.phases) == ["environment", "interpreter", "imports", "first_call"]
    assert all(seconds >= 0 for seconds in done.phases.values())
    assert len(done.ready) == 1
    assert sum(done.phases.values()) == pytest.approx(done.ready[0])
    assert done.ready[0] < done.wall
    assert (done.status, done.error) == (0, "")


def test_nothing_runs_before_the_interpreter_unless_there_is_a_prefix(
    starter: Starter, here: Candidate, wrapped: Candidate
) -> None:
    assert "sh" not in words_of(here, EMPTY)
    assert words_of(wrapped, EMPTY)[:3] == ["/usr/bin/env", "WRAPPED=1", "sh"]
    assert starter.start(here, EMPTY).phases["environment"] == 0
    started = starter.start(wrapped, EMPTY)
    assert 0 <= started.phases["environment"] <= started.ready[0]


def test_a_slow_start_of_the_environment_is_in_its_own_phase(starter: Starter, here: Candidate, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text('#!/bin/sh\n/bin/sleep 0.5\nexec "$@"\n')
    slow.chmod(0o755)
    environment = Environment(**{**here.environment.as_dict(), "prefix": (str(slow),)})
    done = starter.start(Candidate("slow", environment, here.prefix, ()), EMPTY)
    assert done.phases["environment"] > 0.45  # where the pause lands; a busy machine only adds to it


def test_the_peak_of_memory_is_the_programs_own_not_the_starters(starter: Starter, here: Candidate) -> None:
    ballast = bytearray(300_000_000)
    small = starter.start(here, EMPTY)
    large = starter.start(here, Workload("large", call="len(bytearray(100_000_000))"))
    assert len(ballast) > 3 * small.rss
    assert large.rss > 100_000_000


def test_a_program_sees_its_candidates_environment_alone(starter: Starter, here: Candidate) -> None:
    done = starter.start(here, Workload("print", ("import os, json",), "print(json.dumps(dict(os.environ)))"))
    seen = json.loads(done.output)
    seen.pop("LC_CTYPE", None)  # Python's own, where the locale is C
    assert seen == here.environment.variables_for(starter.caller)


def test_a_script_runs_as_main_with_its_arguments_after_its_imports(starter: Starter, here: Candidate, tmp_path: Path) -> None:
    script = tmp_path / "a script.py"
    script.write_text(
        "import sys, pickle\nclass Own: pass\nassert __name__ == '__main__'\npickle.dumps(Own())\nprint(sys.argv, __file__)\nsys.exit(0)\n"
    )
    done = starter.start(here, of_script(script, ("a b", "-c")))
    assert (done.status, done.error) == (0, "")
    assert done.output.strip() == f"{[str(script), 'a b', '-c']} {script}"
    assert len(done.phases) == 4


def test_a_crash_keeps_the_phases_that_were_reached_and_the_last_line_said(starter: Starter, here: Candidate) -> None:
    done = starter.start(here, Workload("bad", ("import json", "import not_there"), "1"))
    assert (done.status, list(done.phases), done.ready) == (1, ["environment", "interpreter"], ())
    assert done.error == "ModuleNotFoundError: No module named 'not_there'"
    done = starter.start(here, Workload("worse", ("import os",), "1 / 0"))
    assert (done.status, list(done.phases)) == (1, ["environment", "interpreter", "imports"])


def test_a_signal_is_a_negative_status(starter: Starter, here: Candidate) -> None:
    done = starter.start(here, Workload("killed", ("import os",), f"os.kill(os.getpid(), {int(signal.SIGKILL)})"))
    assert done.status == -signal.SIGKILL
    assert done.ready == ()
    assert done.error == "killed by SIGKILL"


def test_a_program_that_fails_silently_is_said_to(starter: Starter, here: Candidate) -> None:
    done = starter.start(here, Workload("silent", ("import os",), "os._exit(3)"))
    assert (done.status, done.error) == (3, "it said nothing on standard error")


def test_a_program_that_ends_itself_without_a_word_has_no_times(starter: Starter, here: Candidate) -> None:
    done = starter.start(here, Workload("quiet", ("import os",), "os._exit(0)"))
    assert (done.status, done.ready, done.error) == (0, (), "it ended before it reported its times, as os._exit does")


def test_too_long_a_start_is_ended_and_the_next_one_works(starter: Starter, here: Candidate, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
        hanging = Workload("hangs", ("import time",), f"(open({str(fifo)!r}, 'wb'), time.sleep(1000))")
        done = starter.start(here, hanging, timeout=2)
        os.set_blocking(stream.fileno(), True)
        assert stream.read() == b""  # nobody holds the other end any more
    assert done.status == -signal.SIGKILL
    assert done.error == "was ended: it took longer than 2 s"
    assert starter.start(here, EMPTY).status == 0


def test_a_killed_launcher_is_replaced_and_the_start_is_made_again(starter: Starter, here: Candidate, tmp_path: Path) -> None:
    mark = tmp_path / "first"
    once = f"os.path.exists({str(mark)!r}) or (open({str(mark)!r}, 'w').close(), os.kill(os.getppid(), 9), time.sleep(1000))"
    done = starter.start(here, Workload("kills", ("import os, time",), once))
    assert (done.status, len(done.ready)) == (0, 1)


def test_a_program_that_kills_the_launcher_each_time_is_a_failure(starter: Starter, here: Candidate) -> None:
    done = starter.start(here, Workload("kills", ("import os, time",), "(os.kill(os.getppid(), 9), time.sleep(1000))"))
    assert (done.status, done.ready, done.late) == (-signal.SIGKILL, (), False)
    assert "the benchmark's launcher was lost twice" in done.error
    assert starter.start(here, EMPTY).status == 0


def test_ranks_wait_for_each_other_and_each_says_its_times(starter: Starter, here: Candidate) -> None:
    done = starter.start(here, of_imports("imports", ("own",)), ranks=4)
    assert (done.status, len(done.ready)) == (0, 4)
    assert max(done.ready) == pytest.approx(sum(done.phases.values()))
    assert max(done.ready) < done.wall
    assert list(starter.work.iterdir()) == []


def test_ranks_do_not_wait_for_one_that_has_failed(starter: Starter, here: Candidate, tmp_path: Path) -> None:
    mark = tmp_path / "first"
    once = f"open({str(mark)!r}, 'x') and None"  # the first rank makes the file, the others fail
    done = starter.start(here, Workload("fails", (), once), ranks=3)
    assert done.status == 1
    assert done.ready == ()
    assert "FileExistsError" in done.error


def test_a_program_that_is_not_there_is_named(starter: Starter, here: Candidate) -> None:
    nothing = Candidate("nothing", Environment(base=("/nowhere",)), here.prefix, ())
    with pytest.raises(CommandFailed, match="nothing: there is no program python"):
        starter.start(nothing, EMPTY)
    with pytest.raises(CommandFailed, match="cannot start /nowhere/python: No such file"):
        starter.run([["/nowhere/python"]], here)
    assert starter.start(here, EMPTY).status == 0


def test_the_output_of_a_started_program_comes_back_whole(starter: Starter, here: Candidate) -> None:
    done = starter.start(
        here, Workload("loud", ("import sys",), "[print('x' * 999) for _ in range(2000)] and sys.stderr.write('end')")
    )
    assert done.output.count("x") == 2000 * 999
    assert done.errors.strip() == "end"


def test_the_probe_runs_on_old_pythons() -> None:
    # Nothing newer than Python 3.6 may stand in it: an image's interpreter may be old.
    import ast

    ast.parse(source(), feature_version=(3, 6))
    assert "f'" not in source()


def test_a_look_says_where_the_interpreter_lives(here: Candidate, tmp_path: Path) -> None:
    found = look(here, {}, tmp_path)
    assert found["base"] == sys.base_prefix
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_look_at_an_interpreter_that_fails_says_why(here: Candidate, tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "python"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no library >&2\nexit 127\n")
    broken.chmod(0o755)
    with pytest.raises(BuildError, match="broken: its Python does not start: no library"):
        look(Candidate("broken", Environment(path=(str(broken.parent),)), here.prefix, ()), {}, tmp_path)
