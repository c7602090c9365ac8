"""Projects on the real test site, for the commands at a prompt."""

from __future__ import annotations

from tests.methods.conftest import empty, mine, private_site, site, toolchain, work

__all__ = ["empty", "mine", "private_site", "site", "toolchain", "work"]
