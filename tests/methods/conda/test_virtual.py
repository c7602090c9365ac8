"""Virtual packages: what is said of a machine, and what a lock asks of this one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rattler import MatchSpec, PackageRecord
from rattler.package import BuildString

from ozrepro.methods.conda.virtual import (
    Virtual,
    check_overrides,
    check_virtual,
    narrow_warning,
    needed,
    offered,
    overrides,
    quickly,
    said_otherwise,
    satisfied,
)
from ozrepro.site import subdir_here

HERE = (Virtual("__archspec", "1", "zen2"), Virtual("__cuda", "11.8"), Virtual("__glibc", "2.17"), Virtual("__linux", "4.18"))


def test_the_spec_beats_the_variable_and_nothing_means_none() -> None:
    environ = {"CONDA_OVERRIDE_CUDA": "12.4", "CONDA_OVERRIDE_GLIBC": "2.28", "CONDA_OVERRIDE_LINUX": "not a version"}
    said = overrides({"cuda": ""}, environ)
    assert said == {"cuda": "", "glibc": "2.28"}
    found = offered(HERE, said, "linux-64", "linux-64")
    assert [item.as_text() for item in found] == ["__archspec=1=zen2", "__glibc=2.28=0", "__linux=4.18=0"]
    said = overrides({"cuda": "12.4", "archspec": "x86_64_v3"}, {"CONDA_OVERRIDE_CUDA": ""})
    found = offered(HERE, said, "linux-64", "linux-64")
    assert Virtual("__cuda", "12.4") in found
    assert Virtual("__archspec", "1", "x86_64_v3") in found


def test_another_platform_has_a_baseline_and_not_this_machines_properties() -> None:
    found = offered(HERE, {"cuda": "12.4", "glibc": "2.34", "osx": "14.0"}, "linux-aarch64", "linux-64")
    assert [item.as_text() for item in found] == [
        *("__archspec=1=aarch64", "__cuda=12.4=0", "__glibc=2.34=0", "__linux=4.18=0", "__unix=0=0"),
    ]
    found = offered(HERE, {"glibc": "2.34", "osx": "14.0"}, "osx-arm64", "linux-64")
    assert [item.as_text() for item in found] == ["__archspec=1=m1", "__osx=14.0=0", "__unix=0=0"]


def test_mistakes_in_the_table_are_told_by_key() -> None:
    wrong = check_overrides({"cuda": "new", "gpu": "1", "glibc": "2.17", "archspec": "Zen 3", "linux": ""})
    assert sorted(wrong) == ["archspec", "cuda", "gpu"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("__cuda >=12,<13", "the NVIDIA driver here offers CUDA 11.8, the lock needs >=12,<13"),
        ("__glibc >=2.28,<3.0.a0", "the C library here is glibc 2.17, the lock needs >=2.28,<3.0.a0"),
        ("__archspec 1 zen4", "the CPU here is zen2, the lock needs zen4"),
        ("__osx >=11", "this is not macOS, the lock needs __osx >=11"),
        ("__strange", "this machine has no __strange, the lock needs __strange any"),
        ("__cuda >=>", "the lock needs '__cuda >=>', which cannot be read"),
    ],
)
def test_a_virtual_package_that_is_lacking_is_told_with_both_versions(line: str, said: str) -> None:
    assert satisfied(["python >=3.10", line, line], HERE) == [said]


def test_a_virtual_package_that_is_there_is_no_reason_to_refuse() -> None:
    lines = ["__cuda", "__cuda >=11", "__glibc >=2.17,<3.0.a0", "__linux", "__archspec 1 zen*", "python", "__archspec >=1"]
    assert satisfied(lines, HERE) == []
    assert satisfied(["__cuda >=12"], ()) == ["there is no NVIDIA driver here, the lock needs __cuda >=12"]


@pytest.mark.parametrize("wanted", ["x86_64_v3", "x86_64_v2", "x86_64", "zen", "zen2", "x86_64*", "zen*", "*"])
def test_a_processor_runs_what_is_for_its_family_and_its_level(wanted: str) -> None:
    assert satisfied([f"__archspec 1 {wanted}"], HERE) == []
    assert satisfied([f"__archspec 1.* {wanted}"], HERE) == []


@pytest.mark.parametrize("wanted", ["zen3", "skylake_avx512", "x86_64_v4", "aarch64", "no-such"])
def test_a_processor_refuses_what_is_for_a_newer_or_another_one(wanted: str) -> None:
    assert satisfied([f"__archspec 1 {wanted}"], HERE) == [f"the CPU here is zen2, the lock needs {wanted}"]
    unknown = (Virtual("__archspec", "1", "not_yet_known"),)
    assert satisfied(["__archspec 1 not_yet_known"], unknown) == []


def test_a_package_for_one_kind_of_cpu_is_told_with_the_line_for_its_level() -> None:
    assert narrow_warning([("level", "__archspec 1 x86_64_v3"), ("any", "__archspec >=1"), ("other", "__glibc >=2.17")]) == []
    assert narrow_warning([("fast", "__archspec 1 zen2")]) == [
        (
            "fast needs the CPU zen2 or one that runs its programs; "
            'for all x86_64_v3 CPUs write archspec = "x86_64_v3" in [conda.virtual-packages]'
        )
    ]
    patterns = ["* zen2*", "1 zen*", "* x86_64*", "1 x86_64_v*", "1 *_v3", "1 *"]
    said = [bool(narrow_warning([("fast", f"__archspec {text}")])) for text in patterns]
    assert said == [True, True, False, False, False, False]


def test_conda_s_variables_are_compared_with_what_a_lock_was_made_with() -> None:
    locked = (Virtual("__cuda", "11.8"), Virtual("__archspec", "1", "zen2"))

    def said(spec: dict[str, str] | None = None, **environ: str) -> list[str]:
        return said_otherwise(locked, spec or {}, environ, cpu_builds=False)

    assert said(CONDA_OVERRIDE_CUDA="11.8", CONDA_OVERRIDE_ARCHSPEC="zen2", CONDA_OVERRIDE_GLIBC="2.17") == []
    assert said(CONDA_OVERRIDE_CUDA="12.4") == ["CONDA_OVERRIDE_CUDA=12.4 is said now, and it was locked for 11.8"]
    assert said({"cuda": "11.8"}, CONDA_OVERRIDE_CUDA="12.4") == []
    gone = said_otherwise((), {}, {"CONDA_OVERRIDE_CUDA": "12.4"}, cpu_builds=True)
    assert gone == ["CONDA_OVERRIDE_CUDA=12.4 is said now, and it was locked without it"]
    assert said_otherwise((), {}, {"CONDA_OVERRIDE_CUDA": "12.4"}, cpu_builds=False) == []


def test_usual_needs_of_virtual_packages_are_seen_without_a_worker() -> None:
    assert needed(["python", "__glibc >=2.17", "__unix"]) == ("__glibc", "__unix")
    assert quickly(["__cuda"]) is None
    found = quickly(["__glibc", "__unix"])
    assert found is not None
    assert satisfied(["__glibc >=2.5", "__unix", "__linux >=3"], found) == []
    assert subdir_here().startswith(("linux-", "osx-"))


def test_a_lock_s_list_of_virtual_packages_is_checked() -> None:
    assert [check_virtual(item.as_text()) for item in HERE] == [None] * len(HERE)
    for text in ("__cuda", "cuda=1=0", "__cuda=x y=0", "__cuda=1=0=0", "__cuda=1=\u202e", "__cuda=1=" + "0" * 200):
        assert "is not a virtual package" in str(check_virtual(text))


_NUMBERS = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}", fullmatch=True)


@given(_NUMBERS, st.lists(st.tuples(st.sampled_from([">=", "<"]), _NUMBERS, st.sampled_from(["", ".a0", "a0"])), min_size=1))
def test_ranges_mean_what_the_solver_takes_them_for(version: str, clauses: list[tuple[str, str, str]]) -> None:
    wanted = ",".join("".join(clause) for clause in clauses)
    record = PackageRecord("x", version, BuildString("0"), 0, "noarch")
    assert (satisfied([f"__cuda {wanted}"], [Virtual("__cuda", version)]) == []) is MatchSpec(f"x {wanted}").matches(record)
