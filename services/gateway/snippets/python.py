"""Calls in Python, with requests."""

from services.gateway.snippets.calls import Calling, Job, Path
from services.gateway.snippets.literals import fill, prose, python

_ANSWER = """
import requests

API_KEY = «key»
API_URL = «url»

response = requests.post(
    API_URL,
    headers={«header»: «credential»},
    json=«body»,
    timeout=300,
)
response.raise_for_status()
result = response.json()
«prints»
"""

_STREAM = """
import json

import requests

API_KEY = «key»
API_URL = «url»

response = requests.post(
    API_URL,
    headers={«header»: «credential»},
    json=«body»,
    stream=True,
    timeout=300,
)
response.raise_for_status()
for line in response.iter_lines():
    if line.startswith(b"data:"):
        print(json.loads(line[len(b"data:"):]))
"""

_JOB = """
import time

import requests

API_KEY = «key»
API_URL = «url»
JOB_URL = «job_url»
HEADERS = {«header»: «credential»}

response = requests.post(
    API_URL,
    headers=HEADERS,
    json=«body»,
    timeout=30,
)
response.raise_for_status()
result = response.json()

# Ask for the result until it is there
while result["status"] in «pending»:
    time.sleep(2)
    response = requests.get(JOB_URL + result[«id»], headers=HEADERS, timeout=30)
    response.raise_for_status()
    result = response.json()

if result["status"] != "completed":
    raise RuntimeError(f"The run did not complete: {result.get('error')}")
«prints»
"""

_ENVELOPE = '''
import requests

API_KEY = «key»
API_URL = «url»


def trigger_deployment(input_data=None):
    """Trigger «title» - «promise»"""
    response = requests.post(
        API_URL,
        headers={
            «header»: API_KEY,
            "Content-Type": "application/json"
        },
        json={
            "input_data": input_data or {},
        }
    )
    if response.ok:
        result = response.json()
        return result["data"]
    else:
        raise Exception(f"API Error: {response.text}")


# Usage example with test data
result = trigger_deployment(«input»)
print(f"Status: {result['status']}")
«prints»
'''

_WAITED = """
print(f"Output: {result.get('output_data')}")
print(f"Duration: {result.get('duration_seconds')} seconds")
"""

_TRIGGERED = """
print(f"Job: {result['job_id']}")
"""


def write(call: Calling) -> str:
    """A script that prints what came of the call."""
    common = {
        "key": python(call.key),
        "url": python(call.url),
        "header": python(call.header),
        "credential": 'f"Bearer {API_KEY}"' if call.bearer else "API_KEY",
        "body": python(call.body),
        "prints": "\n".join(f"print(result{_at(path)})" for path in call.shows),
    }
    if call.job is not None:
        return fill(_JOB, **common, **_job(call.job))
    if call.reads == "envelope":
        return _envelope(call, common)
    return fill(_STREAM if call.reads == "stream" else _ANSWER, **common)


def _job(job: Job) -> dict[str, str]:
    return {"job_url": python(job.url), "id": python(job.id), "pending": f"({', '.join(map(python, job.pending))})"}


def _envelope(call: Calling, common: dict[str, str]) -> str:
    promise = "waits for completion and returns results" if call.waits else "returns at once, without results"
    own = {
        "title": prose(call.title),
        "promise": promise,
        "input": python(call.body["input_data"]),
        "prints": (_WAITED if call.waits else _TRIGGERED).strip(),
    }
    return fill(_ENVELOPE, **(common | own))


def _at(path: Path) -> str:
    return "".join(f"[{python(member)}]" for member in path)
