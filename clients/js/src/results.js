/** What calls answer. Each result keeps the server's own JSON as `raw`, for what has no field here. */

import { HeadgateError, RunFailed } from "./errors.js";

/** The types of a run's last event, and the statuses that the run has then. */
const ENDINGS = new Set(["run.completed", "run.failed", "run.cancelled"]);
const ENDED = new Set(["completed", "failed", "cancelled"]);

/** A run as it was when asked for. `status`: queued, running, completed, failed or cancelled. */
export class Run {
  constructor(raw) {
    expect(raw, "id", "status");
    this.id = raw.id;
    this.status = raw.status;
    this.output = raw.output ?? null;
    this.error = raw.error ?? null;
    const { input_tokens = 0, output_tokens = 0, cost_usd = 0 } = raw.usage ?? {};
    this.usage = { inputTokens: input_tokens, outputTokens: output_tokens, costUsd: cost_usd };
    this.sessionId = raw.session_id ?? null;
    this.metadata = raw.metadata ?? {};
    this.raw = raw;
  }

  /** Whether nothing of it can change any more. */
  get ended() {
    return ENDED.has(this.status);
  }

  /** The run itself; throws RunFailed if it failed or was cancelled. */
  raiseForStatus() {
    if (this.status !== "failed" && this.status !== "cancelled") return this;
    const { code, message } = this.error ?? { code: this.status, message: `It was ${this.status}.` };
    throw new RunFailed(code, `${this.id}: ${message}`, { runId: this.id, run: this });
  }
}

/** A fact about a run. `seq` counts 1, 2, 3 … within it; `type` may be one that this client does not know. */
export class RunEvent {
  constructor(raw) {
    expect(raw, "seq", "type", "run_id");
    this.seq = raw.seq;
    this.type = raw.type;
    this.runId = raw.run_id;
    this.at = raw.at ?? "";
    this.node = raw.node ?? null;
    this.data = raw.data ?? {};
    this.raw = raw;
  }

  /** Whether it is the run's last. */
  get endsRun() {
    return ENDINGS.has(this.type);
  }
}

/** Runs that were asked for together, in the order of their inputs: ids and statuses; `getRun` has the outputs. */
export class Batch {
  constructor(raw) {
    expect(raw, "batch_id", "runs");
    this.id = raw.batch_id;
    this.runs = raw.runs.map((run) => new Run(run));
    this.raw = raw;
  }

  /** Whether each of its runs has ended. */
  get ended() {
    return this.runs.every((run) => run.ended);
  }
}

/** What `runFlow` answers. `metadata` has `duration` (seconds) and `tokens_used`. */
export class FlowResult {
  constructor(raw) {
    expect(raw, "result");
    expect(raw.result, "output");
    this.output = raw.result.output;
    this.sessionId = raw.session_id ?? null;
    this.metadata = raw.metadata ?? {};
    this.raw = raw;
  }

  /** The same from a run object, where the server answered with one because the run takes long. */
  static of(run) {
    const { inputTokens, outputTokens } = run.raiseForStatus().usage;
    const metadata = { duration: run.raw.duration_seconds ?? null, tokens_used: inputTokens + outputTokens };
    return new FlowResult({ result: { output: run.output }, session_id: run.sessionId, metadata });
  }
}

function expect(body, ...names) {
  if (body === null || typeof body !== "object" || names.some((name) => !(name in body))) {
    throw new HeadgateError(200, "unexpected_answer", `the server's answer has no ${names.join(" and ")}`);
  }
}
