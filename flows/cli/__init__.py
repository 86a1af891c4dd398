"""The command line `jdn`: parse, call, show."""
