"""Tests of the benchmarks that are committed with their results."""
