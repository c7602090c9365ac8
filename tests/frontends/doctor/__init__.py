"""The doctor: planted faults in real homes, real locks between processes, and the recorded words of tools that cannot be had."""
