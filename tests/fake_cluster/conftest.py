"""The site's own tests use the same fixtures as everybody's."""

from tests.fake_cluster.fixtures import (
    account,
    apptainer_site,
    channel,
    containers,
    ordinary,
    private_channel,
    private_site,
    registry,
    serve,
    site,
    user_programs,
)

__all__ = [
    "account",
    "apptainer_site",
    "channel",
    "containers",
    "ordinary",
    "private_channel",
    "private_site",
    "registry",
    "serve",
    "site",
    "user_programs",
]
