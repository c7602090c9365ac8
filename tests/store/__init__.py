"""The store under real trouble: many processes, kills, faults of single system calls, locks that do not lock, full disks."""
