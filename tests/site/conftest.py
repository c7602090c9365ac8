"""The site's own tests use the same fixtures as everybody's."""

from tests.site.fixtures import channel, private_channel, private_site, serve, site

__all__ = ["channel", "private_channel", "private_site", "serve", "site"]
