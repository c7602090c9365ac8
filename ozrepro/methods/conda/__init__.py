"""What stands behind the conda method: channels, locked records, virtual packages, and the solver and installer themselves.

`helper` calls `worker`, which runs in a process of its own: it and the modules of its tasks (`solving`, `installing`, `archives`)
alone solve and install by rattler. Elsewhere it judges texts and versions that are not of the usual kind; all else is plain data.
Called by the conda and container methods, by export and import; nothing here knows of sessions or nox.
"""
