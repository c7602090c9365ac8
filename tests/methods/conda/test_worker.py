"""The helper process: solving, fetching, installing, and what goes wrong with each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.errors import BuildError, CommandFailed
from ozrepro.faststart import ownpath
from ozrepro.methods.conda import worker
from ozrepro.methods.conda.channels import Channel
from ozrepro.methods.conda.helper import Helper, Question
from ozrepro.methods.conda.installed import damaged, installed, unlike_lock
from ozrepro.methods.conda.virtual import Virtual
from ozrepro.store.manifest import Digests
from tests.methods.conda.conftest import MACHINE, ask, fetch, ignore
from tests.methods.conda.packages import index, make_package, serve


def copied(channel: Path, to: Path) -> Path:
    return Path(shutil.copytree(channel, to))


@pytest.mark.parametrize(("shares", "links"), [(True, 2), (False, 1)], ids=["the store's own cache", "another cache"])
def test_solved_packages_are_hard_links_of_the_store_s_own_cache_alone(
    small_channel: Path, helper: Helper, tmp_path: Path, shares: bool, links: int
) -> None:
    helper = replace(helper, shares=shares)
    answer = ask(helper, small_channel.as_uri(), "alpha", "pure")
    assert [record.title for record in answer.records] == ["alpha-1.0-0", "beta-2.0-h1_1", "pure-1.0-0"]
    alpha = answer.records[0]
    assert (alpha.channel, alpha.subdir, alpha.depends) == ("site", "linux-64", ("beta >=1", "__glibc >=2.17"))
    assert alpha.constrains == ("gamma <2",)
    assert alpha.size == (small_channel / "linux-64" / alpha.file).stat().st_size
    assert answer.records[2].noarch == "generic"
    steps: list[tuple[str, int, int]] = []
    prefix = tmp_path / "env"
    fetched = helper.install(answer.records, {"site": small_channel.as_uri()}, prefix, lambda *step: steps.append(step)).fetched
    assert fetched == ("alpha-1.0-0", "beta-2.0-h1_1", "pure-1.0-0")
    assert (prefix / "share" / "alpha.txt").stat().st_nlink == links
    assert [step for step in steps if step[0].startswith("downloading ")][-1][1:] == (3, 3)
    assert [step for step in steps if step[0].startswith("linking ")][-1][1:] == (3, 3), steps
    packages = installed(prefix)
    assert not list(unlike_lock(packages, answer.records))
    assert not damaged(prefix, packages, Digests())
    assert list((tmp_path / "home").iterdir()) == []
    assert not list((helper.cache / "pkgs").glob(".fetch-*"))


def test_a_warm_cache_needs_no_channel(small_channel: Path, helper: Helper, tmp_path: Path) -> None:
    records = ask(helper, small_channel.as_uri(), "alpha").records
    fetch(helper, records, {"site": small_channel.as_uri()})
    assert helper.install(records, {"site": "https://127.0.0.1:9/none"}, tmp_path / "env", ignore).fetched == ()
    assert (tmp_path / "env" / "share" / "beta.txt").read_text() == "beta 2.0\n"


def test_locked_packages_are_kept_and_dates_obeyed(small_channel: Path, helper: Helper) -> None:
    channels = (Channel("site", small_channel.as_uri()),)
    question = Question(channels, ("alpha",), "linux-64", MACHINE, exclude_newer="2024-06-30")
    old = helper.solve(question, ignore).records
    assert old[1].title == "beta-1.5-0"
    kept = helper.solve(replace(question, exclude_newer="", locked=old), ignore).records
    assert kept == old
    named = helper.solve(replace(question, exclude_newer="", specs=("site::alpha", "beta=1.5=0")), ignore).records
    assert named == old


def test_strict_priority_takes_the_first_channel_and_flexible_goes_on(
    small_channel: Path, helper: Helper, tmp_path: Path
) -> None:
    make_package(tmp_path / "first", "beta", "0.5")
    index(tmp_path / "first")
    channels = (Channel("first", (tmp_path / "first").as_uri()), Channel("site", small_channel.as_uri()))
    question = Question(channels, ("beta",), "linux-64", MACHINE)
    found = helper.solve(question, ignore).records
    assert [(item.title, item.channel) for item in found] == [("beta-0.5-0", "first")]
    for specs in (("beta >=2",), ("alpha",)):
        with pytest.raises(BuildError, match=r"beta >=\d") as caught:
            helper.solve(replace(question, specs=specs), ignore)
        assert "beta in that version is in a later channel only" in caught.value.hint
        assert 'channel-priority = "flexible" in [conda]' in caught.value.hint
    named = helper.solve(replace(question, specs=("alpha", "site::beta")), ignore).records
    assert [item.title for item in named] == ["alpha-1.0-0", "beta-2.0-h1_1"], "the first way that the hint names"
    flexible = helper.solve(replace(question, specs=("beta >=2",), priority="flexible"), ignore).records
    assert [(item.title, item.channel) for item in flexible] == [("beta-2.0-h1_1", "site")]


def test_a_missing_driver_is_named_with_the_variable_that_overrides_it(small_channel: Path, helper: Helper) -> None:
    with pytest.raises(BuildError) as caught:
        ask(helper, small_channel.as_uri(), "on-gpu")
    assert "__cuda >=12,<13, for which no candidates were found" in str(caught.value)
    assert "this machine has no __cuda" in caught.value.hint
    assert "CONDA_OVERRIDE_CUDA=12" in caught.value.hint
    with pytest.raises(BuildError) as caught:
        ask(helper, small_channel.as_uri(), "on-gpu", virtual=(*MACHINE, Virtual("__cuda", "11.8")))
    assert "this machine has __cuda 11.8" in caught.value.hint
    found = ask(helper, small_channel.as_uri(), "on-gpu", virtual=(*MACHINE, Virtual("__cuda", "12.4")))
    assert found.records[0].name == "on-gpu"


def test_packages_for_another_cpu_are_refused_with_the_name_to_write_where_one_can_be_written(
    helper: Helper, tmp_path: Path
) -> None:
    wanted = {"level": "1 x86_64_v3", "newer": "1 zen5", "family": "* zen5*", "pattern": "1 *_v3", "version": "2"}
    for name, text in wanted.items():
        make_package(tmp_path / "site", name, depends=(f"__archspec {text}",))
    index(tmp_path / "site")
    hints: dict[str, str] = {}
    for name in wanted:
        with pytest.raises(BuildError) as caught:
            ask(helper, (tmp_path / "site").as_uri(), name, virtual=(*MACHINE, Virtual("__archspec", "1", "zen2")))
        hints[name] = caught.value.hint
    write = 'CONDA_OVERRIDE_ARCHSPEC={0}, or archspec = "{0}" in [conda.virtual-packages]'
    runs = "zen2 runs packages for x86_64_v3, but the solver compares the names; to take them: "
    other = "the CPU is zen2, and packages for zen5 are needed; to lock for another machine: "
    neither = "the CPU is zen2: take another version or build of what needs __archspec"
    assert hints == {
        "level": runs + write.format("x86_64_v3"),
        **dict.fromkeys(("newer", "family"), other + write.format("zen5")),
        **dict.fromkeys(("pattern", "version"), neither),
    }


def test_a_cpu_build_beside_a_gpu_build_is_told(small_channel: Path, helper: Helper) -> None:
    answer = ask(helper, small_channel.as_uri(), "both", "beta")
    assert (answer.records[1].build, answer.cpu_builds) == ("cpu_0", ("both",))
    answer = ask(helper, small_channel.as_uri(), "both", virtual=(*MACHINE, Virtual("__cuda", "12.4")))
    assert (answer.records[0].build, answer.cpu_builds) == ("cuda_1", ())


@pytest.mark.parametrize(("spec", "said"), [("nothing-such", "nothing-such"), ("alpha >=9", "alpha >=9"), ("alpha[x", "alpha")])
def test_conda_packages_that_cannot_be_solved_together_are_explained_by_the_worker(
    small_channel: Path, helper: Helper, spec: str, said: str
) -> None:
    with pytest.raises(BuildError, match=said) as caught:
        ask(helper, small_channel.as_uri(), spec)
    assert caught.value.hint


@pytest.mark.parametrize("address", ["file:///nowhere/channel", "http://127.0.0.1:9/channel"])
def test_a_channel_that_is_not_there_is_an_error_with_its_address(helper: Helper, address: str) -> None:
    with pytest.raises(BuildError, match="a channel cannot be read") as caught:
        ask(helper, address, "alpha")
    assert address.rpartition("/")[0] in str(caught.value)
    assert "ozrepro.channels" in caught.value.hint
    more = str(caught.value).splitlines()[1:]
    assert more
    assert all(line.startswith("  ") for line in more), "the causes are set in below what they explain"


def test_a_tampered_local_archive_is_refused_and_the_mended_one_taken(
    small_channel: Path, helper: Helper, tmp_path: Path
) -> None:
    channel = copied(small_channel, tmp_path / "chan")
    records = ask(helper, channel.as_uri(), "alpha").records
    archive = channel / "linux-64" / "beta-2.0-h1_1.tar.bz2"
    good = archive.read_bytes()
    make_package(channel, "beta", "2.0", build="h1_1", files={"bin/evil": b"evil"})
    with pytest.raises(BuildError, match=r"beta-2\.0-h1_1\.tar\.bz2 of the channel site is not the file that was locked"):
        helper.install(records, {"site": channel.as_uri()}, tmp_path / "env", ignore)
    assert not (tmp_path / "env").exists()
    assert not (helper.cache / "pkgs" / "beta-2.0-h1_1").exists()
    archive.write_bytes(good)
    helper.install(records, {"site": channel.as_uri()}, tmp_path / "env", ignore)
    assert (tmp_path / "env" / "share" / "beta.txt").exists()


def test_wrong_missing_and_cut_archives_over_http_are_refused(small_channel: Path, helper: Helper, tmp_path: Path) -> None:
    with serve(small_channel) as server:
        records = ask(helper, server.address, "alpha").records
        addresses = {"site": server.address}
        name = "beta-2.0-h1_1.tar.bz2"
        server.other[name] = b"something else"
        with pytest.raises(BuildError, match=r"has 14 of \d+ bytes|has sha256"):
            fetch(helper, records, addresses)
        server.other.clear()
        server.gone.add(name)
        with pytest.raises(BuildError, match="the channel has no such file") as caught:
            fetch(helper, records, addresses)
        assert server.address in str(caught.value)
        server.gone.clear()
        server.cut[name] = 1_000
        with pytest.raises(BuildError, match=name):
            fetch(helper, records, addresses)
        assert not (helper.cache / "pkgs" / "beta-2.0-h1_1").exists()
        server.cut[name] = 1
        assert helper.install(records, addresses, tmp_path / "env", ignore).fetched
    assert (tmp_path / "env" / "share" / "beta.txt").read_text() == "beta 2.0\n"


@pytest.mark.parametrize("harm", ["mark", "file", "short", "edited"])
def test_a_damaged_entry_of_the_cache_is_taken_afresh(small_channel: Path, helper: Helper, tmp_path: Path, harm: str) -> None:
    records = ask(helper, small_channel.as_uri(), "beta").records
    addresses = {"site": small_channel.as_uri()}
    helper.install(records, addresses, tmp_path / "one", ignore)
    entry = helper.cache / "pkgs" / "beta-2.0-h1_1"
    inner = entry / ("info/ozrepro" if harm == "mark" else "share/beta.txt")
    inner.unlink()
    if harm in ("short", "edited"):
        inner.write_text("x" if harm == "short" else "beta 6.6\n")  # the second is as long as the package's own
    linked = helper.install(records, addresses, tmp_path / "two", ignore)
    assert linked.fetched == ("beta-2.0-h1_1",)
    assert linked.packages == installed(tmp_path / "two")
    for prefix in ("one", "two"):
        assert (tmp_path / prefix / "share" / "beta.txt").read_text() == "beta 2.0\n"


def test_packages_that_never_hold_what_they_list_are_refused_by_file(helper: Helper, tmp_path: Path) -> None:
    channel = tmp_path / "liar"
    path = "share/beta.txt"
    make_package(channel, "beta", files={path: b"one"}, claimed={path: b"two"})
    index(channel)
    records = ask(helper, channel.as_uri(), "beta").records
    with pytest.raises(BuildError, match=rf"beta-1\.0-0: {path}: is not the recorded file"):
        helper.install(records, {"site": channel.as_uri()}, tmp_path / "env", ignore)


def test_what_stood_in_a_prefix_before_is_never_removed_to_mend_a_package(
    small_channel: Path, helper: Helper, tmp_path: Path
) -> None:
    records = ask(helper, small_channel.as_uri(), "beta").records
    addresses = {"site": small_channel.as_uri()}
    fetch(helper, records, addresses)
    (helper.cache / "pkgs" / "beta-2.0-h1_1" / "share" / "beta.txt").write_text("beta 6.6\n")
    prefix = tmp_path / "env"
    prefix.mkdir()
    (prefix / "mine").touch()
    with pytest.raises(BuildError, match="is not the recorded file"):
        helper.install(records, addresses, prefix, ignore)
    assert (prefix / "mine").exists()


def test_a_worker_killed_while_it_links_leaves_a_cache_that_serves(helper: Helper, tmp_path: Path) -> None:
    channel = tmp_path / "vast"
    # Linking it takes long enough for the worker to be found and killed after a small package is linked.
    make_package(channel, "vast", files={f"share/vast/{number}": b"x" for number in range(6000)})
    for number in range(4):
        make_package(channel, f"small-{number}")
    index(channel)
    records = ask(helper, channel.as_uri(), "vast", *(f"small-{number}" for number in range(4))).records
    addresses = {"site": channel.as_uri()}
    fetch(helper, records, addresses)

    def kill(step: str, done: int, total: int) -> None:
        if step.startswith("linking"):
            _kill_worker(tmp_path / "env")

    with pytest.raises(CommandFailed, match="the helper process ended by signal 9"):
        helper.install(records, addresses, tmp_path / "env", kill)
    shutil.rmtree(tmp_path / "env", ignore_errors=True)
    assert helper.install(records, addresses, tmp_path / "env", ignore).fetched == ()
    assert not damaged(tmp_path / "env", installed(tmp_path / "env"), Digests())


def _kill_worker(prefix: Path) -> None:
    """Kill the worker of this test: the one whose task names the prefix."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"ozrepro.methods.conda.worker" in words and str(prefix) in Path(os.fsdecode(words[4])).read_text():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue


