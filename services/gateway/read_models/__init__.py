"""Readings of the log in PostgreSQL, for questions that the log cannot answer by itself. All of it can be rebuilt."""

from services.gateway.read_models.delivery_rows import DeliveryRows
from services.gateway.read_models.projector import Reading
from services.gateway.read_models.run_rows import RunRows

READINGS: tuple[type[Reading], ...] = (RunRows, DeliveryRows)
