/** The Web Crypto API: global in browsers and from Node 20, a module in Node 18. */
export async function webcrypto() {
  return globalThis.crypto ?? (await import("node:crypto")).webcrypto;
}

/** An idempotency key that nobody else has. Not `randomUUID`: browsers keep that from pages without TLS. */
export async function newKey() {
  const bytes = (await webcrypto()).getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
