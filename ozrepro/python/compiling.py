"""Compiles modules to bytecode. Run as a script, by an environment's own Python, which need not have ozrepro.

The argument is a folder, and standard input names sources below it, one a line. Those that no Python of this version compiles,
whatever its memory, are named on standard output: some packages ship files for other Pythons.
"""

import gc
import os
import py_compile
import sys
import warnings

UNCHECKED, BY_DATE = py_compile.PycInvalidationMode.UNCHECKED_HASH, py_compile.PycInvalidationMode.TIMESTAMP


def main() -> None:
    """Compile each file that standard input names."""
    gc.disable()  # a tenth of the time
    warnings.simplefilter("ignore")
    folder = sys.argv[1]
    for line in sys.stdin:
        name = line.rstrip("\n")
        path = os.path.join(folder, name)
        mode = BY_DATE if os.path.islink(path) else UNCHECKED  # a link leads to a file that changes
        try:
            py_compile.compile(path, dfile=name, doraise=True, invalidation_mode=mode)
        except py_compile.PyCompileError as error:
            if isinstance(error.exc_value, (SyntaxError, ValueError)):
                sys.stdout.write(f"{name}\n")
        except (OSError, ValueError):
            continue


if __name__ == "__main__":
    main()
