"""The site's own tests use the same fixtures as everybody's."""

from tests.site.fixtures import (
    account,
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
