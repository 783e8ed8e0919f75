"""Calls with curl, for any POSIX shell."""

from services.gateway.snippets.calls import Calling
from services.gateway.snippets.literals import fill, shell, shell_json

_ANSWER = r"""
curl -X POST «url» \
  -H «credential» \
  -H 'Content-Type: application/json' \
  -d «body»
"""

_UNTYPED = r"""
curl -X POST «url» \
  -H «credential» \
  -d «body»
"""

_STREAM = r"""
curl -N -X POST «url» \
  -H «credential» \
  -H 'Content-Type: application/json' \
  -d «body»
"""

_JOB = r"""
# Submit the job
job_id=$(curl -fsS -X POST «url» \
  -H «credential» \
  -H 'Content-Type: application/json' \
  -d «body» | sed 's/^{"«id»":"\([^"]*\)".*/\1/')

# Ask for the result until it is there
while
  job=$(curl -fsS «job_url»"$job_id" -H «credential»)
  printf '%s' "$job" | grep -Eq '^\{[^{]*"status":"(«pending»)"'
do
  sleep 2
done
printf '%s\n' "$job"
"""


def write(call: Calling) -> str:
    """The command; for a job the few that wait for it."""
    key = f"Bearer {call.key}" if call.bearer else call.key
    common = {
        "url": shell(call.url),
        "credential": shell(f"{call.header}: {key}"),
        "body": shell_json(call.body),
    }
    if call.job is not None:
        job = call.job
        return fill(_JOB, **common, id=job.id, job_url=shell(job.url), pending="|".join(job.pending))
    if call.reads == "stream":
        return fill(_STREAM, **common)
    return fill(_ANSWER if call.typed else _UNTYPED, **common)
