"""Starts a kernel by its name as Jupyter's programs do, and prints what came of it as JSON.

Given as text to the Python of a venv that has jupyter_client: `python -c TEXT KERNEL ACTION`.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from typing import Any

from jupyter_client.manager import KernelManager
from jupyter_core.application import JupyterApp

PATIENCE = 120.0
"""Seconds after which a kernel counts as dead."""

SHOW = """
import json, os, sys
from ipykernel.connect import get_connection_info
print(json.dumps({
    "prefix": sys.prefix,
    "folder": os.getcwd(),
    "transport": get_connection_info(unpack=True)["transport"],
    "encrypted": "curve_publickey" in get_connection_info(unpack=True),
    "parent": os.getppid() == int(os.environ["JPY_PARENT_PID"]),
    "pid": os.getpid(),
    "environ": dict(os.environ),
}))
"""


class Started:
    """A started kernel and a client of it, with the settings of the user's Jupyter."""

    def __init__(self, name: str) -> None:
        settings = JupyterApp()
        settings.initialize([])
        file = os.path.join(settings.runtime_dir, f"kernel-{uuid.uuid4()}.json")
        self.manager: Any = KernelManager(kernel_name=name, connection_file=file, parent=settings)
        self.manager.start_kernel()
        self.client: Any = self.manager.client()
        self.client.start_channels()

    def answers(self) -> None:
        """Wait until the kernel answers."""
        self.client.wait_for_ready(timeout=PATIENCE)

    def executed(self, code: str) -> str:
        """Return what a cell prints and the name of its error; one that says `interrupt me` is interrupted."""
        said: list[str] = []

        def hear(message: Any) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                said.append(content["text"])
                if "interrupt me" in content["text"]:
                    self.manager.interrupt_kernel()
            elif message["msg_type"] == "error":
                said.append(content["ename"])

        self.client.execute_interactive(code, timeout=PATIENCE, output_hook=hear)
        return "".join(said).strip()

    def shut_down(self) -> bool:
        """End the kernel; return whether it is gone."""
        self.manager.shutdown_kernel(now=False)
        self.client.stop_channels()
        return not self.manager.is_alive()

    def shown(self) -> dict[str, Any]:
        """Return what a cell sees of where it is."""
        found: dict[str, Any] = json.loads(self.executed(SHOW))
        return found


def show(name: str) -> dict[str, Any]:
    """Look around in a kernel."""
    kernel = Started(name)
    kernel.answers()
    found = kernel.shown()
    kernel.shut_down()
    return found


def live(name: str) -> dict[str, Any]:
    """Lead a kernel through its life."""
    kernel = Started(name)
    kernel.answers()
    first = kernel.shown()
    interrupted = kernel.executed("import time\nprint('interrupt me', flush=True)\ntime.sleep(600)")
    kernel.executed("x = 6")
    file = kernel.manager.connection_file
    os.remove(file)
    without_file = kernel.executed("print(x * 7)")
    kernel.manager.restart_kernel(now=False)
    kernel.answers()
    again = kernel.shown()
    forgotten = kernel.executed("x")
    return {
        "first": first,
        "interrupted": interrupted,
        "without file": without_file,
        "another": again["pid"] != first["pid"],
        "forgotten": forgotten,
        "ended": kernel.shut_down(),
        "file": file,
    }


def wait(name: str) -> dict[str, Any]:
    """Have a kernel until somebody kills this process."""
    kernel = Started(name)
    kernel.answers()
    print(kernel.manager.connection_file, flush=True)
    sys.stdin.read()
    return {}


def end(name: str) -> dict[str, Any]:
    """Wait for the end of a kernel that cannot start."""
    kernel = Started(name)
    status = kernel.manager.provisioner.process.wait(PATIENCE)
    kernel.client.stop_channels()
    return {"status": status}


if __name__ == "__main__":
    print(json.dumps({"show": show, "live": live, "wait": wait, "end": end}[sys.argv[2]](sys.argv[1])))
