"""`python -m services.notifier`."""

from libs.runtime.process import run_service
from services.notifier.app import serve

run_service("notifier", serve)
