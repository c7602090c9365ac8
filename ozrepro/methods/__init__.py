"""The methods: a folder each, behind the contract in `contract`, known by name to `registry` alone.

Called by the pipeline. A method knows nothing of nox, of printing, or of other methods.
"""
