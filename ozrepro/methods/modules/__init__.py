"""The modules method: toolchain modules of the site, with a venv on top. Loaded by the registry alone."""
