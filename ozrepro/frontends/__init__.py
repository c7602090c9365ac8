"""What starts sessions for people and tools: nox, the command line, the benchmark. They alone make sentences, print and exit.

Everything they do goes through the public API; nothing outside imports them. `snakemake` is a distribution of its own.
"""
