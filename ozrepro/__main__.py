"""`python -m ozrepro`."""

import os

from ozrepro.cli import main
from ozrepro.ownpath import put_callers_behind

if __name__ == "__main__":
    put_callers_behind([os.getcwd()])  # where Python looks first for all modules
    main()
