"""What requests cost, and how they wait for the servers that they share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ozrepro.frontends.bench.lustre.model import BUSY, KINDS, QUIET
from ozrepro.frontends.bench.lustre.replay import replay
from ozrepro.frontends.bench.lustre.serving import SERVERS, Servers, cost
from tests.frontends.bench.lustre.test_replay import CLOSE, LOOKUP, OPEN


def test_each_kind_is_served_by_its_server_in_its_latency() -> None:
    for kind, server in KINDS.items():
        item = cost(QUIET, kind)
        assert SERVERS[item.server] == server
        assert item.busy + item.wait == pytest.approx(200e-6 if server == "mds" else 300e-6)


def test_two_nodes_wait_for_one_server() -> None:
    servers = Servers(replace(QUIET, mds_us=1000, mds_stats=1000))
    assert servers.finish("lookup", 0, 5.0) == pytest.approx(5.001)
    assert servers.finish("lookup", 0, 5.0) == pytest.approx(5.002)
    assert servers.finish("glimpse", 0, 5.0) == pytest.approx(5.0003)
    assert servers.finish("lookup", 0, 6.0) == pytest.approx(6.001)


def test_one_process_in_the_emulators_queue_takes_what_the_replay_says() -> None:
    servers, now = Servers(BUSY), 0.0
    asked = [LOOKUP, OPEN, CLOSE] * 5
    for request in asked:
        now = servers.finish(request.kind, request.bytes, now)
    assert now == replay(asked, BUSY, nodes=1, ranks=1, shared=True).last
