"""Tests of the benchmark. They assert counts and what is recorded, never times."""
