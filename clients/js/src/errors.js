/** What may go wrong, one class a situation. No message ever holds the API key. */

const RETRYABLE = new Set([408, 429, 500, 502, 503, 504]);

/**
 * The server refused the call, or answered something that no Headgate answers. `status` is HTTP's, 0 without an answer;
 * `code` is stable and for programs; `errors` names each fault of a bad input as `{pointer, detail}` (RFC 9457);
 * `requestId` finds the call in the server's logs.
 */
export class HeadgateError extends Error {
  constructor(status, code, detail, { errors = [], requestId = "", runId = "", retryAfter = null, cause } = {}) {
    super(detail, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    Object.assign(this, { status, code, detail, errors, requestId, runId, retryAfter });
  }

  /** Whether the same call may succeed later. A 500 about a run is a dialect's word for a run that failed. */
  get retryable() {
    return RETRYABLE.has(this.status) && !(this.status === 500 && this.runId);
  }
}

/** No whole answer came: nothing listens there, the connection broke, or it was silent for too long. */
export class ConnectionFailed extends HeadgateError {
  #transient;

  constructor(detail, cause, transient = true) {
    super(0, "connection_failed", detail, { cause });
    this.#transient = transient;
  }

  /** True unless another attempt must fail too, as with a certificate that does not fit. */
  get retryable() {
    return this.#transient;
  }
}

/** The run ended, but not as completed. `run` is null where a dialect told of the failure without the run. */
export class RunFailed extends HeadgateError {
  constructor(code, detail, { runId, run = null, status = 200 }) {
    super(status, code, detail, { runId });
    this.run = run;
  }

  get retryable() {
    return false; // the same idempotency key finds the same failed run
  }
}

/** The time given to wait is over; what was waited for may go on, and may be waited for again. */
export class WaitTimeout extends HeadgateError {
  constructor(what, runId = "", cause) {
    super(0, "wait_timeout", `${what} has not ended in the time given; it may go on.`, { runId, cause });
  }
}

/** The request was not signed with this secret, is too old, or is no webhook: answer 400 and do nothing else. */
export class InvalidWebhook extends Error {
  constructor(message) {
    super(message);
    this.name = "InvalidWebhook";
  }
}
