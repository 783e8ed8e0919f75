"""`python -m services.executor`."""

from libs.runtime.process import run_service
from services.executor.app import serve

run_service("executor", serve)
