/** Is this request really from the server? Standard Webhooks: HMAC-SHA256 over `{id}.{timestamp}.{body}`. */

import { InvalidWebhook } from "./errors.js";
import { webcrypto } from "./webcrypto.js";

const TOLERANCE_SECONDS = 300;
const NAMES = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/**
 * The body, parsed, if it was signed with `secret` (`whsec_…`) at most `toleranceSeconds` ago or ahead.
 *
 * `body` is what was received, byte for byte: parsed and encoded again it is another one. `headers` are a `Headers` or
 * an object as Node has them. While a secret is rotated there are several signatures, and one that fits is enough. The
 * header `webhook-id` is the same for every attempt at one delivery: remember it to act once. Rejects with
 * InvalidWebhook. `now` is Unix time in seconds.
 */
export async function verifyWebhook(body, headers, secret, { toleranceSeconds = TOLERANCE_SECONDS, now } = {}) {
  const raw = typeof body === "string" ? new TextEncoder().encode(body) : new Uint8Array(body);
  const { subtle } = await webcrypto();
  const key = await subtle.importKey("raw", signingKey(secret), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  const [id, timestamp, signatures] = NAMES.map((name) => header(headers, name));
  if (!/^[0-9]{1,12}$/.test(timestamp)) throw new InvalidWebhook("webhook-timestamp is not a time");
  if (Math.abs((now ?? Date.now() / 1000) - Number(timestamp)) > toleranceSeconds) {
    throw new InvalidWebhook("webhook-timestamp is too far from now: a replay, or a clock that is wrong");
  }
  const prefix = new TextEncoder().encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(prefix.length + raw.length);
  signed.set(prefix);
  signed.set(raw, prefix.length);
  const given = signatures.split(" ").filter((each) => each.startsWith("v1,"));
  const fits = await Promise.all(given.map((each) => subtle.verify("HMAC", key, decode(each.slice(3)), signed)));
  if (!fits.includes(true)) throw new InvalidWebhook("no signature fits the secret");
  try {
    return JSON.parse(new TextDecoder().decode(raw));
  } catch {
    throw new InvalidWebhook("the body is not JSON");
  }
}

function header(headers, name) {
  const found =
    typeof headers.get === "function"
      ? headers.get(name)
      : Object.entries(headers).find(([each]) => each.toLowerCase() === name)?.[1];
  const value = Array.isArray(found) ? found[0] : found;
  if (typeof value !== "string") throw new InvalidWebhook(`the header ${name} is missing`);
  return value;
}

function signingKey(secret) {
  const key = decode(String(secret).replace(/^whsec_/, ""));
  if (key.length === 0) throw new TypeError("the secret is not one: it is whsec_ and base64");
  return key;
}

/** The bytes of base64, none if it is not base64. */
function decode(text) {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}
