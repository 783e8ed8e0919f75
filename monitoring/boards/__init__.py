"""The dashboards, a file each. `BOARDS` is all of them."""

from monitoring.boards.capacity import CAPACITY
from monitoring.boards.flows import FLOWS
from monitoring.boards.log import LOG
from monitoring.boards.notifier import NOTIFIER
from monitoring.boards.overview import OVERVIEW
from monitoring.grafana import Board

BOARDS: tuple[Board, ...] = (OVERVIEW, FLOWS, NOTIFIER, LOG, CAPACITY)
