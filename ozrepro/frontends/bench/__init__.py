"""Measuring the methods of one lock against each other: plan, start, count, statistics.

Called by `cli/bench.py` alone; nothing else imports it. Stands on the workflow, on Environment and on `ozrepro/lustre/`.
"""
