"""Sphinx's settings for the documentation; the pages are Markdown, read by MyST."""

from importlib.metadata import version as _version_of

from pygments.lexers.shell import BashSessionLexer

project = "ozrepro"
author = "the ozrepro developers"
copyright = author
version = release = _version_of("ozrepro")

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"ozrepro {release}"
html_extra_path = [f"../ozrepro/frontends/init/{name}.schema.json" for name in ("spec", "settings")]
# Nothing is fetched from elsewhere when a page is read: the pages can be copied to a cluster without a network.
html_copy_source = False


def setup(app):
    """Colour a session at a terminal like other commands and what they print."""
    app.add_lexer("console-session", BashSessionLexer)
