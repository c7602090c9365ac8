"""The Python packages of an environment: resolved, locked, installed and checked with uv.

`indexes` says where from, `interpreter` for which Python, `packages` is what the lock holds, `resolve` and `backend` find it,
`install` makes it so, `export` writes other tools' formats. Called by the methods; knows nothing of stores and sessions.
"""
