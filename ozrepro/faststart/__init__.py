"""The start of a locked, built session: no lock is parsed, nothing heavy is imported.

Every import here costs each rank of a job calls that take a path; `tests/faststart` counts them.
"""
