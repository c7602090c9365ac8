"""What stands behind the conda method: channels, locked records, virtual packages, and the solver and installer themselves.

`worker` and `archives` run in a process of their own and alone know rattler; `helper` calls them; all else is plain data.
Called by the conda and container methods, by export and import; nothing here knows of sessions or nox.
"""
