"""Group commit inside a gateway and inside an executor, without the rest of them."""
