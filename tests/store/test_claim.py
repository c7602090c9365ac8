"""Which folders become a store or a cache, and that every other is left exactly as it is, by builds and by clean-ups."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ozrepro.errors import StoreError
from ozrepro.methods.reading import load_settings
from ozrepro.store import FOLDERS, Store, cache_of
from ozrepro.store.claim import ENTRIES, MARKER
from ozrepro.store.collect import plan, remove
from ozrepro.store.publish import Recipe, provide, read_generation
from tests.store.driver import fill, key_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = key_of("one")


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return all that is in a folder: mode and content by path."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("precious", encoding="utf-8")


FOREIGN: dict[str, tuple[str, ...]] = {
    "a project": ("sessions/a.toml", "pyproject.toml"),
    "results": ("trash/keep.txt", "gens/thesis/ch1.tex", "bench-results-2025/d.csv", "names/people.txt"),
    "a home": (".bashrc", ".cache/x", "thesis.tex"),
    "one file": ("x",),
    "names of a store": tuple(f"{name}/a" for name in FOLDERS),
    "a whole store and more": (*(f"{name}/.keep" for name in FOLDERS), "thesis.tex"),
    "a cache of something else": ("cache/mine/a",),
    "folders with names of caches": ("conda/a", "modules/b", "uv/c"),
    "a checkout": (".git/config", ".gitignore"),
}


@pytest.mark.parametrize("setting", ["OZREPRO_STORE", "OZREPRO_CACHE"])
@pytest.mark.parametrize("what", FOREIGN)
def test_a_folder_that_is_neither_empty_nor_ozrepro_s_is_refused_and_left_as_it_is(
    tmp_path: Path, what: str, setting: str
) -> None:
    folder = tmp_path / "mine"
    for name in FOREIGN[what]:
        write(folder / name)
    before = contents(tmp_path)
    settings = load_settings(tmp_path, {setting: str(folder)})
    use = Store(folder).open if setting == "OZREPRO_STORE" else partial(cache_of, settings, "uv")
    with pytest.raises(StoreError, match="is neither empty nor a folder that ozrepro made") as caught:
        use()
    assert caught.value.where == str(folder)
    assert setting in caught.value.hint
    assert contents(tmp_path) == before


def test_an_empty_folder_and_one_that_is_missing_become_stores_and_stay_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing/below"):
        folder = tmp_path / name
        Store(folder).open()
        assert (folder / MARKER).read_bytes() == b""
        assert (folder / ".gitignore").read_text(encoding="utf-8") == "*\n"
        write(folder / "thesis.tex")  # what a user adds later is his, and stays
        Store(folder).open()


def test_a_store_of_a_version_without_markers_is_taken_and_what_it_built_is_built_once_more(store: Store) -> None:
    recipe = Recipe(KEY, {"section": "x"}, lambda prefix: fill(prefix, 3))
    old = provide(store, recipe, print)[0]
    card = old.folder / "generation.json"
    card.write_text(card.read_text(encoding="utf-8").replace('"made"', '"other"'), encoding="utf-8")
    (store.folder / MARKER).unlink()
    (store.folder / "cache" / "uv").mkdir(parents=True)
    write(store.folder / "cache" / "uv" / ".gitignore")
    store.open()
    assert (store.folder / MARKER).exists()
    new, built = provide(store, recipe, print)
    assert built
    assert new.folder != old.folder
    for leftover in plan(store, lambda _key, _section: "a lock"):
        remove(store, leftover)
    assert sorted(os.listdir(store.folder / "gens")) == [new.folder.name]
    assert read_generation(store, KEY) == new


def test_processes_that_meet_in_a_new_folder_agree_on_its_marker(folder: Path) -> None:
    words = ["import sys; from pathlib import Path; from ozrepro.store import Store; Store(Path(sys.argv[1])).open()"]
    made = [subprocess.Popen([sys.executable, "-c", *words, str(folder)], cwd="/") for _ in range(6)]
    assert [process.wait() for process in made] == [0] * 6
    assert sorted(os.listdir(folder)) == sorted((*FOLDERS, ".gitignore", MARKER))


@pytest.mark.parametrize("name", [*ENTRIES, "", "cache", "cache/images"])
def test_a_clean_up_leaves_what_has_no_name_that_ozrepro_gives(store: Store, name: str) -> None:
    generation = provide(store, Recipe(KEY, {"section": "x"}, lambda prefix: fill(prefix, 3)), print)[0]
    places: dict[str, Callable[[Path], object]] = {
        "keep.txt": write,
        ".hidden": write,
        "thesis": lambda path: write(path / "ch1.tex"),
        "bench-results-2025": lambda path: write(path / "d.csv"),
        "bench-2024abcd": lambda path: write(path / "d.csv"),
        "a link": lambda path: path.symlink_to("/nonexistent"),
        "A" * 32: write,
        "my.failed": write,
    }
    for entry, make in places.items():
        (store.folder / name).mkdir(parents=True, exist_ok=True)
        make(store.folder / name / entry)
        os.utime(store.folder / name / entry, (1, 1), follow_symlinks=False)
    before = contents(store.folder)
    for leftover in plan(store, lambda _key, _section: None):
        remove(store, leftover)
    left = contents(store.folder)
    own = (f"names/{KEY}", f"gens/{generation.folder.name}")
    assert [path for path in before if path not in left and not path.startswith(own)] == []
    assert left.items() <= before.items()
    for entry in places:
        assert os.path.lexists(store.folder / name / entry)


def test_a_cache_that_is_a_link_is_refused_before_a_clean_up_follows_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "project" / ".ozrepro", root=tmp_path / "project").open()
    write(tmp_path / "conda" / "precious")
    (store.folder / "cache").symlink_to("../..")
    os.utime(tmp_path / "conda", (1, 1))
    for use in (store.open, partial(cache_of, load_settings(tmp_path / "project", {}), "uv")):
        with pytest.raises(StoreError, match="is not a directory: somebody may have planted it"):
            use()


def test_caches_of_a_copy_and_of_an_earlier_version_go_after_a_day_and_the_store_s_own_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / ".ozrepro", root=tmp_path).open()
    own = cache_of(load_settings(tmp_path, {}), "uv")
    cache = store.folder / "cache"
    for name in ("uv", "conda", "0123456789abcdef", "mine"):
        write(cache / name / "file")
    assert plan(store, lambda _key, _section: None) == []
    for path in cache.iterdir():
        os.utime(path, (1, 1))
    for leftover in plan(store, lambda _key, _section: None):
        remove(store, leftover)
    assert sorted(os.listdir(cache)) == sorted((own.parent.name, "mine"))
