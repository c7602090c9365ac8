"""What an error may say: no address in it tells a secret."""

from __future__ import annotations

import pytest

from ozrepro.errors import UsageError, without_login


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("https://me:s3cret@host.example/simple/", "https://host.example/simple/"),
        ("https://s3cret@host.example/a.whl#sha256=00", "https://host.example/a.whl#sha256=00"),
        ("https://host.example/a.whl?sig=s3cret&x=1#sha256=00", "https://host.example/a.whl"),
        (
            "https://host.example/t/xy-s3cret/conda-forge/noarch/a.conda#sha256:00",
            "https://host.example/conda-forge/noarch/a.conda#sha256:00",
        ),
        ("https://host.example/t/xy-s3cret", "https://host.example"),
        ("https://host.example/t/xy-s3cret/chan?sig=s3cret", "https://host.example/chan"),
        ("https://host.example/latest/a.conda", "https://host.example/latest/a.conda"),
        ("file:///srv/t.d/a.conda", "file:///srv/t.d/a.conda"),
        ("https://host.example/t/topsecret/chan", "https://host.example/chan"),
        ("https://host.example:8080/conda/t/tk-s3cret_x/chan", "https://host.example:8080/conda/chan"),
        ("https://conda.anaconda.org/t/<TOKEN>/chan/noarch/a.conda", "https://conda.anaconda.org/chan/noarch/a.conda"),
        ("https://host.example/source/t/tqdm/tqdm-1.tar.gz", "https://host.example/source/t/tqdm/tqdm-1.tar.gz"),
        ("file:///srv/t/data/a.conda", "file:///srv/t/data/a.conda"),
    ],
)
def test_an_address_is_told_without_login_query_and_token(address: str, plain: str) -> None:
    assert without_login(address) == plain
    said = UsageError(f"cannot read {address} now", where=address, hint=address)
    assert str(said) == f"{plain}: cannot read {plain} now\n  try: {plain}"
