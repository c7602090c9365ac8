"""Records of runs: what ran, in which environment, on what kind of machine; written by front ends, read by commands and exports.

A record is a line of JSON. `record` has its value, `writing` keeps it, `reading` finds it, also by a result that names it.
"""
