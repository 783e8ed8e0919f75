"""Libraries that the four services share; each is one idea, and none imports a service."""
