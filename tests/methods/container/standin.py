"""A program in place of Apptainer for tests of what is around it: it starts commands on this machine and builds no image.

Tests of the method itself use the real one (tests/site); this one is for what needs a container session and not a container.
"""

from __future__ import annotations

import dataclasses
import json

from tests.conftest import Project

_SCRIPT = r"""#!/bin/sh
[ "$1" != --version ] || { echo "apptainer version 1.4.5"; exit; }
if [ "$1" = build ]; then
    for last; do out="$before"; before="$last"; done
    printf '%s' "image of $(cat "$last" | cksum) $(cat BUILD 2>/dev/null)" > "$out"
    exit
fi
shift 2
while :; do case "$1" in --mount|--pwd) shift 2;; -*) shift;; *) break;; esac; done
[ -r "$1" ] || { echo "FATAL:   could not open image $1" >&2; exit 255; }
shift
if [ "$1 $2 $3" = "python3 -I -c" ]; then echo "<ozrepro>$(base64 -w0 'TABLE')</ozrepro>"; exit; fi
exec "$@"
"""


def contents(**more: object) -> dict[str, object]:
    """Return what the image says that is inside."""
    found = {"python": "3.11.2", "tree": "0" * 64, "distributions": {"alpha": ["1.0", ["alpha"]]}, "system": ["bash 5.2"]}
    return {**found, **more}


def with_apptainer(project: Project) -> Project:
    """Return the project of a user who has the stand-in on PATH; what is in its images is read from `inside.json` beside it."""
    folder = project.root.parent / "stand in"
    folder.mkdir()
    say_inside(project, contents())
    program = folder / "apptainer"
    program.write_text(_SCRIPT.replace("TABLE", str(folder / "inside.json")))
    program.chmod(0o755)
    return dataclasses.replace(project, environ={**project.environ, "PATH": f"{folder}:{project.environ['PATH']}"})


def say_inside(project: Project, table: dict[str, object]) -> None:
    """Have the stand-in's images say that this is inside."""
    (project.root.parent / "stand in" / "inside.json").write_text(json.dumps(table))


def boxed(project: Project, more: str = "") -> Project:
    """Return a project with a session whose image is a file of its own, locked and built."""
    found = with_apptainer(project)
    (found.root / "own image.sif").write_bytes(b"an image")
    found.spec(f'[container]\nimage = "own image.sif"\n{more}')
    found.done("lock", "work")
    found.done("build", "work")
    return found
