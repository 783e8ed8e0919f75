"""The faults, one a file: what is done to the stack, how often, and over how many runs. A new one is a line here."""

from chaos.fault import Fault
from chaos.faults import (
    auth_kill,
    broker_kill,
    everything,
    executor_kill,
    executor_pause,
    full_disk,
    gateway_kill,
    leader_kill,
    notifier_kill,
    partition,
    rolling_restart,
    tables_away,
)

FAULTS: tuple[Fault, ...] = (
    executor_kill.FAULT,
    gateway_kill.FAULT,
    auth_kill.FAULT,
    notifier_kill.FAULT,
    broker_kill.FAULT,
    leader_kill.FAULT,
    partition.FAULT,
    executor_pause.FAULT,
    tables_away.FAULT,
    full_disk.FAULT,
    rolling_restart.FAULT,
    everything.FAULT,
)
