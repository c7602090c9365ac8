"""The command line: arguments, printing, exit codes. With `faststart`, which starts it, the only place that prints or exits."""
