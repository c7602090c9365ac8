"""What a project says: its specs, locks and settings, and the one reader of all of them.

Knows no method and no machine.
"""
