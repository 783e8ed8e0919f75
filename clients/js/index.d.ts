/** Runs flows on a Headgate server, from Node >= 18 and from browsers. No dependencies. */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Tweaks = Record<string, Record<string, unknown>>;
export type RunStatus = "queued" | "running" | "completed" | "failed" | "cancelled";

export interface RetryOptions {
  /** 1: never try again. Default 5. */
  maxAttempts?: number;
  /** Counted from the first attempt; a pause that would end later is not begun. Default 120. */
  totalSeconds?: number;
  /** The first step of the exponential backoff. Default 0.25. */
  baseSeconds?: number;
  /** Its longest. Default 10. */
  capSeconds?: number;
}

export interface ClientOptions {
  /** A URL or a host: https is assumed, http for this machine. */
  baseUrl: string;
  apiKey: string;
  /** How long the server may be silent during a call. Default 60. */
  timeoutSeconds?: number;
  retry?: RetryOptions;
  /** Instead of the global one. */
  fetch?: typeof fetch;
}

export interface SignalOptions {
  /** Aborting drops the connection and rejects with the signal's reason; nothing of a run is stopped. */
  signal?: AbortSignal;
}

export interface StartOptions extends SignalOptions {
  sessionId?: string;
  tweaks?: Tweaks;
  metadata?: Record<string, unknown>;
  /** Made for you if you give none. The same key and body are the same run. */
  idempotencyKey?: string;
}

export interface WaitOptions extends SignalOptions {
  /** WaitTimeout after this time; without, as long as it takes. */
  timeoutSeconds?: number;
}

export interface CheckOptions {
  /** Throw RunFailed unless the run completed. */
  check?: boolean;
}

export interface RunFlowOptions extends SignalOptions {
  flowId: string;
  inputValue: string;
  tweaks?: Tweaks;
  sessionId?: string;
}

/** A `deployment` is its id, or a flow's id or slug, which mean its production deployment. */
export class HeadgateClient {
  constructor(options: ClientOptions);
  /** Start a run and wait for its end. */
  run(
    deployment: string,
    input?: Record<string, unknown>,
    options?: StartOptions & WaitOptions & CheckOptions,
  ): Promise<Run>;
  /** Start a run and go on; `wait` for it later, from anywhere. */
  submit(deployment: string, input?: Record<string, unknown>, options?: StartOptions): Promise<Run>;
  /** Start a run, at the first `next`, and yield its events from first to last, each once. */
  stream(
    deployment: string,
    input?: Record<string, unknown>,
    options?: StartOptions,
  ): AsyncGenerator<RunEvent, void, undefined>;
  /** Yield the events of a run there is, from number `after` + 1 to the last. */
  events(runId: string, options?: SignalOptions & { after?: number }): AsyncGenerator<RunEvent, void, undefined>;
  getRun(runId: string, options?: SignalOptions): Promise<Run>;
  /** The run, once it has ended. */
  wait(runId: string, options?: WaitOptions & CheckOptions): Promise<Run>;
  /** End the run now. A run that ended otherwise is a HeadgateError with status 409. */
  cancel(runId: string, options?: SignalOptions): Promise<Run>;
  /** Start a run for each input, up to 1,000; all are accepted or none. */
  batch(
    deployment: string,
    inputs: Record<string, unknown>[],
    options?: SignalOptions & { idempotencyKey?: string },
  ): Promise<Batch>;
  getBatch(batchId: string, options?: SignalOptions): Promise<Batch>;
  /** The batch, once all its runs have ended. */
  waitBatch(batchId: string, options?: WaitOptions): Promise<Batch>;
  /** Run a flow by Langflow's call. RunFailed if the run failed. */
  runFlow(options: RunFlowOptions): Promise<FlowResult>;
}

export { HeadgateClient as LangflowClient };

export class Run {
  private constructor();
  readonly id: string;
  readonly status: RunStatus;
  readonly output: any;
  readonly error: { code: string; message: string; node?: string } | null;
  readonly usage: { inputTokens: number; outputTokens: number; costUsd: number };
  readonly sessionId: string | null;
  readonly metadata: Record<string, Json>;
  /** The server's own JSON. */
  readonly raw: Record<string, Json>;
  readonly ended: boolean;
  /** The run itself; throws RunFailed if it failed or was cancelled. */
  raiseForStatus(): this;
}

export class RunEvent {
  private constructor();
  /** Counts 1, 2, 3 … within the run. */
  readonly seq: number;
  /** As `node.delta`; may be one that this client does not know. */
  readonly type: string;
  readonly runId: string;
  readonly at: string;
  readonly node: string | null;
  readonly data: Record<string, any>;
  readonly raw: Record<string, Json>;
  readonly endsRun: boolean;
}

export class Batch {
  private constructor();
  readonly id: string;
  /** In the order of the inputs: ids and statuses; `getRun` has the outputs. */
  readonly runs: Run[];
  readonly raw: Record<string, Json>;
  readonly ended: boolean;
}

export class FlowResult {
  private constructor();
  readonly output: any;
  readonly sessionId: string | null;
  /** `duration` (seconds) and `tokens_used`. */
  readonly metadata: Record<string, Json>;
  readonly raw: Record<string, Json>;
}

/** The server refused the call, or answered something that no Headgate answers. */
export class HeadgateError extends Error {
  protected constructor();
  /** HTTP's; 0 without an answer. */
  readonly status: number;
  /** Stable, for programs. */
  readonly code: string;
  readonly detail: string;
  /** Each fault of a bad input. */
  readonly errors: { pointer: string; detail: string }[];
  readonly requestId: string;
  readonly runId: string;
  /** Seconds that the server asked callers to wait. */
  readonly retryAfter: number | null;
  readonly retryable: boolean;
}

/** No whole answer came. */
export class ConnectionFailed extends HeadgateError {}

/** The run ended, but not as completed. `run` is null where a dialect told of the failure without the run. */
export class RunFailed extends HeadgateError {
  readonly run: Run | null;
}

/** The time given to wait is over; what was waited for may go on. */
export class WaitTimeout extends HeadgateError {}

/** The request was not signed with this secret, is too old, or is no webhook. */
export class InvalidWebhook extends Error {}

/**
 * The body, parsed, if it was signed with `secret` (`whsec_…`) by Standard Webhooks. `body` is what was received, byte
 * for byte. Rejects with InvalidWebhook.
 */
export function verifyWebhook(
  body: string | Uint8Array | ArrayBuffer,
  headers: Headers | Record<string, string | string[] | undefined>,
  secret: string,
  options?: { toleranceSeconds?: number; now?: number },
): Promise<any>;
