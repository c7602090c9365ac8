"""The law, on modulefiles and bases that nobody thought of: a replay equals a real load."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ozrepro.environment import BASE_PATH
from ozrepro.modulesystem.change import read_change, replay
from ozrepro.modulesystem.lmod import Lmod
from ozrepro.project.checking import Checker
from ozrepro.project.toml import dumps, loads
from tests.fake_cluster import Site
from tests.fake_cluster.modulefiles import quote
from tests.modulesystem.replaying import after, ask, plain, really_loaded, take_from

_MARKS = {"PATH": ":", "COLONS": ":", "SEMICOLONS": ";", "SPACES": " ", "COMMAS": ","}
_ENTRIES = st.sampled_from(["/a", "/b", "/c/d", "x", "../e", "/usr/bin"])
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
_PATH_LINES = st.builds(
    lambda verb, name, entry: f'{verb}{{"{name}", {quote(entry)}, delim="{_MARKS[name]}"}}',
    st.sampled_from(["prepend_path", "append_path"]),
    st.sampled_from(sorted(_MARKS)),
    _ENTRIES,
)
_LINES = st.lists(
    st.one_of(
        _PATH_LINES,
        _PATH_LINES,
        st.builds(lambda name, value: f'setenv("{name}", {quote(value)})', st.sampled_from(["AA", "BB"]), _TEXT),
        st.builds(lambda value: f'pushenv("PUSHED", {quote(value)})', _TEXT.filter(bool)),
        st.just('unsetenv("GONE")'),
        # An entry of the base: of another, nobody could say at lock time whether it was there. /usr/bin is put back elsewhere.
        st.sampled_from([f'remove_path("PATH", "{entry}")' for entry in BASE_PATH if entry != "/usr/bin"]),
        st.just('depends_on("needed/1.0")'),
    ),
    min_size=1,
    max_size=7,
    unique=True,
)
_NEEDED = st.lists(_PATH_LINES, max_size=2, unique=True)
_FOLDERS = st.lists(st.sampled_from(["/a", "/b/", "/c//d", "x", "/usr/bin", "/sbin", "", "/z z"]), max_size=4)
_BASES = st.fixed_dictionaries(
    {"PATH": _FOLDERS.map(lambda entries: ":".join(["/usr/bin", *entries]))},
    optional={
        "COLONS": _FOLDERS.map(":".join),
        "SEMICOLONS": _FOLDERS.map(";".join),
        "SPACES": st.sampled_from(["", "-lm", "-lm x -lm"]),
        "COMMAS": _FOLDERS.map(",".join),
        "AA": _TEXT,
        "PUSHED": _TEXT,
        "GONE": st.just("here"),
    },
)
_number = itertools.count()


@settings(max_examples=35, phases=[Phase.generate], deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=_LINES, needed=_NEEDED, base=_BASES)
def test_replay_equals_a_real_load_for_generated_modulefiles_and_bases(
    site: Site, tmp_path: Path, lines: list[str], needed: list[str], base: dict[str, str]
) -> None:
    lmod = Lmod(site.lmod_cmd)
    folder = tmp_path / str(next(_number))
    for name, content in (("made", lines), ("needed", needed)):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.0.lua").write_text("\n".join(content) + "\n", encoding="utf-8")
    captured = take_from(lmod, str(folder), "made/1.0")
    checker = Checker("lock")
    change = read_change(checker, loads(dumps(captured.change.as_table())), ("change",), f"lmod {lmod.version()}")
    assert (change, checker.mistakes) == (captured.change, [])
    start = {**base, "HOME": "/h", "MODULEPATH": str(folder)}
    there = replay(change, start, captured.modules)
    assert there == really_loaded(lmod, captured.load, start)
    assert change.dynamic == ()
    if not any(line.startswith(("remove_path", "unsetenv", "setenv")) for line in lines):
        # What Lmod itself gives back it gives back after a replay too.
        again = really_loaded(lmod, captured.load, start)
        assert plain(after(there, ask(lmod, there, "purge"))) == plain(after(again, ask(lmod, again, "purge")))
