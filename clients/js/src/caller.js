/** One call: sent until it is answered for good. */

import { readAddress } from "./address.js";
import { Reply } from "./connection.js";
import { ConnectionFailed, HeadgateError, WaitTimeout } from "./errors.js";
import { DEFAULT_RETRY, pauseBefore, readRetryAfter } from "./retries.js";

export const RUN_HEADER = "headgate-run-id";
const LARGEST_ANSWER_BYTES = 256 * 1024 * 1024;

/** For how long somebody waits: until a time (`performance.now`), and until they abort. */
export class Patience {
  constructor({ timeoutSeconds = null, signal } = {}) {
    this.deadline = timeoutSeconds === null ? Infinity : performance.now() + timeoutSeconds * 1000;
    this.signal = signal;
  }

  /** Seconds left. */
  get left() {
    return Math.max(0, (this.deadline - performance.now()) / 1000);
  }

  /** Sleep for some seconds, or until the deadline. */
  async sleep(seconds) {
    const { signal } = this;
    await new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const stop = () => (clearTimeout(timer), reject(signal.reason));
      const end = () => (signal?.removeEventListener("abort", stop), resolve());
      const timer = setTimeout(end, Math.min(seconds, this.left) * 1000);
      signal?.addEventListener("abort", stop, { once: true });
    });
  }
}

/** Who calls where, and how patiently. A request is `{method, path, body?, headers?, silence?}`. */
export class Caller {
  #apiKey;
  #base;
  #fetch;

  constructor({ baseUrl, apiKey, timeoutSeconds = 60, retry = {}, fetch = globalThis.fetch.bind(globalThis) }) {
    const key = String(apiKey ?? "").trim();
    if (!/^[!-~]+$/.test(key)) throw new TypeError("apiKey is not a key"); // no message shows what it is
    this.#apiKey = key;
    this.#base = readAddress(baseUrl);
    this.#fetch = fetch;
    this.silence = timeoutSeconds;
    this.retry = { ...DEFAULT_RETRY, ...retry };
  }

  /** Send until it is answered: `{status, runId, body}`. Rejects with what trying again cannot or did not change. */
  call(request, patience) {
    return this.#retrying(patience, () => this.#read(request, patience));
  }

  /** As `call`, but the body of the answer is still to be read, and the reply to be closed. */
  open(request, patience) {
    return this.#retrying(patience, () => this.#open(request, patience));
  }

  /** Wait before trying again. Throws the error when the policy says to give up, WaitTimeout past the deadline. */
  async pause(failures, since, error, patience, waitsFor) {
    if (!(error instanceof HeadgateError)) throw error;
    if (patience.left === 0) throw new WaitTimeout(waitsFor, "", error);
    const elapsed = (performance.now() - since) / 1000;
    const seconds = pauseBefore(this.retry, failures, elapsed, Math.random(), error.retryAfter);
    if (!error.retryable || seconds === null) throw error;
    await patience.sleep(seconds);
  }

  async #retrying(patience, once) {
    const since = performance.now();
    for (let failures = 1; ; failures += 1) {
      try {
        return await once();
      } catch (error) {
        await this.pause(failures, since, error, patience, "The call");
      }
    }
  }

  async #read(request, patience) {
    const reply = await this.#open(request, patience);
    try {
      const text = await whole(reply);
      const runId = reply.headers.get(RUN_HEADER) ?? "";
      return { status: reply.status, runId, body: text === "" ? null : decode(reply.status, text) };
    } finally {
      reply.close();
    }
  }

  async #open({ method, path, body, headers, silence = this.silence }, patience) {
    const reply = new Reply(() => Math.min(silence, patience.left), patience.signal);
    const content = body === undefined ? {} : { "Content-Type": "application/json" };
    const init = {
      method,
      headers: { Accept: "application/json", ...content, ...headers, Authorization: `Bearer ${this.#apiKey}` },
      body: body === undefined ? undefined : JSON.stringify(body),
      redirect: "manual", // the key is for this server alone
      cache: "no-store",
    };
    try {
      if (patience.left === 0) throw new ConnectionFailed("the server did not answer in time");
      await reply.open(this.#fetch, this.#base + path, init);
      if (reply.status < 200 || reply.status > 299) throw refusal(reply, await whole(reply));
    } catch (error) {
      reply.close();
      throw error;
    }
    return reply;
  }
}

async function whole(reply) {
  const decoder = new TextDecoder();
  let text = "";
  for (let piece = await reply.piece(), size = 0; piece !== null; piece = await reply.piece()) {
    size += piece.length;
    if (size > LARGEST_ANSWER_BYTES) {
      throw new HeadgateError(reply.status, "unexpected_answer", "the answer is larger than any should be");
    }
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}

function decode(status, text) {
  try {
    return JSON.parse(text);
  } catch {
    const detail = "the answer is not JSON: is this a Headgate server?";
    throw new HeadgateError(status, "unexpected_answer", detail);
  }
}

/** The error that an answer tells of, in problem+json or a dialect's envelope. */
function refusal(reply, text) {
  let told = null;
  try {
    told = JSON.parse(text);
  } catch {
    // A proxy's page: its status says enough.
  }
  told = told !== null && typeof told === "object" ? told : {};
  const inner = told.error !== null && typeof told.error === "object" ? told.error : {};
  const texts = [told.detail, told.message, inner.message, told.error, told.title, `HTTP ${reply.status}`];
  return new HeadgateError(
    reply.status,
    String(told.code ?? inner.code ?? ""),
    texts.find((each) => typeof each === "string" && each !== ""),
    {
      errors: Array.isArray(told.errors) ? told.errors : [],
      requestId: told.request_id ?? reply.headers.get("x-request-id") ?? "",
      runId: reply.headers.get(RUN_HEADER) ?? "",
      retryAfter: readRetryAfter(reply.headers.get("retry-after"), Date.now()),
    },
  );
}
