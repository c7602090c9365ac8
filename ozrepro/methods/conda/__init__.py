"""What stands behind the conda method: channels, locked records, virtual packages, and the solver and installer themselves.

`helper` calls `worker`, which runs in a process of its own: it and the modules of its tasks (`tasks`, `solving`, `installing`,
`entries`, `archives`) alone know rattler. All else is plain data.
Called by the conda and container methods, by export and import; nothing here knows of sessions or nox.
"""
