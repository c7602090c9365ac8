"""What is recommended, and on what grounds: each method can win, and often it does not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ozrepro.frontends.bench.result import About, Result
from ozrepro.frontends.bench.summary import summarise
from ozrepro.frontends.bench.verdict import Verdict, judge
from tests.frontends.bench.made import made
from tests.frontends.bench.values import a_row

SAME = {"cold-client": 1.0, "warm": 0.3}
QUICK = {"cold-client": 0.4, "warm": 0.12}
LOCAL = {"type": "ext4", "options": []}


def verdict(result: Result, jobs: int = 0) -> Verdict:
    """Return the verdict of a result."""
    return judge(summarise(result), jobs)


def even(result: Result) -> Result:
    """Return a result whose candidates are all of one size."""
    return replace(result, candidates=tuple(replace(item, files=9_000, build_seconds=30.0) for item in result.candidates))


@pytest.mark.parametrize("winner", ["modules", "conda", "container", "venv"])
def test_each_method_can_be_recommended(winner: str) -> None:
    """Whichever is clearly faster, cold, by more than a tenth of a second."""
    names = ("modules", "conda", "container", "venv")
    result = even(made(speed={name: QUICK if name == winner else SAME for name in names}, fs=LOCAL))
    found = verdict(result)
    assert found.choice == winner
    assert found.headline == f"Take {winner}."


def test_a_file_that_is_recommended_is_named_with_its_setting() -> None:
    speed = {"modules": SAME, "modules as a file": QUICK, "conda": SAME}
    result = even(made(speed=speed, fs=LOCAL))
    forms = {"modules as a file": "file"}
    result = replace(result, candidates=tuple(replace(item, form=forms.get(item.name, "tree")) for item in result.candidates))
    found = verdict(result)
    assert found.choice == "modules as a file"
    assert found.headline == 'Take modules as a file; set form = "file" in [tool.ozrepro].'
    speed = {**speed, "container": QUICK}
    both = even(made(speed=speed, fs=LOCAL))
    both = replace(both, candidates=tuple(replace(item, form=forms.get(item.name, "tree")) for item in both.candidates))
    assert verdict(both).headline == (
        "Take modules as a file or container: between them it does not matter here; "
        'for modules as a file, set form = "file" in [tool.ozrepro].'
    )


def test_a_staged_file_that_is_recommended_is_named_with_the_line_of_a_job() -> None:
    speed = {"modules": SAME, "modules as a staged file": QUICK, "conda": SAME}
    result = even(made(speed=speed, fs=LOCAL))
    forms = {"modules as a staged file": "staged"}
    result = replace(result, candidates=tuple(replace(item, form=forms.get(item.name, "tree")) for item in result.candidates))
    assert verdict(result).headline == (
        f"Take modules as a staged file; begin the job's script with ozrepro stage {result.session}."
    )


def test_the_verdict_is_that_the_method_does_not_matter_where_nothing_is_clear() -> None:
    """The same speed thrice, on a local file system: the session's own first stays."""
    found = verdict(even(made(speed={"conda": SAME, "modules": SAME, "container": SAME}, fs=LOCAL)))
    assert found.choice == "conda"
    assert found.headline == "It does not matter here: keep conda, which the session names first."
    assert "no clear difference" in found.sentences[0]
    assert "does not matter" in found.sentences[1]


def test_a_clear_difference_that_nobody_notices_does_not_matter() -> None:
    """Twice as fast, by 30 ms per start."""
    speed = {"modules": {"cold-client": 0.06, "warm": 0.06}, "conda": {"cold-client": 0.03, "warm": 0.03}}
    found = verdict(even(made(speed=speed, fs=LOCAL, ranks=(1,))))
    assert "It does not matter here" in found.headline
    assert "slower by" in found.sentences[0]


def test_too_few_rounds_choose_nothing() -> None:
    """Five rounds have no interval of 95 %, whatever they look like."""
    found = verdict(even(made(speed={"modules": SAME, "conda": QUICK}, fs=LOCAL, rounds=5)))
    assert found.choice == "modules"
    assert found.headline == (
        "Too few rounds to choose, at least 6 are needed and cold-client has 5, warm has 5: "
        "until then keep modules, named first by the session."
    )
    assert "too few rounds to say" in found.sentences[0]


def cut(result: Result, state: str, rounds: int) -> Result:
    """Return a result whose time budget ended in a round of one state."""
    return replace(
        result, rows=tuple(row for row in result.rows if row.state != state or row.round <= rounds), complete=False, why="budget"
    )


@pytest.mark.parametrize("warm", [0.3, 0.1, 0.6])
def test_warm_rounds_do_not_choose_where_the_cold_ones_are_too_few(warm: float) -> None:
    """The other may be thirteen times as fast on a cold node, which three rounds cannot say."""
    speed = {"modules": {"cold-client": 13.0, "warm": 0.3}, "container": {"cold-client": 1.0, "warm": warm}}
    found = verdict(cut(even(made(speed=speed, fs=LOCAL)), "cold-client", 3))
    assert found.choice == "modules"
    assert found.headline.startswith("Too few rounds to choose, at least 6 are needed and cold-client has 3: until then keep")


