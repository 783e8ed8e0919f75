"""`python -m services.gateway`."""

from libs.runtime.process import run_service
from services.gateway.app import serve

run_service("gateway", serve)
