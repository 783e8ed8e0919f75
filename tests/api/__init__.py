"""The API as a stranger meets it: a whole stack with two gateways, called over HTTP and held to its own documents."""
