"""Hostile input of every kind that the threat table names: each is refused with a message that names the field.

`helpers` holds what they share, `locks` the hostile locks; one test module stands for one way in: locks, specs, the caller's
environment, the store, and secrets that must not come out.
"""
