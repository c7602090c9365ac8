"""`@EXPLICIT` files, held against conda's own pattern and rattler's reader."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import BuildError, SpecError
from ozrepro.methods.conda.channels import Channel
from ozrepro.methods.conda.explicit import Named, read_explicit, write_explicit
from ozrepro.methods.conda.records import LockedRecord

URL_PAT = re.compile(
    r"(?:(?P<url_p>.+)(?:[/\\]))?(?P<fn>[^/\\#]+(?:\.tar\.bz2|\.conda))"
    r"(?:#((?P<md5>[0-9a-f]{32})|((sha256:)?(?P<sha256>[0-9a-f]{64}))))?$"
)
"""The pattern of the draft specification (conda/ceps#79), which is conda's own since 24.9."""

CHANNELS = (Channel("conda-forge", "https://conda.anaconda.org/conda-forge"), Channel("site", "file:///srv/a%20site"))
ADDRESSES = {item.name: item.address for item in CHANNELS}


def record(name: str, *depends: str, channel: str = "conda-forge", subdir: str = "linux-64") -> LockedRecord:
    sha256, md5 = f"{len(name):064x}", f"{len(name):032x}"
    return LockedRecord(
        name=name,
        version="1.0",
        build="h1_0",
        build_number=0,
        channel=channel,
        subdir=subdir,
        file=f"{name}-1.0-h1_0.conda",
        sha256=sha256,
        md5=md5,
        depends=depends,
    )


RECORDS = (record("alpha", "zeta >=1", "__glibc >=2.17"), record("my-lib", subdir="noarch"), record("zeta", channel="site"))


def test_every_line_is_one_that_conda_reads() -> None:
    text = write_explicit(RECORDS, ADDRESSES, "linux-64")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[0] == "@EXPLICIT"
    assert [line.rpartition("/")[2].split("-1.0")[0] for line in lines[1:]] == ["zeta", "alpha", "my-lib"]
    for line in lines[1:]:
        found = URL_PAT.match(line)
        assert found is not None
        assert found["sha256"]
    assert "# platform: linux-64" in text


def test_a_written_explicit_file_is_read_back() -> None:
    for digest in ("sha256", "md5"):
        text = write_explicit(RECORDS, ADDRESSES, "linux-64")
        for locked in RECORDS if digest == "md5" else ():  # as an older conda writes it
            text = text.replace(f"{locked.file}#sha256:{locked.sha256}", f"{locked.file}#{locked.md5}")
        found, platform = read_explicit(text, "spec.txt")
        assert platform == "linux-64"
        by_name = {item.name: item for item in found}
        for locked in RECORDS:
            named = by_name[locked.name]
            assert named.differs(locked, CHANNELS) is None
            assert getattr(named, digest) == getattr(locked, digest)
            other = replace(locked, sha256="f" * 64, md5="f" * 32)
            assert digest in str(named.differs(other, CHANNELS))


def test_rattler_reads_a_written_explicit_file() -> None:
    text = write_explicit(RECORDS, ADDRESSES, "linux-64")
    code = (
        "import json, os, sys\n"
        "from rattler import MatchSpec\n"
        "from rattler.explicit_environment import ExplicitEnvironmentSpec\n"
        "spec = ExplicitEnvironmentSpec.from_str(sys.stdin.read())\n"
        "print(json.dumps([str(spec.platform), [p.url for p in spec.packages],\n"
        "    [MatchSpec(text).sha256.hex() for text in sys.argv[1:]]]), flush=True)\n"
        "os._exit(0)\n"
    )
    specs = [item.spec(CHANNELS) for item in read_explicit(text, "spec.txt")[0]]
    done = subprocess.run([sys.executable, "-c", code, *specs], input=text, capture_output=True, text=True, check=True)
    platform, urls, hashes = json.loads(done.stdout)
    assert platform == "linux-64"
    assert [url.partition("#")[0].rpartition("/")[2] for url in urls] == [RECORDS[2].file, RECORDS[0].file, RECORDS[1].file]
    assert hashes == [RECORDS[2].sha256, RECORDS[0].sha256, RECORDS[1].sha256]


def test_a_record_of_a_channel_without_address_is_told() -> None:
    with pytest.raises(BuildError, match="is not known"):
        write_explicit(RECORDS, {}, "linux-64")


def test_mistakes_in_an_explicit_file_are_told_with_their_lines() -> None:
    good = "https://conda.anaconda.org/conda-forge/linux-64/a-1-0.conda"
    text = f"@EXPLICIT\n{good}\n{good}\nnumpy\n/srv/c/linux-64/b-1-0.conda\nhttps://u:pw@h/c/linux-64/c-1-0.conda#zz\n"
    with pytest.raises(SpecError) as caught:
        read_explicit(text, "spec.txt")
    assert [item.partition(":")[0] for item in caught.value.problems] == ["line 3", "line 4", "line 5", "line 6"]
    assert "pw" not in str(caught.value)
    with pytest.raises(SpecError, match="no line @EXPLICIT"):
        read_explicit(f"{good}\n", "spec.txt")


@pytest.mark.parametrize(
    "base",
    [
        "https://conda.anaconda.org/conda-forge",
        "http://127.0.0.1:8799/conda-forge",
        "file:///srv/mirror/conda-forge",
        "https://conda.anaconda.org/t/<TOKEN>/conda-forge",
        "https://me:s3cret@mirror/conda/conda-forge",
    ],
)
def test_a_package_is_the_named_one_by_its_digest_and_name_whatever_the_host(base: str) -> None:
    here, locked = (Channel("conda-forge", "https://mirror/cf"), Channel("other", "https://mirror/other")), record("alpha")
    named = read_explicit(f"@EXPLICIT\n{base}/linux-64/{locked.file}\n", "x")[0][0]
    for mark in (f"#sha256:{locked.sha256}", f"#{locked.md5}", ""):
        named = read_explicit(f"@EXPLICIT\n{base}/linux-64/{locked.file}{mark}\n", "x")[0][0]
        assert named.differs(locked, here) is None
        assert named.spec(here).startswith("alpha[" if mark else "conda-forge::alpha[")
        assert "s3cret" not in str(named)
    assert "must come from" in str(named.differs(replace(locked, channel="other"), here)), "no hash tells which is meant"


def test_a_line_without_a_hash_is_taken() -> None:
    found, platform = read_explicit("@EXPLICIT\nhttps://repo.anaconda.com/pkgs/main/linux-64/a-b-1.0-h_0.tar.bz2\n", "x")
    assert found == (Named("a-b", "1.0", "h_0", "https://repo.anaconda.com/pkgs/main", "linux-64", "a-b-1.0-h_0.tar.bz2"),)
    assert platform == ""


@given(st.text(max_size=80))
def test_any_text_is_an_explicit_file_or_a_spec_error(text: str) -> None:
    for whole in (text, f"@EXPLICIT\nhttps://h/c/linux-64/{text}-1-0.conda\n"):
        try:
            found, _ = read_explicit(whole, "x")
        except SpecError:
            continue
        assert all("/" not in item.file and '"' not in item.spec(()).partition("[")[0] for item in found)
