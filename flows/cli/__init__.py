"""The command line `jdn`: parse, call, show.

A module is a command or a group of them; ``main`` lists the modules. A new command is a function in one of
them whose parameters are its options, registered in ``add_to`` with an example.
"""
