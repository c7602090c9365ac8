"""What other distributions add, as strangers would write it: a method, an export format, a front end."""
