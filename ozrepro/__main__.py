"""`python -m ozrepro`."""

import os

from ozrepro.faststart.ownpath import put_callers_behind
from ozrepro.faststart.start import main

if __name__ == "__main__":
    put_callers_behind([os.getcwd()])  # where Python looks first for all modules
    main()
