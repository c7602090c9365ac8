"""From a session's description to its environment: `preparing` has the steps, in order, as one tuple.

Front ends call what is here; nothing here prints, exits, or names a method.
"""
