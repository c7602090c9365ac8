"""A container section of a lock, and the files that a definition brings, read and checked."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ozrepro.errors import LockError, SpecError
from ozrepro.methods import registry
from ozrepro.methods.container.apptainer import Mount
from ozrepro.methods.container.asked import definition_of
from ozrepro.methods.container.contents import Contents
from ozrepro.methods.container.copying import copied
from ozrepro.methods.container.definition import read_definition
from ozrepro.methods.container.lock import Base, Content, Locked, as_content
from ozrepro.methods.container.method import METHOD
from ozrepro.methods.container.table import ContainerTable
from ozrepro.methods.contract import Reason, Subject
from ozrepro.methods.image_definition import of_wheels
from ozrepro.methods.reading import load_settings, parse_spec, read_text
from ozrepro.project.files import Files
from ozrepro.project.lock import Lock, Section, write_text
from ozrepro.project.spec import Spec
from ozrepro.python.distributions import Distribution
from ozrepro.site import Site, look_around
from tests.keys import keys_of
from tests.sealed import system_path

DIGEST = f"sha256:{'1' * 64}"
DEFINED: dict[str, Any] = {
    "tool": "apptainer 1.4.5",
    "definition": "sessions/work.def",
    "inputs": f"sha256:{'2' * 64}",
    "arguments": {"VERSION": "1.0"},
    "base": [{"bootstrap": "docker", "from": "docker.io/library/python:3.11", "digest": DIGEST}],
    "sha256": "3" * 64,
    "size": 67268608,
    "tree": "4" * 64,
    "python": "3.11.2",
    "imports": ["numpy"],
    "bind": ["/fred/oz001:/data:ro"],
    "pass": ["MY_DATA"],
    "gpu": "nvidia",
    "distribution": [
        {"name": "numpy", "version": "1.26.4"},
        {"name": "setuptools", "version": "66.1.1", "imports": "_distutils_hack pkg_resources setuptools"},
    ],
    "system": ["bash 5.2.15-2+b2", "openssl 3.6.0 h26f9b46_0"],
}
LINES = of_wheels("docker.io/library/python:3.11-slim", f"alpha==1.0 \\\n    --hash=sha256:{'5' * 64}\n", "venv.any of work.lock")
GENERATED: dict[str, Any] = {
    **{key: value for key, value in DEFINED.items() if key not in ("definition", "arguments")},
    "from": "venv",
    "of": {"section": "venv.any", "digest": DIGEST},
    "base": [{"bootstrap": "docker", "from": "docker.io/library/python:3.11-slim", "digest": DIGEST}],
    "generated": LINES,
}
IMAGE: dict[str, Any] = {
    **{key: value for key, value in DEFINED.items() if key not in ("definition", "arguments")},
    "image": "docker://python:3.11",
}


def section(content: dict[str, Any]) -> Section:
    return Section("container", "linux-64", DIGEST, content)


def read(content: dict[str, Any]) -> Locked:
    return read_at(section(content), site_at(Path("/project")))


def read_at(section: Section, site: Site) -> Locked:
    locked = registry.read_section(section, site, "work.lock", "work")
    assert isinstance(locked, Locked)
    return locked


def subject_of(spec: Spec) -> Subject[ContainerTable]:
    return registry.subject_of("container", spec, site_at(spec.root))


def site_at(root: Path, **environ: str) -> Site:
    return look_around(load_settings(root, {}), {"HOME": "/home/me", "PATH": system_path(), "LMOD_CMD": ":", **environ})


def spec_at(root: Path, text: str, definition: str = "") -> Spec:
    (root / "sessions").mkdir(exist_ok=True)
    (root / "sessions" / "work.def").write_text(definition or "Bootstrap: docker\nFrom: python:3.11\n", encoding="utf-8")
    return parse_spec(root / "sessions" / "work.toml", text)


class TestReading:
    @pytest.mark.parametrize("content", [DEFINED, GENERATED, IMAGE], ids=["definition", "from", "image"])
    def test_a_written_container_section_is_read_back_from_a_lock(self, content: dict[str, Any], tmp_path: Path) -> None:
        locked, site = read_at(section(content), site_at(tmp_path)), site_at(tmp_path)
        assert as_content(locked, site) == content
        text = write_text(Lock("work", (section(content),)))
        (again,) = read_text(text, "work", "w").sections
        assert read_at(again, site) == locked

    def test_the_parts_of_a_container_section_have_their_meaning(self) -> None:
        locked = read(DEFINED)
        assert locked.contents == Contents(
            "3.11.2",
            "4" * 64,
            (Distribution("numpy", "1.26.4", ("numpy",)), Distribution("setuptools", "66.1.1", ("_distutils_hack", "pkg_resources", "setuptools"))),
            ("bash 5.2.15-2+b2", "openssl 3.6.0 h26f9b46_0"),
        )  # fmt: skip
        assert locked.mounts("/r") == (Mount("/fred/oz001", "/data", read_only=True),)
        assert locked.bases == (Base("docker", "docker.io/library/python:3.11", DIGEST),)
        assert not locked.is_file
        assert read({**IMAGE, "image": "images/base.sif", "base": []}).is_file

    def test_a_base_without_a_digest_is_told_as_open_unless_it_is_nothing(self) -> None:
        bases = [{"bootstrap": "yum", "from": ""}, {"bootstrap": "scratch", "from": ""}, {"bootstrap": "library", "from": "a/b"}]
        assert read({**DEFINED, "base": bases}).open_bases() == ["yum", "library a/b"]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"tool": "docker 24"}, "container.linux-64.tool: 'docker 24' is not a program with a version"),
            ({"inputs": "../../evil"}, "container.linux-64.inputs: '../../evil' is not a sha256 digest"),
            ({"sha256": "A" * 64}, "sha256: "),
            ({"size": True}, "write a whole number of bytes from 1"),
            ({"size": -1}, "write a whole number of bytes from 1"),
            ({"tree": "4" * 63}, "tree: "),
            ({"python": "3.11\x1b"}, "python: "),
            ({"definition": "../work.def"}, "definition: leaves the project"),
            ({"definition": "/etc/passwd"}, "definition: leaves the project"),
            ({"image": "x.sif"}, "names not exactly one of definition, image, from"),
            ({"definition": ""}, "names not exactly one of"),
            ({"from": "conda", "definition": ""}, "generated: and `from` are given together"),
            ({"generated": LINES}, "generated: and `from` are given together"),
            ({"gpu": "intel"}, "gpu: 'intel' is not known"),
            ({"bind": ["/a:b"]}, "bind[0]: '/a:b' 'b' is not an absolute path inside"),
            ({"base": {}}, "base: is a table; write an array"),
            ({"base": [{**DEFINED["base"][0], "digest": ""}]}, "base[0].digest: is not a sha256 digest"),
            ({"base": [{**DEFINED["base"][0], "from": "a b"}]}, "base[0].from: 'a b' is not an image's public name"),
            ({"base": [{**DEFINED["base"][0], "from": "python:3.11"}]}, "is not an image's public name"),
            ({"base": [{"bootstrap": "yum", "from": "", "digest": "x"}]}, "base[0].digest: is not a sha256 digest"),
            ({"base": [5]}, "base[0]: is a whole number; write a table"),
            ({"distribution": 5}, "distribution: is a whole number; write an array"),
            ({"distribution": [{"version": "1"}]}, "distribution[0]: lacks name"),
            ({"distribution": [{"name": "a", "imports": "os; x"}]}, "distribution[0].name: 'a' is not a distribution with names"),
            ({"distribution": [{"name": "a\u202e"}]}, "invisible character RIGHT-TO-LEFT OVERRIDE"),
            ({"arguments": {"A": 1}}, "arguments.A: is a whole number"),
            ({"module": {"load": 5}}, "module"),
            ({"unknown": 1}, "unknown: unknown key"),
        ],
    )
    def test_a_mistake_in_a_container_section_is_named(self, change: dict[str, Any], said: str) -> None:
        with pytest.raises(LockError) as caught:
            read({**DEFINED, **change})
        assert said in caught.value.what
        assert caught.value.where == "work.lock"
        assert caught.value.hint == "ozrepro lock work"

    def test_all_mistakes_of_a_container_section_are_told_together(self) -> None:
        with pytest.raises(LockError) as caught:
            read({**DEFINED, "gpu": "x", "size": 0, "tool": ""})
        assert len(caught.value.what.splitlines()) == 4

    @pytest.mark.parametrize("base", [[], [{"bootstrap": "docker", "from": "evil.example/a:3.11", "digest": DIGEST}],
                                      [*IMAGE["base"], *IMAGE["base"]]])  # fmt: skip
    def test_the_kind_of_an_image_follows_from_its_name(self, base: list[object]) -> None:
        with pytest.raises(LockError, match="base: is not what `image` names"):
            read({**IMAGE, "base": base})

    @pytest.mark.parametrize(
        "change",
        [
            lambda lines: [*lines, "%setup", "touch /tmp/x"],
            lambda lines: [*lines, "%files", "/etc/passwd"],
            lambda lines: [*lines, *lines],
            lambda lines: lines[:3],
            lambda lines: ["no header"],
        ],
    )
    def test_a_made_definition_with_more_than_a_definition_s_inside_is_refused(
        self, change: Callable[[list[str]], list[str]]
    ) -> None:
        """Its %setup would be run on this machine, and nothing of the lock's other sections says so."""
        with pytest.raises(LockError, match="generated: is not a definition that ozrepro makes"):
            read({**GENERATED, "generated": change(LINES)})


