"""The metadata of crates: what any run gives, and where each thing that a record says is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.methods.components import Component
from ozrepro.pipeline.rocrate import Part, Parts, metadata
from tests.pipeline.crate import links, read_crate, record_with

LOCK = Part("sessions/work.lock", "0" * 64, 10, "the lock")
JOB = {"scheduler": "Slurm", "id": "4711", "array": "4700", "index": "11", "restarts": 0}
MACHINE = {"cpu": "v3", "cpus": 2, "omp": "2", "kernel": "6.1", "libc": "glibc 2.36", "driver": "535"}

TEXT = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=10)
NAMES = st.binary(min_size=1, max_size=8).map(lambda raw: raw.replace(b"/", b"").replace(b"\0", b"") or b"x")
"""Names of files, of any bytes."""
PATHS = NAMES.map(lambda raw: f"data/{raw.decode('utf-8', 'surrogateescape')}")
PARTS = st.builds(Part, PATHS, st.just("1" * 64), st.integers(0, 1 << 40), st.just("a file"))
COMPONENTS = st.builds(
    Component, TEXT, TEXT, st.sampled_from(["", "pkg:pypi/a@1"]), st.dictionaries(TEXT, st.just("2" * 64)), builds=st.booleans()
)
GIT = {"revision": "0123456789" * 4, "dirty": ["a b.py"], "more": 3}


@given(
    st.lists(PARTS, max_size=3),
    st.lists(PARTS, max_size=3),
    st.lists(COMPONENTS, max_size=4),
    st.one_of(st.sampled_from(["", "MIT", "see LICENSE.txt"]), TEXT),
    st.sampled_from([None, 0, 1, 137]),
    st.fixed_dictionaries({}, optional={"job": st.just(JOB), "machine": st.just(MACHINE), "git": st.just(GIT), "user": TEXT}),
    st.lists(TEXT, max_size=3),
)
def test_any_run_gives_metadata_that_keeps_the_rules_and_the_same_bytes_again(
    inputs: list[Part],
    results: list[Part],
    components: list[Component],
    terms: str,
    status: int | None,
    more: dict[str, object],
    command: list[str],
) -> None:
    end = None if status is None else "2026-11-29T15:56:40Z"
    record = record_with(status=status, end=end, command=command, **more)
    parts = Parts(LOCK, tuple(inputs), tuple(results))
    text = metadata(record, parts, components, terms)
    entities = read_crate(text)
    assert text == metadata(record, parts, components, terms)
    action = entities[f"#{record.id}"]
    assert len(links(action["object"])) == len({LOCK.path, *(item.path for item in inputs)})
    assert len(links(action.get("result", []))) == len({item.path for item in results})
    software = [entity for entity in entities.values() if entity["@type"] == "SoftwareApplication"]
    assert len(software) == 1 + sum(not item.builds for item in components)


def test_what_a_record_says_is_in_the_metadata() -> None:
    record = record_with(
        job=JOB, machine=MACHINE, git=GIT, user="ada", host="node7", ozrepro="0.1.0", folder="sub", signal="", key="k"
    )
    entities = read_crate(metadata(record, Parts(LOCK), (), "MIT"))
    facts = {entity["name"]: entity["value"] for entity in entities.values() if entity["@type"] == "PropertyValue"}
    assert facts["OMP_NUM_THREADS"] == "2"
    assert facts["ozrepro:job.id"] == "4711"
    assert facts["ozrepro:job.restarts"] == 0
    assert facts["ozrepro:machine.libc"] == "glibc 2.36"
    assert facts["ozrepro:git.dirty"] == "a b.py"
    assert (facts["ozrepro:host"], facts["ozrepro:user"], facts["ozrepro:key"]) == ("node7", "ada", "k")
    action, program = entities[f"#{record.id}"], entities["#program"]
    assert (action["name"], action["description"]) == ("ozrepro run work", "python work.py")
    assert (action["startTime"], action["endTime"]) == ("2026-11-29T15:55:00.123+00:00", "2026-11-29T15:56:40.001+00:00")
    assert entities[links(action["agent"])[0]]["name"] == "ada"
    assert links(action["environment"]) == ["#OMP_NUM_THREADS"]
    assert (program["name"], program["softwareVersion"]) == ("python", f"{GIT['revision']} with changes")
    assert entities["./"]["license"] == {"@id": "https://spdx.org/licenses/MIT"}


def test_nobody_is_named_whom_the_record_does_not_name() -> None:
    assert not any(entity["@type"] == "Person" for entity in read_crate(metadata(record_with(), Parts(LOCK), (), "")).values())


@pytest.mark.parametrize(
    ("values", "state", "error"),
    [
        ({"status": 0}, "Completed", None),
        ({"status": 3}, "Failed", "ended with status 3"),
        ({"status": 137, "signal": "SIGKILL"}, "Failed", "ended with SIGKILL"),
        ({"status": None, "end": None}, "Active", None),
    ],
)
def test_how_a_run_ended_is_said_and_one_without_an_end_is_not_called_good(
    values: dict[str, object], state: str, error: str | None
) -> None:
    record = record_with(**values)
    action = read_crate(metadata(record, Parts(LOCK), (), ""))[f"#{record.id}"]
    assert action["actionStatus"] == f"http://schema.org/{state}ActionStatus"
    assert action.get("error") == error


def test_the_packages_are_what_the_program_requires_without_those_that_only_build_others() -> None:
    parts = (
        Component("six", "1.17.0", "pkg:pypi/six@1.17.0", {"six.whl": "3" * 64}),
        Component("numpy", "1", "pkg:pypi/numpy@1", properties={"marker": 'python_version < "3.12"'}),
        Component("bash", "5.2"),
        Component("hatchling", "1", "pkg:pypi/hatchling@1", builds=True),
    )
    entities = read_crate(metadata(record_with(), Parts(LOCK), parts, ""))
    required = [entities[name] for name in links(entities["#program"]["softwareRequirements"])]
    assert [(item["@id"], item["name"]) for item in required] == [
        ("pkg:pypi/six@1.17.0", "six"),
        ("pkg:pypi/numpy@1", "numpy"),
        ("#library%3Abash%405.2", "bash"),
    ]
    assert required[0]["sha256"] == "3" * 64
    assert required[1]["description"] == 'only where python_version < "3.12"'
