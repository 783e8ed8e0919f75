"""What `headgate doctor` looks at: the settings of its own environment, and whether what they name is there.

A check is a function in one of the modules here, and its name in `examine`.
"""

from collections.abc import Mapping

from cli.doctor.check import Check
from cli.doctor.places import machine, nats, postgres, telemetry
from cli.doctor.settings import egress, keys, mail, names, plan, providers, values


async def examine(environment: Mapping[str, str]) -> list[Check]:
    """Every check of an environment, in the order people read them."""
    found: list[Check] = [
        each for look in (names, values, plan, keys, egress, providers, mail) for each in look(environment)
    ]
    found += machine(environment)
    for ask in (nats, postgres, telemetry):
        found += await ask(environment)
    return found


__all__ = ["Check", "examine"]
