/** When to try again: exponential backoff with jitter, unless the server says how long to wait. */

export const DEFAULT_RETRY = Object.freeze({ maxAttempts: 5, totalSeconds: 120, baseSeconds: 0.25, capSeconds: 10 });

/**
 * Seconds before the attempt after number `attempt` (from 1); null: give up. A pause that would end after
 * `totalSeconds` is not begun, however long the server asked for (`Retry-After`).
 */
export function pauseBefore(policy, attempt, elapsed, chance, retryAfter = null) {
  if (attempt >= policy.maxAttempts) return null;
  const step = Math.min(policy.capSeconds, policy.baseSeconds * 2 ** (attempt - 1));
  // Never earlier than the server asked, and not everybody at once.
  const seconds = retryAfter === null ? step * (0.5 + chance / 2) : retryAfter + chance * policy.baseSeconds;
  return elapsed + seconds <= policy.totalSeconds ? seconds : null;
}

/** Seconds from a `Retry-After` (RFC 9110, 10.2.3: seconds or a date); null: unreadable. `now` is in milliseconds. */
export function readRetryAfter(header, now) {
  const text = (header ?? "").trim();
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  const at = /[a-z]/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? null : Math.max(0, (at - now) / 1000);
}
