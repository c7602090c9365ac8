"""A project of an ordinary user."""

from tests.fake_cluster.fixtures import account, containers, ordinary, user_programs

__all__ = ["account", "containers", "ordinary", "user_programs"]
