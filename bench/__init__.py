"""The benchmark: how many runs a second, how fast, and how far from what the machine could do at best.

`make bench`, or `python -m bench`, starts two things side by side and asks both in turn, with the same generator of
load (`bench.load`), at 1, 16 and 64 connections:

- the **product** (`bench.targets`): `headgate up` with one process of each service, PostgreSQL and its projections,
  and `four-nodes.json` deployed. Each call has its key checked and is answered when the run's end is stored.
- the **floor** (`bench.floor`): what remains without product code. HTTP → one append to JetStream → a worker → one
  append → the answer, on the same NATS configuration, with appends of the same size, in as many processes as needed.

The ratio of the two says what Headgate costs, on any machine and at any hour: floor and product alternate within
each round, so that whatever else the machine does meets both. `bench.report` has the shape of the results,
`docs/how-to/measure.md` how to read them. Nothing here is part of the product, and nothing in it imports this.
"""
