"""Lustre: what a program asks of it, what a real client counts, and a model, a replay and an emulator for one machine.

Knows nothing of sessions, methods or the benchmark. Called by `bench/` and by the scripts in `benchmarks/`.
"""
