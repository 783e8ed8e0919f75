/** The client. It holds no connection: share it, never close it. */

import { segment } from "./address.js";
import { Caller, Patience } from "./caller.js";
import { HeadgateError, RunFailed, WaitTimeout } from "./errors.js";
import { eventsOf, follow, SILENCE_SECONDS } from "./events.js";
import { Batch, FlowResult, Run } from "./results.js";
import { newKey } from "./webcrypto.js";

/** A synchronous call is answered after 300 seconds at the latest, unless the operator chose otherwise. */
const SYNC_SILENCE_SECONDS = 330;
const FIRST_POLL_SECONDS = 0.2;
const LAST_POLL_SECONDS = 5;

/** See `index.d.ts` for every option and result. Calls that start runs carry an idempotency key over all attempts. */
export class HeadgateClient {
  #caller;

  constructor(options) {
    this.#caller = new Caller(options);
  }

  /** Start a run and wait for its end. A run that failed is a result too; with `check` it is thrown as RunFailed. */
  async run(deployment, input = {}, options = {}) {
    const patience = new Patience(options);
    const limited = patience.deadline !== Infinity; // then the run's id is needed before the end
    const silence = Math.max(this.#caller.silence, SYNC_SILENCE_SECONDS);
    const request = await started(deployment, input, options, limited ? "async" : "sync");
    const { body } = await this.#caller.call(limited ? request : { ...request, silence }, patience);
    return checked(await this.#ended(new Run(body), patience), options);
  }

  /** Start a run and go on; `wait` for it later, from anywhere. */
  async submit(deployment, input = {}, options = {}) {
    const request = await started(deployment, input, options, "async");
    return new Run((await this.#caller.call(request, new Patience(signalOf(options)))).body);
  }

  /** Start a run, at the first `next`, and yield its events, each once; a stream that breaks is resumed. */
  async *stream(deployment, input = {}, options = {}) {
    const request = await started(deployment, input, options, "stream");
    const streamed = { ...request, silence: SILENCE_SECONDS };
    streamed.headers.Accept = "text/event-stream";
    yield* follow(this.#caller, streamed, 0, new Patience(signalOf(options)));
  }

  /** Yield the events of a run there is, from number `after` + 1 to the last, as they happen. */
  async *events(runId, { after = 0, signal } = {}) {
    yield* follow(this.#caller, eventsOf(runId, String(after)), after, new Patience({ signal }));
  }

  /** The run as it is now. */
  async getRun(runId, options = {}) {
    return this.#get(runId, new Patience(signalOf(options)));
  }

  /** The run, once it has ended. WaitTimeout after `timeoutSeconds`; with `check`, RunFailed if it failed. */
  async wait(runId, options = {}) {
    const patience = new Patience(options);
    return checked(await this.#ended(await this.#get(runId, patience), patience), options);
  }

  /** End the run now. A run that ended otherwise is a HeadgateError with status 409. */
  async cancel(runId, options = {}) {
    const patience = new Patience(signalOf(options));
    const request = { method: "POST", path: `/v1/runs/${segment(runId)}/cancel` };
    try {
      return new Run((await this.#caller.call(request, patience)).body);
    } catch (error) {
      if (!(error instanceof HeadgateError) || error.status !== 409) throw error;
      // The first attempt may have arrived though its answer did not.
      const run = await this.#get(runId, patience);
      if (run.status !== "cancelled") throw error;
      return run;
    }
  }

  /** Start a run for each input, up to 1,000; all are accepted or none. */
  async batch(deployment, inputs, { idempotencyKey, signal } = {}) {
    const headers = { "Idempotency-Key": idempotencyKey ?? (await newKey()) };
    const path = `/v1/deployments/${segment(deployment)}/batch`;
    const request = { method: "POST", path, headers, body: { inputs } };
    return new Batch((await this.#caller.call(request, new Patience({ signal }))).body);
  }

  /** The batch and its runs as they are now. */
  async getBatch(batchId, options = {}) {
    return this.#getBatch(batchId, new Patience(signalOf(options)));
  }

  /** The batch, once all its runs have ended: asked for again and again, less and less often. */
  async waitBatch(batchId, options = {}) {
    const patience = new Patience(options);
    for (let pause = FIRST_POLL_SECONDS; ; pause = Math.min(pause * 1.5, LAST_POLL_SECONDS)) {
      const batch = await this.#getBatch(batchId, patience);
      if (batch.ended) return batch;
      if (patience.left === 0) throw new WaitTimeout(batchId);
      await patience.sleep(pause);
    }
  }

  /** Run a flow by Langflow's call: one text in, `.output` out. RunFailed if the run failed. */
  async runFlow({ flowId, inputValue, tweaks, sessionId, signal }) {
    const patience = new Patience({ signal });
    const request = {
      method: "POST",
      path: `/langflow/api/v1/flows/${segment(flowId)}/run`,
      headers: { "Idempotency-Key": await newKey() },
      body: { input_value: inputValue, tweaks, session_id: sessionId },
      silence: Math.max(this.#caller.silence, SYNC_SILENCE_SECONDS),
    };
    try {
      const { status, runId, body } = await this.#caller.call(request, patience);
      if (status !== 202 || !runId) return new FlowResult(body);
      return FlowResult.of(await this.#ended(await this.#get(runId, patience), patience));
    } catch (error) {
      if (!(error instanceof HeadgateError) || error.status !== 500 || !error.runId) throw error;
      // This dialect has no result for a run that failed.
      throw new RunFailed(error.code || "failed", error.detail, { runId: error.runId, status: 500 });
    }
  }

  async #get(runId, patience) {
    return new Run((await this.#caller.call({ method: "GET", path: `/v1/runs/${segment(runId)}` }, patience)).body);
  }

  async #getBatch(batchId, patience) {
    const request = { method: "GET", path: `/v1/batches/${segment(batchId)}` };
    return new Batch((await this.#caller.call(request, patience)).body);
  }

  /** The run itself if it has ended; otherwise it is followed to its end. */
  async #ended(run, patience) {
    if (run.ended) return run;
    try {
      const events = follow(this.#caller, eventsOf(run.id, "0"), 0, patience);
      while (!(await events.next()).done);
      return await this.#get(run.id, patience);
    } catch (error) {
      throw error instanceof WaitTimeout ? new WaitTimeout(run.id, run.id, error) : error;
    }
  }
}

async function started(deployment, input, { sessionId, tweaks, metadata, idempotencyKey }, mode) {
  return {
    method: "POST",
    path: `/v1/deployments/${segment(deployment)}/runs`,
    headers: { "Idempotency-Key": idempotencyKey ?? (await newKey()) },
    body: { input, mode, session_id: sessionId, tweaks, metadata },
  };
}

function signalOf({ signal }) {
  return { signal };
}

function checked(run, { check = false }) {
  return check ? run.raiseForStatus() : run;
}
