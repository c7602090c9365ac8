"""The venv method: a plain virtual environment of locked packages. Loaded by the registry alone."""
