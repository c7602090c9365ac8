"""Names of images: what they mean, what they are pinned to, and where they are fetched here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.methods.container.reference import HUB, Place, Reference, place_of, read_reference, source_of

DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.11-bookworm", "docker.io/library/python:3.11-bookworm"),
        ("docker://python:3.11", "docker.io/library/python:3.11"),
        ("docker.io/python:3.11", "docker.io/library/python:3.11"),
        ("index.docker.io/mambaorg/micromamba:2", "docker.io/mambaorg/micromamba:2"),
        ("registry-1.docker.io/library/python", "docker.io/library/python:latest"),
        ("ghcr.io/owner/deep/name:v1", "ghcr.io/owner/deep/name:v1"),
        ("localhost/name", "localhost/name:latest"),
        ("localhost:5000/name:a", "localhost:5000/name:a"),
        ("127.0.0.1:5999/python:3.11", "127.0.0.1:5999/python:3.11"),
        ("owner/name", "docker.io/owner/name:latest"),
    ],
)
def test_a_name_is_what_docker_takes_it_for(text: str, name: str) -> None:
    assert read_reference(text).name == name
    assert read_reference(text).text == name


def test_a_tag_beside_a_digest_stays_and_a_name_by_digest_alone_gets_none() -> None:
    both = read_reference(f"python:3.11@{DIGEST}")
    assert (both.tag, both.digest, both.text) == ("3.11", DIGEST, f"docker.io/library/python:3.11@{DIGEST}")
    alone = read_reference(f"docker://python@{DIGEST}")
    assert (alone.tag, alone.name, alone.text) == ("", "docker.io/library/python", f"docker.io/library/python@{DIGEST}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "repository name"),
        ("docker://", "repository name"),
        ("Python", "repository name"),
        ("a b", "repository name"),
        ("a//b", "repository name"),
        ("../b", "registry host"),
        ("-x.org/b", "registry host"),
        ("host:port/b", "registry host"),
        ("me@host.org/b", "not a digest"),
        ("python:", "not a tag"),
        ("python:-x", "not a tag"),
        ("python:3.11\n", "not a tag"),
        ("python:" + "a" * 129, "not a tag"),
        ("python@", "not a digest"),
        (f"python@{DIGEST[:-1]}", "not a digest"),
        (f"python@{DIGEST}\n", "not a digest"),
        (f"python@sha512:{'0' * 128}", "not a digest"),
    ],
)
def test_a_text_that_is_no_image_name_is_refused_with_the_reason(text: str, problem: str) -> None:
    """A digest that was cut off, above all, is never read as a name without one, which means the latest."""
    with pytest.raises(ValueError, match=problem):
        read_reference(text)


_WORD = st.from_regex(r"[a-z0-9]{1,6}([._-][a-z0-9]{1,4})?", fullmatch=True)
_HOSTS = st.sampled_from(["docker.io", "ghcr.io", "localhost", "localhost:5000", "a-b.example.org:443", "127.0.0.1:5999"])
_PATHS = st.lists(_WORD, min_size=1, max_size=3).map("/".join)
_DIGESTS = st.sampled_from(["", DIGEST])


@st.composite
def references(draw: st.DrawFn) -> Reference:
    host, path, digest = draw(_HOSTS), draw(_PATHS), draw(_DIGESTS)
    if host == HUB and "/" not in path:
        path = f"library/{path}"
    tag = draw(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}", fullmatch=True))
    return Reference(host, path, draw(st.sampled_from(["", tag])) if digest else tag, digest)


@given(references(), st.sampled_from(["", "docker://"]))
def test_a_reference_is_read_back_from_its_text(reference: Reference, scheme: str) -> None:
    assert read_reference(scheme + reference.text) == reference


@given(references())
def test_what_apptainer_is_told_names_the_same_image(reference: Reference) -> None:
    told = read_reference(source_of(reference, {}))
    assert (told.host, told.repository, told.digest) == (reference.host, reference.repository, reference.digest)
    assert told.tag == ("" if reference.digest else reference.tag)


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        found = read_reference(text)
    except ValueError:
        return
    assert read_reference(found.text) == found
    assert found.text.isprintable()
    assert " " not in found.text


def test_a_registry_is_reached_at_its_own_host_and_docker_hub_at_the_one_that_answers() -> None:
    assert place_of("ghcr.io", {}) == Place("https", "ghcr.io")
    assert place_of("docker.io", {}) == Place("https", "registry-1.docker.io")
    assert source_of(read_reference("python:3.11"), {}) == "docker.io/library/python:3.11"


@pytest.mark.parametrize(
    ("alias", "place", "source"),
    [
        ("http://127.0.0.1:5999", Place("http", "127.0.0.1:5999"), "127.0.0.1:5999/library/python@"),
        ("https://mirror.example/hub/", Place("https", "mirror.example", "hub"), "mirror.example/hub/library/python@"),
        ("mirror.example:444", Place("https", "mirror.example:444"), "mirror.example:444/library/python@"),
    ],
)
def test_an_alias_of_the_settings_stands_for_a_registry(alias: str, place: Place, source: str) -> None:
    aliases = {"docker.io": alias}
    assert place_of("docker.io", aliases) == place
    assert place.is_plain == alias.startswith("http:")
    assert source_of(read_reference("python:3.11").pinned(DIGEST), aliases) == source + DIGEST
    assert source_of(read_reference("ghcr.io/a/b:1"), aliases) == "ghcr.io/a/b:1"
