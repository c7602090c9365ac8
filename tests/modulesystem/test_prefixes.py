"""Which folders hold a load's software, by the paths that modulefiles put into variables."""

from __future__ import annotations

import pytest

from ozrepro.modulesystem.change import Change
from ozrepro.modulesystem.following import Case
from ozrepro.modulesystem.paths import PathChange
from ozrepro.modulesystem.prefixes import prefixes, top_of
from ozrepro.modulesystem.record import Record
from ozrepro.modulesystem.shell import ShellParts


def load(**change: object) -> Record:
    """Return a load that does this."""
    made = Change(**change)  # type: ignore[arg-type]
    return Record("lmod 8.6.19", "", ("/apps/modules/core", "/apps/own/bin/modules"), (), (), (), (), (), made, ShellParts())


@pytest.mark.parametrize(
    ("path", "top"),
    [
        ("/apps/software/gcc/11.3.0/bin", "/apps/software/gcc/11.3.0"),
        ("/apps/software/gcc/11.3.0/lib64", "/apps/software/gcc/11.3.0"),
        ("/apps/software/py/3.10/lib/python3.10/site-packages", "/apps/software/py/3.10"),
        ("/apps/software/py/3.10/easybuild/python", "/apps/software/py/3.10"),
        ("/apps/software/eigen/3/include/eigen3", "/apps/software/eigen/3"),
        ("/apps/software/x/1/share/man", "/apps/software/x/1"),
        (
            "/spack/linux-rocky9-zen3/gcc-12.2.0/fftw-3.3.10-abc/lib/pkgconfig",
            "/spack/linux-rocky9-zen3/gcc-12.2.0/fftw-3.3.10-abc",
        ),
        ("/apps/software/intel/2022/linux/bin/intel64", "/apps/software/intel/2022/linux/bin/intel64"),
        ("/apps/bin", "/apps/bin"),
        ("/apps/modules/lib", "/apps/modules/lib"),
        ("/opt/bin", "/opt/bin"),
        ("/apps/software/python/bin", "/apps/software/python"),
    ],
)
def test_a_prefix_is_what_is_above_its_usual_folders_and_never_the_place_of_all_software(path: str, top: str) -> None:
    assert top_of(path, load()) == top


def test_all_paths_that_modules_name_count_and_values_of_other_variables_do_not() -> None:
    made = load(
        paths={
            "PATH": PathChange(("/apps/a/1/bin", "/apps/a/1//sbin/"), ("relative/bin", "")),
            "CPATH": PathChange((), ("/apps/b/2/include",)),
            "PYTHONPATH": PathChange(("/apps/a/1/nested/lib",)),
        },
        variables={"EBROOTC": "/apps/c/3", "EBVERSIONC": "3", "DATA": "/data/huge", "EBROOTD": "/apps/d/../e"},
        follow={"MANPATH": (Case(("HOME",), None, PathChange(("/apps/f/5/man", "${HOME}/man"))), Case())},
    )
    assert prefixes(made) == ("/apps/a/1", "/apps/b/2", "/apps/c/3", "/apps/f/5")
