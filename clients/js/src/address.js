/** Where the server is, read from what people paste. */

const LOCAL = /^(localhost|127\.0\.0\.1|\[::1\])(?=[:/]|$)/i;

/**
 * The base of all URLs, without a trailing slash. Without a scheme it is https, but http on this machine. Throws
 * TypeError when it is no address.
 * @param {string} baseUrl
 * @returns {string}
 */
export function readAddress(baseUrl) {
  const text = String(baseUrl ?? "").trim();
  const whole = text.includes("://") ? text : `${LOCAL.test(text) ? "http" : "https"}://${text}`;
  let url;
  try {
    url = new URL(whole);
  } catch {
    throw new TypeError("baseUrl must be a host or an http(s) URL, as in https://headgate.example");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new TypeError("baseUrl must be a host or an http(s) URL, as in https://headgate.example");
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new TypeError("baseUrl takes no user, query or fragment; the key goes into apiKey");
  }
  return url.origin + url.pathname.replace(/\/+$/, "");
}

/**
 * One segment of a path. Throws TypeError when it cannot be one.
 * @param {string} id
 */
export function segment(id) {
  if (typeof id !== "string" || /^\.*$/.test(id)) throw new TypeError("an id is missing");
  return encodeURIComponent(id);
}
