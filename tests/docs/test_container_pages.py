"""The pages on images: their examples run with a real Apptainer, as an ordinary user, and print what the pages say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import APPTAINER, DOCS, pages_with, steps
from tests.docs.running import mistakes, play
from tests.fake_cluster.containers import TAG
from tests.fake_cluster.fixtures import OrdinaryProject, account, containers, ordinary, registry, user_programs
from tests.fake_cluster.registry import Registry

__all__ = ["account", "containers", "ordinary", "registry", "user_programs"]

HUB = "library/python"
"""Docker Hub's own name of the image `python`."""

INDEX = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_")


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(DOCS))) for page in pages_with(APPTAINER)])
def test_commands_of_pages_about_images_print_what_the_pages_show(
    page: Path, index: dict[str, str], ordinary: OrdinaryProject, registry: Registry
) -> None:
    """A reader for whom a registry on the loopback stands for Docker Hub sees what the page shows."""
    if "XDG_CONFIG_HOME" in index:
        pytest.skip("the package index is set in a home that the ordinary user cannot read")
    for tag in (TAG, "3.11-slim"):
        registry.push(registry.containers.layout, registry.containers.index, HUB, tag)
    (ordinary.root / "pyproject.toml").write_text(f'[tool.ozrepro.registries]\n"docker.io" = "http://{registry.address}"\n')
    ordinary.account.give(ordinary.root.parent)
    own = {name: value for name, value in index.items() if name not in ("HOME", "PATH", "UV_CACHE_DIR")}
    environ = {name: value for name, value in ordinary.environ.items() if not name.startswith(INDEX)}
    stage = ordinary.root.parent / "stage"
    played = play(steps(page, APPTAINER), ordinary.root, stage, {**own, **environ}, ordinary.account.command("bash"))
    wrong = mistakes(str(page.relative_to(DOCS.parent)), played)
    assert not wrong, "\n\n".join(wrong)
