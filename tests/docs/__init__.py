"""The documentation under test: its examples are run, its lists are compared with the code, its pages are built."""
