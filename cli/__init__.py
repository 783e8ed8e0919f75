"""The `headgate` command: a client of the HTTP API, and a supervisor that runs a whole stack.

It knows the services only by their modules' names, their environment and their HTTP endpoints.
"""
