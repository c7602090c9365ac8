"""Helpers of the warm path's tests and of benchmarks/overhead.py: system calls as strace saw them."""
