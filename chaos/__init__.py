"""`make chaos`: the stack as users run it, broken from outside, and what became of the runs.

Nothing in here reaches into the product: it is started by `headgate up`, called over HTTP, and hurt by signals, by
proxies between the nodes of a cluster, by limits that the kernel sets, and by PostgreSQL's own functions. Each file in
`chaos.faults` is one fault; `chaos.verdict` says what was lost, doubled or wrong; the table goes to `docs/chaos.md`.
"""
