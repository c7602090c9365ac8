"""The doctor: looks at the site and at the habits that hurt, changes nothing, and says the command that fixes each thing.

`finding` is what a check gives, `surroundings` what it may look at, `examination` the order of the checks; the other modules hold
them. Called by the command line alone; prints nothing, and never runs a program that lies in the user's home.
"""
