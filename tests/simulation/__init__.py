"""The product under a made-up clock and a log that fails: thousands of bad days, each told by one number.

A seed decides everything: what callers ask, when messages arrive, what is lost, who dies at which await. The product's
own code runs (acceptance, admission, workers, executions, followers); made up are only the clock (`loop`), the log's
server (`jetstream`, `server`, held to the real one by `test_conformance`), the connection to it (`wire`) and the world
outside (`outside`). `make simulate` runs many seeds, `make simulate SEED=7` one, the same way each time.
"""
