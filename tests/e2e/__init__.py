"""The running product as its users meet it, under faults: real processes, real sockets, nothing of ours replaced."""
