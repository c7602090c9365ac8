"""The container part is what it says: real Apptainer runs and builds as an ordinary user, with a real registry beside it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.fake_cluster import Site, SiteUnavailable, apptainer, debian, oci
from tests.fake_cluster.containers import NAME, TAG, Containers, load_containers, make_cached, wanted_digest
from tests.fake_cluster.fixtures import OrdinaryProject
from tests.fake_cluster.ordinary import Account, borrow_account
from tests.fake_cluster.registry import Registry

PRINT = "import sys, os; print(sys.executable, os.getuid(), *sys.argv[1:], sep='|')"


def built(ordinary: OrdinaryProject, definition: str, *flags: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Build an image from a definition's text as `image.sif`."""
    ordinary.write("image.def", definition)
    return ordinary.run("apptainer", "build", "--force", *flags, "image.sif", "image.def", **more)


def inside(ordinary: OrdinaryProject, image: Path | str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run words in an image."""
    return ordinary.run("apptainer", "exec", str(image), *words)


def test_an_ordinary_user_runs_python_in_the_base_image(containers: Containers, ordinary: OrdinaryProject) -> None:
    words = ["two words", "it's", '"quoted"', "$HOME", "a\nline", "*", ""]
    done = inside(ordinary, containers.base, "python", "-c", PRINT, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "|".join(["/usr/bin/python", str(ordinary.account.uid), *words]) + "\n"
    assert ordinary.account.uid != 0


def test_an_image_is_mounted_through_fuse(containers: Containers, ordinary: OrdinaryProject) -> None:
    command = ordinary.account.command("apptainer", "exec", containers.base, "sh", "-c", "echo ready; read answer")
    with subprocess.Popen(
        command,
        env=ordinary.environ,
        cwd=ordinary.root,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _of(path) == ordinary.account.uid]
        process.communicate("\n")
    assert any(words.split(b"\0")[0].endswith(b"/squashfuse_ll") for words in running), running


def _of(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:  # ended meanwhile
        return -1


def test_the_base_image_has_python_3_11_and_a_pip_that_installs_where_it_may(
    containers: Containers, ordinary: OrdinaryProject
) -> None:
    done = inside(ordinary, containers.base, "python", "-c", "import sys, venv, pip, ssl; print(*sys.version_info[:2], sep='.')")
    assert done.stdout == "3.11\n", done.stderr
    assert inside(ordinary, containers.base, "sh", "-c", "ls /usr/lib/python3.11/EXTERNALLY-MANAGED").returncode != 0
    assert inside(ordinary, containers.base, "touch", "/usr/lib/here").returncode != 0


def test_the_exit_code_of_a_program_in_an_image_is_apptainer_s(containers: Containers, ordinary: OrdinaryProject) -> None:
    assert inside(ordinary, containers.base, "sh", "-c", "exit 42").returncode == 42
    assert inside(ordinary, containers.base, "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    assert inside(ordinary, containers.base, "no-such-program").returncode == 255


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_program_inside(containers: Containers, ordinary: OrdinaryProject, number: signal.Signals) -> None:
    # Waited for and not handled: a handler can come too late for the sleep that it should end.
    program = (
        f"import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [{number:d}]); print('ready', flush=True); "
        f"sys.exit(signal.sigwait([{number:d}]) == {number:d} and 7)"
    )
    command = ordinary.account.command("apptainer", "exec", containers.base, "python", "-c", program)
    with subprocess.Popen(
        command, env=ordinary.environ, cwd=ordinary.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(60) == 7


def test_a_build_from_the_local_image_runs_post_as_root_of_a_namespace(containers: Containers, ordinary: OrdinaryProject) -> None:
    post = "id -u\n    echo made > /opt/made\n    chown 33:33 /opt/made\n    dpkg --version > /opt/dpkg"
    done = built(ordinary, f"Bootstrap: localimage\nFrom: {containers.base}\n\n%post\n    {post}\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n"
    assert "Build complete: image.sif" in done.stderr
    assert inside(ordinary, "image.sif", "cat", "/opt/made").stdout == "made\n"
    assert (ordinary.root / "image.sif").stat().st_uid == ordinary.account.uid


def test_a_failing_post_says_its_line_and_leaves_no_image(containers: Containers, ordinary: OrdinaryProject) -> None:
    done = built(
        ordinary,
        f"Bootstrap: localimage\nFrom: {containers.base}\n\n%post\n    echo first\n    test -e /nowhere\n    echo after\n",
    )
    assert done.returncode == 255
    assert done.stdout == "first\n"
    assert done.stderr.splitlines()[-2:] == [
        "+ test -e /nowhere",
        "FATAL:   While performing build: while running engine: while running %post section: exit status 1",
    ]
    assert not (ordinary.root / "image.sif").exists()


def test_a_build_from_the_registry_has_what_the_tag_means_now_and_the_digest_meant_before(
    registry: Registry, ordinary: OrdinaryProject
) -> None:
    head = f"Bootstrap: docker\nFrom: {registry.address}/{NAME}"
    registry.change(files={"/etc/changed": "yes\n"})
    by_tag = built(ordinary, f"{head}:{TAG}\n\n%post\n    cat /etc/changed\n    python --version\n", "--no-https")
    assert by_tag.stdout == "yes\nPython 3.11.2\n", by_tag.stderr
    assert "warn" not in by_tag.stderr
    by_digest = built(
        ordinary, f"{head}@{registry.containers.index}\n\n%post\n    ls /etc/changed || echo as before\n", "--no-https"
    )
    assert by_digest.stdout == "as before\n", by_digest.stderr
    assert f"GET /v2/{NAME}/manifests/{registry.containers.index}" in registry.asked()


def test_a_tag_of_the_registry_moves_to_another_image_and_back(registry: Registry) -> None:
    before = registry.digest()
    assert before == registry.containers.index
    after = registry.change()
    assert registry.digest() == after != before
    registry.move(NAME, TAG, before)
    assert registry.digest() == before


def test_the_tag_is_an_index_of_two_platforms(registry: Registry) -> None:
    found = registry.manifest(NAME, TAG)
    assert found["mediaType"] == oci.INDEX
    architectures = {entry["platform"]["architecture"]: entry["digest"] for entry in found["manifests"]}
    assert sorted(architectures) == ["amd64", "arm64"]
    assert architectures["amd64"] == registry.containers.manifest
    own = registry.manifest(NAME, registry.containers.manifest)
    for entry in own["layers"]:
        assert oci.digest_of(oci.blob(registry.containers.layout, entry["digest"]).read_bytes()) == entry["digest"]


def test_requests_are_seen_and_a_stopped_registry_refuses(registry: Registry, ordinary: OrdinaryProject) -> None:
    registry.forget()
    assert registry.asked() == []
    registry.digest()
    assert registry.asked() == [f"HEAD /v2/{NAME}/manifests/{TAG}"]
    registry.stop()
    definition = f"Bootstrap: docker\nFrom: {registry.address}/{NAME}:{TAG}\n"
    done = built(ordinary, definition, "--no-https")
    assert done.returncode == 255
    assert "connection refused" in done.stderr
    address = registry.address
    registry.start()
    assert registry.address == address
    assert registry.digest() == registry.containers.index


def test_without_a_network_an_image_runs_and_no_registry_is_reached(registry: Registry, ordinary: OrdinaryProject) -> None:
    done = inside(ordinary.offline, registry.containers.base, "python", "-c", "print('runs')")
    assert done.stdout == "runs\n", done.stderr
    registry.forget()
    done = built(ordinary.offline, f"Bootstrap: docker\nFrom: {registry.address}/{NAME}:{TAG}\n", "--no-https")
    assert done.returncode != 0
    assert registry.asked() == []


def test_the_users_ozrepro_is_this_one_and_runs_in_a_fresh_home(ordinary: OrdinaryProject) -> None:
    assert list(ordinary.home.iterdir()) == []
    done = ordinary.run(
        "python", "-c", "import os, ozrepro, pwd; print(ozrepro.__version__, os.getuid(), pwd.getpwuid(os.getuid()).pw_dir)"
    )
    import ozrepro

    home = str(ordinary.home) if ordinary.account.borrowed else os.path.expanduser("~")
    assert done.stdout.split() == [ozrepro.__version__, str(ordinary.account.uid), home], done.stderr
    assert ordinary.done("--version").split() == ["ozrepro", ozrepro.__version__]


def test_the_users_project_is_neither_in_a_home_nor_where_apptainer_shows_folders_of_itself(ordinary: OrdinaryProject) -> None:
    if not ordinary.account.borrowed:
        pytest.skip("only root can make a folder elsewhere")
    assert ordinary.root.parts[1] not in {"home", "root", "tmp", "var"}


def test_a_pip_user_install_lands_in_the_home_unless_it_is_kept_away(containers: Containers, ordinary: OrdinaryProject) -> None:
    """The trap of the guide, which the container method has to close: this is what it must not allow."""
    if not ordinary.account.borrowed:
        pytest.skip("the home of a real user is not written to")
    from tests.wheels import make_wheel

    wheel = make_wheel(ordinary.root, "six", "1.0")
    done = inside(ordinary, containers.base, "pip", "install", "--no-index", wheel.name)
    assert done.returncode == 0, done.stderr
    assert "Defaulting to user installation" in done.stdout
    assert list(ordinary.home.glob(".local/lib/python3.11/site-packages/six.py"))


def test_everybody_can_read_the_container_part_and_nobody_else_can_write(containers: Containers) -> None:
    for folder, _, files in os.walk(containers.prefix):
        for path in [folder, *(os.path.join(folder, name) for name in files)]:
            mode = os.lstat(path).st_mode
            if not stat.S_ISLNK(mode):
                assert mode & 0o022 == 0, path
                assert mode & 0o044 == 0o044, path


def test_a_second_making_takes_what_is_there(containers: Containers, account: Account) -> None:
    before = containers.base.stat().st_ino
    assert make_cached(account) == containers
    assert containers.base.stat().st_ino == before
    assert hashlib.sha256(containers.base.read_bytes()).hexdigest() == containers.base_sif_digest


def test_an_unfinished_part_has_no_description(tmp_path: Path) -> None:
    with pytest.raises(SiteUnavailable, match="not a finished container part"):
        load_containers(tmp_path)
    (tmp_path / "containers.json").write_text(json.dumps({"version": "1.4.5"}), encoding="utf-8")
    with pytest.raises(SiteUnavailable, match="not a finished container part"):
        load_containers(tmp_path)


def test_the_digest_is_the_same_from_call_to_call() -> None:
    assert wanted_digest() == wanted_digest()


def test_what_cannot_be_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SiteUnavailable, match="not installed: no-such-package; only root on Debian can install them"):
        debian.install({"no-such-program": "no-such-package", "env": "coreutils"})
    monkeypatch.setattr(debian, "run", lambda *_, **__: "Debian|Debian-Security|https://example.org/security\n")
    with pytest.raises(SiteUnavailable, match="apt knows no Debian archive here"):
        debian.archive()


def test_a_program_that_does_not_run_is_no_apptainer(tmp_path: Path) -> None:
    program = tmp_path / "apptainer"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(SiteUnavailable, match="broken"):
        apptainer.version(program)


def test_apptainer_evaluates_variables_unless_told_not_to(containers: Containers, ordinary: OrdinaryProject) -> None:
    """What a caller has to know: a value is run by a shell inside."""
    value = 'x,y="q" \'s $HOME `echo run` $(echo run) \\ \nline'
    command = [
        "apptainer",
        "exec",
        "--cleanenv",
        str(containers.base),
        "python",
        "-c",
        "import os; print(os.environ['A'], end='')",
    ]
    as_it_is = ordinary.run(*command[:2], "--no-eval", *command[2:], APPTAINERENV_A=value)
    assert as_it_is.stdout == value, as_it_is.stderr
    evaluated = ordinary.run(*command, APPTAINERENV_A="`echo run`")
    assert evaluated.stdout == "run", evaluated.stderr


def test_mounts_take_any_name(containers: Containers, ordinary: OrdinaryProject) -> None:
    folder = ordinary.root.parent / 'odd, it\'s: "quoted" $HOME\nand more'
    folder.mkdir()
    (folder / "file").touch()
    source = str(folder).replace('"', '""')
    mount = f'type=bind,"source={source}","destination=/mnt/{folder.name.replace(chr(34), chr(34) * 2)}"'
    done = ordinary.run("apptainer", "exec", "--mount", mount, str(containers.base), "find", "/mnt", "-type", "f")
    assert done.stdout == f"/mnt/{folder.name}/file\n", done.stderr


def test_a_site_has_apptainer_as_a_module(apptainer_site: Site, containers: Containers, ordinary: OrdinaryProject) -> None:
    shared = apptainer_site.prefix / "fred"
    (shared / "file").touch()
    script = f"module load {apptainer_site.names['apptainer']} && cd / && apptainer exec '{containers.base}' ls '{shared}'"
    user = ordinary.account.uid if ordinary.account.borrowed else None
    done = apptainer_site.bash(script, user=user, HOME=str(ordinary.home))
    assert done.stdout == "file\n", done.stderr


def test_two_processes_have_users_of_their_own_and_leave_nothing_running(account: Account) -> None:
    if not account.borrowed:
        pytest.skip("only root makes users")
    with borrow_account() as other:
        assert other.uid != account.uid
        assert other.home != account.home
        command = other.command("sh", "-c", "echo ready; exec sleep 600")
        environ = other.environ()
        with subprocess.Popen(command, env=environ, cwd=other.folder, text=True, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            other.end_processes()
            assert process.wait(60) == -signal.SIGKILL
        (other.home / "left").touch()
        folder = other.folder
    assert not folder.exists()
    assert list(other.home.iterdir()) == []