_JUNK = st.recursive(
    st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from(["docker", DIGEST, "a.sif", "docker://a", "/a:/b", "conda"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "version", "from", "bootstrap", "digest", "load", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([DEFINED, GENERATED, IMAGE]),
    st.dictionaries(st.sampled_from(sorted(keys_of(Content))), _JUNK, min_size=1, max_size=3),
)
def test_any_container_section_is_a_value_or_a_lock_error(good: dict[str, Any], change: dict[str, object]) -> None:
    try:
        locked = read({**deepcopy(good), **change})
    except LockError:
        return
    assert locked.size > 0
    assert locked.mounts("/r") is not None
    assert len(locked.open_bases()) <= len(locked.bases)


def afresh(spec: Spec) -> Spec:
    """Return the spec of a later command, which has read nothing yet."""
    return replace(spec, files=Files())


class TestSpec:
    def test_the_definition_of_the_spec_is_taken_apart(self, tmp_path: Path) -> None:
        spec = spec_at(tmp_path, '[container]\ndefinition = "sessions/work.def"\nbuild-args = { V = "3.12" }\n',
                       "Bootstrap: docker\nFrom: python:{{ V }}\n")  # fmt: skip
        assert definition_of(subject_of(spec)).stages[0].source == "python:3.12"

    def test_a_definition_that_is_gone_damaged_or_elsewhere_is_a_mistake_of_the_spec(self, tmp_path: Path) -> None:
        spec = spec_at(tmp_path, '[container]\ndefinition = "sessions/work.def"\n', "echo no header\n")
        with pytest.raises(SpecError, match="has no line `Bootstrap:`") as caught:
            definition_of(subject_of(spec))
        assert caught.value.where == str(tmp_path / "sessions" / "work.def")
        path = tmp_path / "sessions" / "work.def"
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(SpecError):
            definition_of(subject_of(afresh(spec)))
        path.unlink()
        with pytest.raises(SpecError, match="No such file"):
            definition_of(subject_of(afresh(spec)))
        path.symlink_to("/etc/hostname")
        with pytest.raises(SpecError, match="leads out of the project"):
            definition_of(subject_of(afresh(spec)))

    def test_all_mistakes_of_the_table_are_told_together(self, tmp_path: Path) -> None:
        spec = spec_at(tmp_path, '[container]\nimage = "docker://A b"\nbind = ["/a:b", "/c"]\n')
        with pytest.raises(SpecError) as caught:
            METHOD.inputs(subject_of(spec))
        assert caught.value.problems == (
            "container.bind: '/a:b' 'b' is not an absolute path inside",
            "container.image: 'library/A b' is not a repository name",
        )
        for base, said in (("docker://a:", "'' is not a tag"), ("debian", "neither docker://… nor a file .sif")):
            with pytest.raises(SpecError, match=said):
                METHOD.inputs(subject_of(spec_at(tmp_path, f'[container]\nfrom = "conda"\nbase = "{base}"\n')))
        METHOD.inputs(subject_of(spec_at(tmp_path, '[container]\nfrom = "conda"\nbase = "images/x.sif"\n')))


class TestSources:
    def test_an_image_can_be_made_from_a_plug_in_that_defines_images(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        points = {"layered": "ozrepro.methods.venv.method:METHOD", "boxes": "ozrepro.methods.container.method:METHOD"}
        monkeypatch.setattr(registry, "_plugins", lambda: points)
        subject = subject_of(spec_at(tmp_path, '[container]\nfrom = "layered"\n'))
        assert list(METHOD.sources(subject.table)) == ["layered"]
        for name in ("boxes", "container", "none"):
            with pytest.raises(
                SpecError, match=f"no image can be made from '{name}'; write one of: conda, layered, modules, venv"
            ):
                spec_at(tmp_path, f'[container]\nfrom = "{name}"\n')


def files(*lines: str) -> str:
    return "\n".join(("Bootstrap: docker", "From: a", "%files", *lines, "")) + "\n"


class TestFiles:
    def digests(self, root: Path, *lines: str) -> dict[str, str]:
        return copied(read_definition(files(*lines), {}), "sessions/work.def", root, Files())

    def test_what_is_copied_is_known_by_content_and_mode(self, tmp_path: Path) -> None:
        root = tmp_path / "a [b] *project"
        (root / "wheels").mkdir(parents=True)
        (root / "one two.txt").write_text("1")
        for name in ("a.whl", "b.whl"):
            (root / "wheels" / name).write_text(name)
        lines = ('"one two.txt" /opt/', "wheels/*.whl /opt/", "wheels /opt/all")
        before = self.digests(root, *lines)
        assert list(before) == ["one two.txt", "wheels/*.whl", "wheels"]
        assert self.digests(root, *lines) == before
        (root / "one two.txt").chmod(0o755)
        (root / "wheels" / "b.whl").write_text("other")
        after = self.digests(root, *lines)
        assert [name for name in before if after[name] != before[name]] == list(before)
        (root / "wheels" / "c.whl").touch()
        more = self.digests(root, *lines)
        assert more["one two.txt"] == after["one two.txt"]
        assert more["wheels/*.whl"] != after["wheels/*.whl"]

    def test_a_folder_s_links_and_odd_files_are_told_apart_without_being_followed(self, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / "link").symlink_to("nowhere")
        os.mkfifo(folder / "pipe")
        first = self.digests(tmp_path, "data /data")
        (folder / "link").unlink()
        (folder / "link").symlink_to("/usr")
        assert self.digests(tmp_path, "data /data") != first

    def test_a_name_with_brackets_is_taken_where_it_is_no_pattern_of_another(self, tmp_path: Path) -> None:
        (tmp_path / "data[1].txt").write_text("x")
        literal = self.digests(tmp_path, "data[1].txt")
        (tmp_path / "data1.txt").write_text("x")
        assert self.digests(tmp_path, "data[1].txt") != literal

    def test_all_missing_files_of_a_definition_are_told_together(self, tmp_path: Path) -> None:
        (tmp_path / "dangling").symlink_to("nowhere")
        with pytest.raises(SpecError) as caught:
            self.digests(tmp_path, "gone", "*.none", "dangling")
        assert caught.value.where == str(tmp_path / "sessions/work.def")
        assert caught.value.problems == (
            "%files: gone: there is no such file",
            "%files: *.none: there is no such file",
            "%files: dangling: No such file or directory",
        )

    def test_the_project_s_folder_may_be_named_by_a_variable_and_no_other_may(self, tmp_path: Path) -> None:
        """Apptainer puts variables in; the value of any other would differ from machine to machine."""
        (tmp_path / "logo.py").write_text("x")
        for word in ("$PWD/logo.py /opt", "${PWD}/logo.py /opt"):
            (digest,) = self.digests(tmp_path, word).values()
            assert digest == self.digests(tmp_path, "logo.py")["logo.py"]
        with pytest.raises(SpecError) as caught:
            self.digests(tmp_path, "$HOME/logo.py", "$PWDX/logo.py")
        assert [line.partition(": the")[0] for line in caught.value.problems] == [
            "%files: $HOME/logo.py",
            "%files: $PWDX/logo.py",
        ]

    def test_a_start_compares_the_definition_and_small_files_alone(self, tmp_path: Path) -> None:
        for number in range(60):
            (tmp_path / f"f{number:02}").touch()
        with open(tmp_path / "large", "wb") as stream:
            stream.truncate((1 << 20) + 1)
        (tmp_path / "folder").mkdir()
        own = [f"f{number:02}" for number in range(60)]
        (tmp_path / "a.whl").touch()
        spec = spec_at(tmp_path, '[container]\ndefinition = "sessions/work.def"\n', files("large", "folder", "*.whl", *own))
        inputs = METHOD.inputs(subject_of(spec))
        assert inputs.files == (tmp_path / "sessions" / "work.def", *(tmp_path / name for name in own[:47]))
        assert inputs.unchecked == ("large", "folder/", "*.whl", *own[47:])
        assert METHOD.inputs(subject_of(spec_at(tmp_path, '[container]\nimage = "a.sif"\n'))).files == ()


class TestAgreement:
    """A section that claims the spec's digest, from someone else's repository."""

    def told(self, tmp_path: Path, text: str, content: dict[str, Any]) -> str:
        subject = subject_of(spec_at(tmp_path, text))
        return "\n".join(METHOD.mismatches(subject, read_at(section(content), subject.site)))

    def test_a_section_that_the_spec_does_not_ask_for_is_refused(self, tmp_path: Path) -> None:
        said = self.told(tmp_path, '[container]\ndefinition = "sessions/work.def"\n', DEFINED)
        for key in ("gpu", "bind", "pass", "imports", "arguments"):
            assert f"container.{key}: the lock has" in said

    @pytest.mark.parametrize("base", ["", 'base = "docker://debian:12"\n', 'base = "images/own.sif"\n'])
    def test_a_made_definition_is_on_the_spec_s_base_or_the_usual_one(self, tmp_path: Path, base: str) -> None:
        bare = {key: value for key, value in GENERATED.items() if key not in ("imports", "bind", "pass", "gpu")}
        other = [{"bootstrap": "docker", "from": "evil.example/python:3.11-slim", "digest": DIGEST}]
        said = self.told(tmp_path, f'[container]\nfrom = "venv"\n{base}[venv]\n', {**bare, "base": other})
        assert "container.base: the lock has ['evil.example/python:3.11-slim'], which the spec does not ask for" in said

    def test_the_usual_base_is_taken_and_the_module_tool_is_not_asked(self, tmp_path: Path) -> None:
        bare = {key: value for key, value in GENERATED.items() if key not in ("imports", "bind", "pass", "gpu")}
        lmod, asked = tmp_path / "lmod", tmp_path / "asked"
        lmod.write_text(f'#!/bin/sh\ntouch "{asked}"\n')
        lmod.chmod(0o755)
        spec = spec_at(tmp_path, '[container]\nfrom = "venv"\n[venv]\n')
        subject = registry.subject_of("container", spec, site_at(tmp_path, LMOD_CMD=str(lmod), MODULEPATH=str(tmp_path)))
        locked = read_at(section(bare), subject.site)
        assert METHOD.mismatches(subject, locked) == []
        assert METHOD.unavailable(subject, locked) == Reason("no Apptainer here (apptainer or singularity on PATH)")
        assert not asked.exists()
        absent = METHOD.unavailable(subject, None)
        assert asked.exists(), "without a lock it would be seen"
        assert absent is not None
        assert absent.what == "no Apptainer here (apptainer or singularity on PATH, or a module)", (
            "a broken Lmod is not an error of ours"
        )
