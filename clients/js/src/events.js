/** A run's events from its first to its last, whatever happens to the connection in between. */

import { segment } from "./address.js";
import { RUN_HEADER } from "./caller.js";
import { ConnectionFailed, HeadgateError } from "./errors.js";
import { RunEvent } from "./results.js";
import { FrameReader } from "./sse.js";

/** The server sends a comment after 15 seconds of silence at the latest, so three times that is a dead connection. */
export const SILENCE_SECONDS = 45;

/** The request that opens the stream of a run there is. */
export function eventsOf(runId, lastId) {
  const resume = lastId === "0" ? {} : { "Last-Event-ID": lastId };
  const headers = { Accept: "text/event-stream", ...resume };
  return { method: "GET", path: `/v1/runs/${segment(runId)}/events`, headers, silence: SILENCE_SECONDS };
}

/**
 * Yield the events. `first` opens the stream, and may start the run: it carries an idempotency key, so that it starts
 * one however often it is sent. Once the run is known, a stream that breaks is resumed after the last event seen.
 * `after` is the number of an event (0: from the first); none up to it is yielded.
 */
export async function* follow(caller, first, after, patience) {
  const seen = { after, lastId: String(after), runId: "" };
  let request = first;
  let failures = 0;
  let failingSince = 0;
  for (;;) {
    const reply = await caller.open(request, patience);
    const openedAt = performance.now();
    let lost = null;
    try {
      if (reply.status === 204) return; // nothing is left after the last event seen
      seen.runId ||= reply.headers.get(RUN_HEADER) ?? "";
      for await (const event of received(reply, seen)) {
        failures = 0;
        yield event;
        if (event.endsRun) return;
      }
      lost = new ConnectionFailed(`the events of ${seen.runId || "the run"} stopped before its end`);
    } catch (error) {
      if (!(error instanceof ConnectionFailed)) throw error;
      lost = error;
    } finally {
      reply.close();
    }
    const now = performance.now();
    // A proxy that cuts what is long is no failure that adds up.
    if (now - openedAt > caller.retry.capSeconds * 1000) failures = 0;
    if (failures === 0) failingSince = now;
    failures += 1;
    await caller.pause(failures, failingSince, lost, patience, seen.runId || "The run");
    if (seen.runId) request = eventsOf(seen.runId, seen.lastId);
  }
}

/** The new events of one connection; `seen` is kept up with them. */
async function* received(reply, seen) {
  if (!(reply.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    throw new HeadgateError(reply.status, "unexpected_answer", "the server did not answer with a stream");
  }
  const frames = new FrameReader();
  for (let piece = await reply.piece(); piece !== null; piece = await reply.piece()) {
    for (const frame of frames.feed(piece)) {
      const event = read(frame.data);
      if (event.seq <= seen.after) continue;
      Object.assign(seen, { after: event.seq, lastId: frame.id || String(event.seq), runId: event.runId });
      yield event;
    }
  }
}

function read(data) {
  let raw;
  try {
    raw = JSON.parse(data);
  } catch {
    throw new HeadgateError(200, "unexpected_answer", "an event of the stream is not JSON");
  }
  return new RunEvent(raw);
}
