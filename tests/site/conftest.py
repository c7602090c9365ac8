"""The site's own tests use the same fixtures as everybody's."""

from tests.site.fixtures import private_site, site

__all__ = ["private_site", "site"]
