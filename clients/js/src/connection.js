/** One request and its answer over `fetch`, given up after a silence. */

import { ConnectionFailed } from "./errors.js";

const WRONG_CERTIFICATE = /CERT|SELF_SIGNED/;
const LONGEST_TIMER_SECONDS = 2 ** 31 / 1000 - 1;

/** An answer whose head has come; read `piece` until it is null, and `close` it however it ends. */
export class Reply {
  #abort = new AbortController();
  #signal;
  #allowed;
  #reader = null;
  #forward = () => this.#abort.abort(this.#signal.reason);

  /**
   * @param {() => number} allowed seconds of silence, asked for at each wait
   * @param {AbortSignal | undefined} signal the caller's own
   */
  constructor(allowed, signal) {
    this.#allowed = allowed;
    this.#signal = signal;
    signal?.throwIfAborted();
    signal?.addEventListener("abort", this.#forward);
  }

  /** Send the request. Rejects with ConnectionFailed, or with the caller's reason when they aborted. */
  async open(fetch, url, init) {
    const response = await this.#within(() => fetch(url, { ...init, signal: this.#abort.signal }));
    this.status = response.status;
    this.headers = response.headers;
    this.#reader = response.body?.getReader() ?? null;
    return this;
  }

  /** The next bytes of the body, null at its end. A body that is cut short is a ConnectionFailed. */
  async piece() {
    if (this.#reader === null) return null;
    const { done, value } = await this.#within(() => this.#reader.read());
    return done ? null : value;
  }

  /** Drop the connection if it still stands. */
  close() {
    this.#signal?.removeEventListener("abort", this.#forward);
    this.#reader?.cancel().catch(() => {}); // it is gone either way
    this.#abort.abort();
  }

  async #within(work) {
    const late = new ConnectionFailed("the server did not answer in time");
    const seconds = Math.min(this.#allowed(), LONGEST_TIMER_SECONDS);
    const timer = setTimeout(() => this.#abort.abort(late), seconds * 1000);
    try {
      return await work();
    } catch (error) {
      this.#signal?.throwIfAborted();
      if (this.#abort.signal.aborted) throw late;
      const reason = error?.cause?.code ?? error?.message ?? String(error);
      throw new ConnectionFailed(`no answer from the server: ${reason}`, error, !WRONG_CERTIFICATE.test(reason));
    } finally {
      clearTimeout(timer);
    }
  }
}
