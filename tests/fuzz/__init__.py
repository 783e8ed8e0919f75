"""Bad input in any amount: the whole OpenAPI document is asked with what fits it and what does not.

`make test` sends some hundred requests, `make fuzz` 50,000 and prints a table.
"""
