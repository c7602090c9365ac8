"""What a spec may ask to be kept, and which files of the site need no look when it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.errors import SpecError
from ozrepro.methods.keeping import Kept
from ozrepro.methods.reading import parse_spec

MODULES = '[modules]\nload = ["python/3.10.4"]\n'
CONDA = '[conda]\ndependencies = ["python"]\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'{MODULES}keep = "pyhton"', "'pyhton' is not known; write one of: python, all"),
        (f"{MODULES}keep = true", "modules.keep: "),
        (f'{MODULES}kep = "all"', "did you mean 'keep'?"),
        (f'{CONDA}mpi = "openmpi/4.1.4"\nkeep = "python"', "'python' is not known; write one of: all"),
        (f'{CONDA}keep = "all"', "conda.keep: has no effect without mpi"),
        ('[venv]\nkeep = "all"', "venv.keep: unknown key"),
    ],
)
def test_a_wrong_keep_is_refused_with_what_to_write(text: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(Path("/project/sessions/work.toml"), text)
    assert problem in str(caught.value)


def test_a_modulefile_needs_no_look_where_all_software_that_it_names_is_kept(tmp_path: Path) -> None:
    texts = {
        "python": 'local root = "/apps/python/3.10"',
        "longer": 'local root = "/apps/python/3.10.1"',
        "both": 'set root /apps/python/3.10\nset other "/apps/gcc/11"',
        "meta": 'depends_on("gcc")',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    paths = tuple(str(tmp_path / name) for name in texts)
    digests = {**dict.fromkeys(paths, "0"), "/etc/lmod/SitePackage.lua": "0"}
    named = ("/apps/gcc/11", "/apps/python/3.10")
    kept = Kept("keep", ("/apps/python/3.10",), named, digests, paths)
    assert kept.covered(lambda path: path.startswith("/apps/python")) == [str(tmp_path / "python")]
    whole = Kept("keep", named, named, digests, paths, whole=True)
    assert whole.covered(lambda _: False) == sorted(digests)
