// Carries out calls of the JavaScript client, one a line, told and answered in the words of the Python one.
import { createInterface } from "node:readline";

import { HeadgateClient, HeadgateError, InvalidWebhook, verifyWebhook } from "../../clients/js/src/index.js";
import { FrameReader } from "../../clients/js/src/sse.js";

const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function renamed(value, rename, depth = 3) {
  if (Array.isArray(value)) return value.map((each) => renamed(each, rename, depth));
  if (value === null || typeof value !== "object" || depth === 0) return value;
  // What the server or the caller named stays as it is.
  const deeper = (name) => (["raw", "data", "metadata", "output", "tweaks"].includes(name) ? 0 : depth - 1);
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [rename(name), renamed(each, rename, deeper(name))]),
  );
}

async function called({ client, method, arguments: given, options }) {
  const { timeout, ...others } = renamed(options, camel);
  const named = timeout === undefined ? others : { ...others, timeoutSeconds: timeout };
  const before = ["run", "submit", "stream"].includes(method) && given.length === 1 ? [...given, {}] : given;
  const call = new HeadgateClient(renamed(client, camel))[camel(method)](...before, named);
  if (typeof call[Symbol.asyncIterator] !== "function") return renamed(await call, snake, 4);
  const events = [];
  for await (const event of call) events.push(event);
  return renamed(events, snake, 4);
}

async function verified([body, headers, secret, options]) {
  return await verifyWebhook(Buffer.from(body), headers, secret, options);
}

function read(cuts) {
  return cuts.map((pieces) => {
    const reader = new FrameReader();
    return pieces.flatMap((piece) => reader.feed(Buffer.from(piece, "base64")));
  });
}

async function answered(asked) {
  if (asked.frames) return read(asked.frames);
  return asked.verify ? await verified(asked.verify) : await called(asked);
}

function told(error) {
  if (error instanceof InvalidWebhook) return { name: error.name, detail: error.message };
  if (!(error instanceof HeadgateError)) return { name: "Crash", detail: error.stack };
  const { name, status, code, detail, errors, requestId, runId, retryAfter } = error;
  return { name, status, code, detail, errors, request_id: requestId, run_id: runId, retry_after: retryAfter };
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  try {
    console.log(JSON.stringify({ result: await answered(asked) }));
  } catch (error) {
    console.log(JSON.stringify({ error: told(error) }));
  }
}
