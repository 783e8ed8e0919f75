"""The client libraries: each scenario once, carried out by the blocking, the asyncio and the JavaScript client."""