def test_a_worker_killed_while_it_fetches_leaves_nothing_behind_for_long(
    small_channel: Path, helper: Helper, tmp_path: Path
) -> None:
    records = ask(helper, small_channel.as_uri(), "big").records
    tables = [{**record.as_table(), "address": small_channel.as_uri()} for record in records]
    task = {"task": "install", "cache": str(helper.cache), "forget": [], "records": tables, "shares": False}
    task["prefix"] = str(tmp_path / "env")
    (tmp_path / "task").write_text(json.dumps(task))
    words = ownpath.helper("ozrepro.methods.conda.worker", str(tmp_path / "task"), str(tmp_path / "result"))
    with subprocess.Popen(words, env=dict(helper.variables), stderr=subprocess.DEVNULL) as started:
        deadline = time.monotonic() + 20
        while started.poll() is None and not list(helper.cache.glob("pkgs/.fetch-*/*/content/share")):
            assert time.monotonic() < deadline
        started.kill()
    assert fetch(helper, records, {"site": small_channel.as_uri()}) in (("big-1.0-0",), ())
    assert not list(helper.cache.glob("pkgs/.fetch-*"))


def test_several_workers_fill_one_cold_cache_at_once(small_channel: Path, helper: Helper, tmp_path: Path) -> None:
    records = ask(helper, small_channel.as_uri(), "big", "alpha", "pure").records
    errors: list[Exception] = []

    def install(number: int) -> None:
        try:
            helper.install(records, {"site": small_channel.as_uri()}, tmp_path / f"env{number}", ignore)
        except Exception as error:  # noqa: BLE001  # told in the main thread
            errors.append(error)

    threads = [threading.Thread(target=install, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for number in range(4):
        assert not damaged(tmp_path / f"env{number}", installed(tmp_path / f"env{number}"), Digests())


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted by root")
@pytest.mark.parametrize("full", ["cache", "prefix"])
def test_a_full_disk_is_told_and_the_next_run_succeeds(small_channel: Path, helper: Helper, tmp_path: Path, full: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        records = ask(helper, small_channel.as_uri(), "big").records
        addresses = {"site": small_channel.as_uri()}
        used = replace(helper, cache=disk / "cache") if full == "cache" else helper
        prefix = tmp_path / "env" if full == "cache" else disk / "env"
        with pytest.raises(BuildError, match="no space left") as caught:
            used.install(records, addresses, prefix, ignore)
        assert str(disk) in str(caught.value)
        if full == "cache":
            assert not list((disk / "cache" / "pkgs").glob("big*"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        shutil.rmtree(prefix, ignore_errors=True)
        used.install(records, addresses, prefix, ignore)
        assert not damaged(prefix, installed(prefix), Digests())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_missing_or_partial_result_is_a_failure_with_what_was_said(
    helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = sys.executable
    for body in ("print('boom', file=sys.stderr); os._exit(0)", "open(sys.argv[2], 'w').write('{\"done\": '); os._exit(0)"):
        fake = tmp_path / "python"
        # A first line cannot name an interpreter whose path has a space; the second is a string in Python.
        fake.write_text(f'#!/bin/sh\n"exec" "{python}" "$0" "$@"\nimport os, sys\nsys.argv = sys.argv[3:]\n{body}\n')
        fake.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(fake))
        with pytest.raises(CommandFailed, match="no result"):
            helper.detect()


def test_the_channel_of_a_record_must_have_an_address(small_channel: Path, helper: Helper) -> None:
    records = ask(helper, small_channel.as_uri(), "beta").records
    with pytest.raises(BuildError, match="whose address it does not give"):
        fetch(helper, records, {})


def test_an_index_that_names_files_outside_is_refused(helper: Helper, tmp_path: Path) -> None:
    channel = tmp_path / "hostile"
    make_package(channel, "beta")
    index(channel)
    repodata = channel / "linux-64" / "repodata.json"
    table = json.loads(repodata.read_text())
    entry = table["packages"].pop("beta-1.0-0.tar.bz2")
    table["packages"]["beta-1.0-0.tar.bz2"] = {**entry, "depends": ["x\u202ey"], "license": "a\nb"}
    repodata.write_text(json.dumps(table))
    with pytest.raises(BuildError):
        ask(helper, channel.as_uri(), "beta")


def test_virtual_packages_of_this_machine_are_detected(helper: Helper) -> None:
    found = {item.name: item for item in helper.detect()}
    assert {"__unix", "__linux"} <= found.keys()
    quick = {item.name: item for item in helper.detect(["__glibc"])}
    assert quick["__glibc"] == found["__glibc"]
    assert quick["__linux"].version.split(".")[:2] == found["__linux"].version.split(".")[:2]


@pytest.mark.parametrize(("version", "hint"), [("0.28.3", ""), ("0.29.0", "pip install 'py-rattler==0.28.*'")])
def test_an_unknown_failure_of_a_rattler_newer_than_those_tried_names_the_one_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, hint: str
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    monkeypatch.setitem(sys.modules, "rattler", None)  # as a name that is not there any more
    refused = worker.perform({"task": "solve", "cache": str(tmp_path), "channels": [], "virtual": []})["refused"]
    assert refused["what"].startswith("solve failed: ")
    assert refused["hint"].endswith(hint)
    assert bool(refused["hint"]) is bool(hint)