@pytest.mark.parametrize(("cold", "choice"), [(0.2, "container"), (1.6, "container"), (2.6, "modules")])
def test_load_decides_alone_where_rounds_are_too_few_unless_the_start_is_twice_as_slow(cold: float, choice: str) -> None:
    speed = {"modules": SAME, "container": {"cold-client": cold, "warm": 0.3}}
    found = verdict(even(made(speed=speed, rounds=3)), jobs=100)
    assert found.choice == choice
    if choice == "container":
        assert found.headline == (
            "Take container, for its load alone: too few rounds to say which starts faster, "
            "at least 6 are needed and cold-client has 3, warm has 3."
        )
    else:
        assert found.headline.startswith("Too few rounds to choose")


def test_a_method_that_was_not_started_did_not_fail() -> None:
    """The budget was spent in the first block of the cold rounds, or before the others' first start at all."""
    result = made(speed={"modules": SAME, "conda": QUICK, "container": QUICK})
    cold = replace(result, rows=tuple(row for row in result.rows if row.state == "cold-client" and row.candidate == "conda")[:1])
    found = verdict(cold)
    assert found.choice == "conda"
    assert found.headline == "Nothing can be recommended yet: modules and container were not started."
    ranks = cold.rows[0].ranks
    failing = a_row(
        "modules", 1, workload="imports", state="cold-client", ranks=ranks, status=1, ready=(), error="ImportError: no scipy"
    )
    both = verdict(replace(cold, rows=(*cold.rows, failing)))
    assert both.headline == "Nothing can be recommended yet: container was not started."


def test_the_verdict_names_ranks_of_the_state_that_had_them() -> None:
    """A budget that ends in the first cold round leaves one with fewer ranks than the warm rounds had."""
    result = made(speed={"modules": SAME, "container": QUICK})
    rows = tuple(row for row in result.rows if row.state == "warm" or row.ranks == 1)
    text = verdict(replace(result, rows=rows)).sentences[0]
    assert text.startswith("Start-up of imports: with nothing known to the client with 1 rank, container takes")
    assert "; warm with 4 ranks, container takes" in text
    assert verdict(result).sentences[0].startswith("Start-up of imports with 4 ranks: with nothing known to the client, ")


def test_load_on_a_shared_server_outweighs_a_small_loss_of_time() -> None:
    """The container starts a fifth slower, and spares the server almost all of 180,000 requests."""
    speed = {"modules": SAME, "container": {"cold-client": 1.2, "warm": 0.36}}
    result = even(made(speed=speed))
    assert verdict(result, jobs=100).choice == "container"
    assert verdict(result, jobs=1).choice == "modules"
    assert verdict(replace(result, fs=LOCAL), jobs=100).choice == "modules"


def test_load_does_not_outweigh_a_start_that_takes_thrice_as_long() -> None:
    """The sentence still says what it costs the server."""
    speed = {"modules": SAME, "container": {"cold-client": 3.0, "warm": 0.9}}
    found = verdict(even(made(speed=speed)), jobs=100)
    assert found.choice == "modules"
    assert "modules 182,300, container 1,000 requests" in found.sentences[1]


def test_load_counts_a_cold_first_rank_and_warm_others() -> None:
    """100 jobs of 4 ranks: 797 requests of the first and 342 of each other one, by the counts."""
    found = verdict(made(), jobs=1)
    assert f"modules {797 + 3 * 342:,}" in found.sentences[1]
    many = verdict(made(ranks=(1, 32)), jobs=1)
    assert f"modules {797 + 4 * 171 + 3 * 171:,}" in many.sentences[1], "five opens of a file, and its client has a lock"
    never = verdict(made(ranks=(1, 32), profile={"name": "old", "open_lock_after": 0}), jobs=1)
    assert f"modules {797 + 31 * 342:,}" in never.sentences[1]
    assert "assumed" not in found.sentences[1]
    assert "(assumed; state yours with --jobs)" in verdict(made()).sentences[1]


def test_files_decide_where_time_does_not() -> None:
    """Forty thousand files against one."""
    result = made(speed={"conda": SAME, "container": SAME}, fs=LOCAL)
    assert verdict(result).choice == "container"
    assert "1 file and 300 MiB" in verdict(result).sentences[2]


