"""Readings of the log in PostgreSQL, for questions that the log cannot answer by itself. All of it can be rebuilt."""

from pathlib import Path

from libs.runtime.sql import read_migrations
from services.gateway.read_models.delivery_rows import DeliveryRows
from services.gateway.read_models.reading import Reading
from services.gateway.read_models.run_rows import RunRows

READINGS: tuple[type[Reading], ...] = (RunRows, DeliveryRows)


def migrations() -> dict[str, str]:
    """The schema of the readings, text by name."""
    return read_migrations(Path(__file__).with_name("schema"))
