"""The helper process: `python -m ozrepro.methods.conda.worker TASK RESULT`. It and the modules of its tasks alone know rattler.

Reads a task (JSON), does it, writes RESULT whole or not at all, and ends with `os._exit`: rattler's threads can crash an
interpreter that shuts down in the usual way, long after all work is done (PyO3/pyo3-async-runtimes#40). So the caller trusts the
result file, never the exit status. Progress goes to standard error, one JSON line each.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.methods.conda.worker_common import Refused, no_space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TASKS = {
    "solve": ("solving", "solve"),
    "install": ("installing", "install"),
    "link-scripts": ("link_scripts", "look"),
    "read-pixi": ("pixilock", "read"),
    "virtual-packages": ("solving", "detect"),
}
"""The tasks, each with its module beside this one and its function; only the one that is asked for is loaded."""

NEWEST_TRIED = (0, 28)
"""The newest minor version of py-rattler with which the tests passed: any of them may change its API."""


def _tried() -> str:
    """Return which py-rattler to install where the installed one is newer than what was tried, else ""."""
    from importlib.metadata import version

    from packaging.version import Version

    here = Version(version("py-rattler"))
    if here.release[:2] <= NEWEST_TRIED:
        return ""
    newest = ".".join(map(str, NEWEST_TRIED))
    return f"py-rattler {here} is newer than this ozrepro was tested with: pip install 'py-rattler=={newest}.*'"


def perform(task: Mapping[str, Any]) -> dict[str, Any]:
    """Do a task and return what the result file holds: `done`, or `refused` with what, where and hint."""
    module, function = _TASKS[task["task"]]
    prefix = task.get("prefix", "")
    try:
        return {"done": asyncio.run(getattr(import_module(f"ozrepro.methods.conda.{module}"), function)(task))}
    except Refused as error:
        refused = error
    except Exception as error:  # noqa: BLE001  # rattler's errors have no common base, and each is one line for the user
        full = no_space(error)
        if full is not None:
            refused = Refused(full, where=prefix or task.get("cache", ""), hint="free some space, then again")
        else:
            traceback.print_exc()
            refused = Refused(f"{task['task']} failed: {error}", where=prefix, hint=_tried())
    return {"refused": {"what": refused.what, "where": refused.where, "hint": refused.hint}}


def main(arguments: Sequence[str]) -> int:
    """Do what the file `arguments[0]` says and write `arguments[1]`."""
    task = json.loads(Path(arguments[0]).read_bytes())
    answer = json.dumps(perform(task)).encode()
    temporary = f"{arguments[1]}.new"
    with open(temporary, "wb") as stream:
        stream.write(answer)
    os.rename(temporary, arguments[1])
    return 0


if __name__ == "__main__":
    status = 1
    try:
        status = main(sys.argv[1:])
    except BaseException:  # noqa: BLE001  # nothing may reach the interpreter's usual end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