def test_a_longer_build_pays_after_so_many_starts() -> None:
    """60 seconds longer, a second saved by each cold start; and never where starts are not faster."""
    fast = {"modules": {"cold-client": 2.0, "warm": 0.3}, "container": {"cold-client": 1.0, "warm": 0.3}}
    result = made(speed=fast, ranks=(1,))
    seconds = [summarise(result).seconds(name, ("imports", "cold-client", 1)) for name in fast]
    assert seconds[0] is not None
    assert seconds[1] is not None
    starts = -(-60.0 // (seconds[0] - seconds[1]))
    assert f"60.0 s longer than that of modules, which pays after {starts:.0f} cold-client starts" in verdict(result).sentences[2]
    copied = replace(
        result,
        candidates=tuple(replace(item, stage_seconds=5.0) if item.name == "container" else item for item in result.candidates),
    )
    assert "and its copy on a node 5.00 s, 65.0 s longer than that of modules, which pays after" in verdict(copied).sentences[2]
    same = made(speed={"modules": SAME, "container": SAME}, ranks=(1,))
    assert verdict(same).choice == "container"
    assert "which its starts do not make up for" in verdict(same).sentences[2]
    warm = {"modules": {"cold-client": 2.0, "warm": 6.0}, "container": {"cold-client": 2.0, "warm": 1.5}}
    assert "which pays after 14 warm starts" in verdict(made(speed=warm, ranks=(1,))).sentences[2]
    few = made(speed={name: fast[name] for name in ("container", "modules")}, ranks=(1,), rounds=3)
    assert "with too few rounds to say whether its starts make up for it" in verdict(few).sentences[2]


def test_an_unknown_build_time_is_said() -> None:
    """No number is made up."""
    result = made(candidates=(About("modules"), About("conda")), speed={"modules": SAME, "conda": QUICK})
    text = verdict(result).sentences[2]
    assert "how long its build took is not known" in text
    assert "conda takes an unknown size" in text


def test_one_method_alone_is_no_choice() -> None:
    """It says why the others are not there, and its own numbers."""
    result = made(speed={"venv": SAME}, refused=("container: no apptainer on PATH",))
    found = verdict(result)
    assert found.headline == "There is nothing to choose: venv is the only method that was measured."
    assert "venv takes" in found.sentences[0]
    assert "Not measured: container: no apptainer on PATH" in found.unmeasured


def test_a_method_that_fails_is_not_recommended() -> None:
    """However fast its other starts were; the failure is told."""
    result = made(speed={"modules": SAME, "conda": QUICK})
    broken = a_row("conda", 1, workload="imports", state="warm", ranks=4, status=1, ready=(), error="ImportError: no scipy")
    found = verdict(replace(result, rows=(*result.rows, broken)))
    assert found.choice == "modules"
    assert found.headline == "Take modules: the others failed."
    assert "conda failed in 1 start (imports, warm, 4 ranks): ImportError: no scipy" in found.unmeasured


def test_the_verdict_says_that_no_method_works_without_an_error() -> None:
    """All failed, or nothing was started at all."""
    rows = tuple(a_row(name, status=1, ready=(), error="x") for name in ("modules", "conda", "container"))
    for changes in ({"rows": rows}, {"rows": ()}, {"rows": (), "counts": (), "candidates": ()}):
        found = verdict(made(**changes, complete=False, why="interrupted"))
        assert found.choice == ""
        assert found.headline.startswith("Nothing can be recommended")
        assert "The run is not complete: interrupted." in found.unmeasured


def test_a_run_without_a_start_does_not_say_that_methods_failed() -> None:
    """As where the first start hangs until the time budget is spent."""
    result = made(speed={"modules": SAME, "conda": SAME})
    found = verdict(replace(result, rows=(), order=(), complete=False, why="the time budget"))
    assert found.headline == "Nothing can be recommended: no start was measured."
    assert found.sentences[1].endswith("not known, as no start was measured.")


def test_methods_that_were_not_counted_are_named_where_others_were() -> None:
    result = made(speed={"modules": SAME, "conda": SAME})
    some = replace(result, counts=tuple(item for item in result.counts if item.candidate == "conda"))
    assert "The requests of modules are not known." in verdict(some).unmeasured
    none = verdict(replace(result, counts=()))
    assert not any("requests of" in line for line in none.unmeasured)
    assert "no system calls were counted" in none.sentences[1]


def test_the_verdict_tells_what_was_not_measured() -> None:
    """No cold start, no counts, and the notes of the run."""
    speed = {"modules": {"warm": 0.3}, "conda": {"warm": 0.3}}
    found = verdict(made(speed=speed, counts=(), notes=("No system call was counted: strace is not here.",)))
    assert "No cold start was measured: a job's first start on a node is one." in found.unmeasured
    assert "No system call was counted: strace is not here." in found.unmeasured
    assert found.sentences[1].endswith("not known, as no system calls were counted.")
    cold = verdict(made(speed={"modules": {"cold-client": 1.0}, "conda": {"cold-client": 1.0}}))
    assert "No warm start was measured." in cold.unmeasured


def test_a_verdict_has_three_sentences_with_numbers() -> None:
    """Each ends as a sentence does."""
    for result in (made(), made(rows=()), made(counts=()), made(speed={"venv": SAME})):
        found = verdict(result)
        assert len(found.sentences) == 3
        assert all(text.endswith(".") for text in found.sentences)
