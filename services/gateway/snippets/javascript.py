"""Calls in JavaScript, with fetch: for browsers and Node 18 and later, as a module or not."""

from services.gateway.snippets.calls import Calling, Job, Path
from services.gateway.snippets.literals import fill, javascript, prose

_CALL = """
const API_KEY = «key»;
const API_URL = «url»;

async function callFlow(body) {
  const response = await fetch(API_URL, {
    method: "POST",
    headers: {
      «header»: «credential»,
      "Content-Type": "application/json",
    },
    body: JSON.stringify(body),
  });
  if (!response.ok) {
    throw new Error(`API Error: ${await response.text()}`);
  }
  return response;
}
"""

_ANSWER = """
async function main() {
  const response = await callFlow(«body»);
  const result = await response.json();
  «prints»
}

main();
"""

_STREAM = """
async function main() {
  const response = await callFlow(«body»);
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) {
        console.log(JSON.parse(line.slice("data:".length)));
      }
    }
  }
}

main();
"""

_JOB = """
const JOB_URL = «job_url»;

async function main() {
  let response = await callFlow(«body»);
  let result = await response.json();

  // Ask for the result until it is there
  while («pending».includes(result.status)) {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    response = await fetch(JOB_URL + result«id», { headers: { «header»: «credential» } });
    if (!response.ok) {
      throw new Error(`API Error: ${await response.text()}`);
    }
    result = await response.json();
  }

  if (result.status !== "completed") {
    throw new Error(`The run did not complete: ${JSON.stringify(result.error)}`);
  }
  «prints»
}

main();
"""

_ENVELOPE = """
const API_KEY = «key»;
const API_URL =
  «url»;

// Trigger «title»
async function triggerDeployment(inputData = {}) {
  // «promise»
  const response = await fetch(API_URL, {
    method: "POST",
    headers: {
      «header»: API_KEY,
      "Content-Type": "application/json",
    },
    body: JSON.stringify({ input_data: inputData }),
  });
  const result = await response.json();
  if (result.status === "success") {
    return result.data;
  } else {
    throw new Error(`API Error: ${result.message}`);
  }
}

// Usage example with test data
triggerDeployment(«input»).then((result) => {
  console.log("Status:", result.status);
  «prints»
});
"""

_WAITED = """
console.log("Output:", result.output_data);
console.log("Duration:", result.duration_seconds, "seconds");
"""

_TRIGGERED = """
console.log("Job:", result.job_id);
"""


def write(call: Calling) -> str:
    """A script that prints what came of the call."""
    common = {
        "key": javascript(call.key),
        "url": javascript(call.url),
        "header": javascript(call.header),
        "credential": "`Bearer ${API_KEY}`" if call.bearer else "API_KEY",
        "body": javascript(call.body),
        "prints": "\n".join(f"console.log(result{_at(path)});" for path in call.shows),
    }
    if call.reads == "envelope":
        return _envelope(call, common)
    if call.job is not None:
        return fill(_CALL + _JOB, **common, **_job(call.job))
    return fill(_CALL + (_STREAM if call.reads == "stream" else _ANSWER), **common)


def _job(job: Job) -> dict[str, str]:
    pending = f"[{', '.join(map(javascript, job.pending))}]"
    return {"job_url": javascript(job.url), "id": _at((job.id,)), "pending": pending}


def _envelope(call: Calling, common: dict[str, str]) -> str:
    own = {
        "title": prose(call.title),
        "promise": "Waits for completion and returns results" if call.waits else "Returns at once, without results",
        "input": javascript(call.body["input_data"]),
        "prints": (_WAITED if call.waits else _TRIGGERED).strip(),
    }
    return fill(_ENVELOPE, **(common | own))


def _at(path: Path) -> str:
    return "".join(f".{member}" for member in path)
