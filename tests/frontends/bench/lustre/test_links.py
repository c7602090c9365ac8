"""Which folders are links, from where opens led."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.frontends.bench.lustre.links import Links, above, learn


def leads(*opened: tuple[str, str], folders: tuple[str, ...] = ()) -> dict[str, str]:
    return dict(learn(dict(opened), folders).leads)


def test_two_files_that_agree_tell_of_the_outermost_folder_that_would_do() -> None:
    assert leads(("/a/link/t/x", "/a/real/t/x"), ("/a/link/u/y", "/a/real/u/y")) == {"/a/link": "/a/real"}


def test_a_folder_tells_by_itself_also_by_another_name() -> None:
    assert leads(("/env/lib64", "/env/lib"), folders=("/env/lib64",)) == {"/env/lib64": "/env/lib"}
    assert leads(("/env/lib64/p", "/env/lib/p"), folders=("/env/lib64/p",)) == {"/env/lib64": "/env/lib"}


@pytest.mark.parametrize(
    "opened",
    [
        [("/env/bin/python", "/usr/bin/python3.12"), ("/env/bin/python3", "/usr/bin/python3.12")],
        [("/env/lib/a.so", "/opt/a/lib/a.so")],  # one file may as well be the link
        [("/view/lib/a.so", "/opt/a/lib/a.so"), ("/view/lib/b.so", "/opt/b/lib/b.so")],
        [("/env/p/x.py", "/cache/p/x.py"), ("/env/p/y.py", "/cache/p/y.py"), ("/env/p", "/env/p")],
        [("/x", "/")],
        [],
    ],
    ids=["other names", "one file", "two places", "a folder of links", "the root", "nothing"],
)
def test_links_that_are_files_are_no_folders(opened: list[tuple[str, str]]) -> None:
    assert leads(*opened, folders=("/env/p",)) == {}


def test_a_link_below_a_link_is_told_from_it() -> None:
    found = leads(
        ("/a/link/sub/x", "/other/sub/x"),
        ("/a/link/sub/z", "/other/sub/z"),
        ("/a/link/y", "/a/real/y"),
        ("/a/link/w", "/a/real/w"),
    )
    assert found == {"/a/link/sub": "/other/sub", "/a/link": "/a/real"}
    links = Links(found)
    assert links.follow("/a/link/sub/none", last=False) == ("/other/sub/none", ("/a/link/sub",))
    assert links.follow("/a/link/none", last=False) == ("/a/real/none", ("/a/link",))


def test_a_path_through_two_links_passes_both() -> None:
    links = Links({"/a/link": "/a/real", "/a/real/sub": "/b"})
    assert links.follow("/a/link/sub/x", last=False) == ("/b/x", ("/a/link", "/a/real/sub"))
    assert links.follow("/a/link/sub", last=False) == ("/a/real/sub", ("/a/link",))
    assert links.follow("/a/link/sub", last=True) == ("/b", ("/a/link", "/a/real/sub"))


def test_links_that_lead_in_a_circle_come_to_an_end() -> None:
    path, passed = Links({"/a": "/b", "/b": "/a"}).follow("/a/x", last=False)
    assert path == "/a/x"
    assert len(passed) == 40


PARTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)


@given(st.sets(PARTS.map("/".join), max_size=8), st.sampled_from(["/l", "/r/l", "/l/a"]), st.sampled_from(["/t", "/r/t"]))
def test_what_is_learnt_leads_to_what_was_opened(names: set[str], link: str, target: str) -> None:
    """For any files below one link: each path that was asked for is then the one that was opened."""
    opened = {f"{link}/{name}/file": f"{target}/{name}/file" for name in names}
    found = learn(opened, ())
    if len(opened) > 1:
        assert {found.follow(path, last=False)[0] for path in opened} == set(opened.values())
    else:
        assert found.leads == {}


def test_the_folders_above_a_path_do_not_have_the_root() -> None:
    assert above("/a/b/c") == ("/a/b", "/a")
    assert above("/a") == ()
