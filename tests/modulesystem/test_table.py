"""The table of module tools in the reference is what is measured here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.modulesystem.lmod import Lmod
from tests.fake_cluster import hierarchy
from tests.modulesystem.table import Tree, committed, head, measured, spack_trees

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_cluster import Site


def test_the_columns_are_those_that_are_measured() -> None:
    assert committed()[0] == head()


def test_the_row_of_each_lmod_is_what_is_measured(site: Site, tmp_path: Path) -> None:
    tree = hierarchy.made(site.lmod_cmd)
    trees = {
        "ozstar": Tree(site.roots["ozstar"], (site.names["python-scientific"],), site.names["pyyaml"]),
        "hierarchy": Tree(str(tree / hierarchy.CORE), (hierarchy.BUNDLE,)),
        **spack_trees(tmp_path / "spack"),
    }
    row = measured(Lmod(site.lmod_cmd), trees, tmp_path)
    assert row in committed()
