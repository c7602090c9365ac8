"""Compiles modules to bytecode. Run as a script, by an environment's own Python, which need not have ozrepro.

Standard input names one source a line. One that has valid bytecode already is left alone: several of these and a program that
imports the same modules may run at once (py_compile puts its file into place by one rename). What does not compile stays as
it is: some packages ship files for other Pythons.
"""

import gc
import importlib.util
import os
import py_compile
import sys
import warnings


def is_compiled(path: str, target: str) -> bool:
    """Say whether the bytecode `target` is that of the source `path`, by its header (PEP 552, PEP 3147)."""
    try:
        with open(target, "rb") as stream:
            header = stream.read(16)
        found = os.stat(path)
    except OSError:
        return False
    state = (0, int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF)
    return header == importlib.util.MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in state)


def main() -> None:
    """Compile each file that standard input names."""
    gc.disable()  # a tenth of the time
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        path = line.rstrip("\n")
        if not is_compiled(path, importlib.util.cache_from_source(path)):
            try:
                py_compile.compile(path, doraise=True, quiet=2)
            except (py_compile.PyCompileError, OSError, ValueError):
                continue


if __name__ == "__main__":
    main()
