"""`python -m services.auth`."""

from libs.runtime.process import run_service
from services.auth.app import serve

if __name__ == "__main__":
    run_service("auth", serve)
