"""Addresses of repositories in requirements: which are taken, and that each other is refused with the line to write."""

from __future__ import annotations

import pytest

from ozrepro.errors import without_login
from ozrepro.project.gitaddress import commits_in, read_commit
from ozrepro.project.requirement import check_requirement, check_requirement_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD = f"git+https://h.org/lab/tool@{COMMIT}"


@pytest.mark.parametrize(
    "text",
    [
        f"tool @ {GOOD}",
        f"tool@{GOOD}",
        f"tool[a,b] @ {GOOD}#subdirectory=a/b ; python_version > '3.8'",
        f"tool @ git+https://h.org:8443/~me/group/tool.git@{COMMIT}",
    ],
)
def test_a_full_commit_is_taken(text: str) -> None:
    assert check_requirement(text) is None
    (found,) = commits_in(text)
    assert found.commit == COMMIT
    assert read_commit(found.address) == found


@pytest.mark.parametrize(
    ("text", "write"),
    [
        ("tool @ git+https://h.org/lab/tool", "git ls-remote https://h.org/lab/tool HEAD gives the commit"),
        ("tool @ git+https://h.org/lab/tool@a/b", "git ls-remote https://h.org/lab/tool a/b gives the commit"),
        ("tool @ git+https://h.org/lab/tool@v1#egg=x", "write tool @ git+https://h.org/lab/tool@COMMIT"),
        ("tool @ git+https://h.org/lab/tool@0123456", "git rev-parse 0123456 in a clone"),
        (f"tool @ {GOOD.upper().replace('GIT+HTTPS', 'git+https')}", f"@{COMMIT}"),
        (f"tool @ {GOOD}#egg=tool&subdirectory=s", f"write tool @ {GOOD}#subdirectory=s"),
        (f"tool @ {GOOD}#subdirectory=../s", f"write tool @ {GOOD}"),
        (f"tool @ git+ssh://git@h.org/lab/tool@{COMMIT}", f"write tool @ {GOOD}"),
        (f"tool @ git+git@h.org:lab/tool@{COMMIT}", f"write tool @ {GOOD}"),
        (f"tool @ git+http://h.org/lab/tool@{COMMIT}", f"write tool @ {GOOD}"),
        (f"tool @ git+https://me:word@h.org/lab/tool@{COMMIT}", f"write tool @ {GOOD}"),
        (f"tool @ git+https://word@h.org/lab/tool@{COMMIT}", f"write tool @ {GOOD}"),
        (f"tool @ git+file:///word/tool@{COMMIT}", "or -e ./FOLDER"),
        (f"-e {GOOD}#egg=tool", f"write tool @ {GOOD}"),
        (f"-e {GOOD}", f"write NAME @ {GOOD}"),
        (GOOD, f"write NAME @ {GOOD}"),
        ("tool @ hg+https://h.org/lab/tool@1", "not hg"),
        (f"tool @ git+https://h.org/${{WORD}}/tool@{COMMIT}", "holds more than host, path and commit"),
        (f"tool @ git+https://h.org/lab/../tool@{COMMIT}", "holds more than host, path and commit"),
    ],
)
def test_any_other_address_is_refused_with_the_line_to_write(text: str, write: str) -> None:
    for problem in (check_requirement(text), *check_requirement_file(text)):
        assert problem is not None
        assert write in problem
        assert "me:word@" not in problem
        assert "word@" not in problem


def test_a_hash_beside_a_commit_is_refused() -> None:
    for text in (f"tool @ {GOOD}", f"tool@{GOOD}"):
        (problem,) = check_requirement_file(f"{text} --hash=sha256:{'0' * 64}\n")
        assert "has a --hash" in problem


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("git+https://u:word@h/o/r@main", "git+https://h/o/r@main"),
        ("git+https://word@h/o/r@a/b#egg=x", "git+https://h/o/r@a/b#egg=x"),
        ("git+https://h/o/r@main", "git+https://h/o/r@main"),
        ("git+https://h.org:8443/o/r@main", "git+https://h.org:8443/o/r@main"),
        ("git+https://u:w@r/d@h/o/r@main", "git+https://h/o/r@main"),
        ("git+https://u:w/rd@h/o/r", "git+https://h/o/r"),
        ("git+https://a/b@x,git+https://u:word@h/c", "git+https://a/b@x,git+https://h/c"),
        ("https://u:w@rd@h/o", "https://h/o"),
    ],
)
def test_a_login_is_cut_out_of_a_repository_s_address_and_no_more(text: str, shown: str) -> None:
    assert without_login(f"'{text}' is") == f"'{shown}' is"
