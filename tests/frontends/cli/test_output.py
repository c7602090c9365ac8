"""What is printed on the way: no address in it tells a secret."""

from __future__ import annotations

import pytest

from ozrepro.frontends.cli.output import Output


@pytest.mark.parametrize("address", ["https://me:s3cret@h/simple", "https://h/t/tk-s3cret/c", "https://h/a.whl?sig=s3cret"])
def test_a_line_of_what_is_going_on_masks_logins_tokens_and_queries(capsys: pytest.CaptureFixture[str], address: str) -> None:
    Output().say(f"warning: {address} is slow")
    errors = capsys.readouterr().err
    assert "s3cret" not in errors
    assert "https://h/" in errors
