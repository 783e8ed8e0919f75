/** Server-sent events as the HTML standard reads them (9.2.6, "Interpreting an event stream"). No I/O. */

import { HeadgateError } from "./errors.js";

const LONGEST_EVENT_BYTES = 64 * 1024 * 1024;

/** Takes the stream in pieces cut anywhere. A frame not closed by an empty line is never given out. */
export class FrameReader {
  #decoder = new TextDecoder();
  #pieces = [];
  #size = 0;
  #data = [];
  #id = "";

  /**
   * The frames that this piece completes. Throws HeadgateError `unexpected_answer` past 64 MiB for one.
   * @param {Uint8Array} bytes
   * @returns {{id: string, data: string}[]}
   */
  feed(bytes) {
    this.#size += bytes.length;
    if (this.#size > LONGEST_EVENT_BYTES) {
      throw new HeadgateError(200, "unexpected_answer", "an event of the stream is longer than any may be");
    }
    const piece = this.#decoder.decode(bytes, { stream: true });
    this.#pieces.push(piece);
    if (!/[\r\n]/.test(piece)) return []; // joined once, when its line ends: long lines come in many pieces
    const pending = this.#pieces.join("");
    const held = pending.endsWith("\r") ? 1 : 0; // its LF may be in the next piece
    const lines = pending.slice(0, pending.length - held).split(/\r\n|\n|\r/);
    this.#pieces = [lines.pop() + pending.slice(pending.length - held)];
    return lines.map((line) => this.#line(line)).filter((frame) => frame !== null);
  }

  #line(line) {
    if (line === "") {
      const frame = this.#data.length > 0 ? { id: this.#id, data: this.#data.join("\n") } : null;
      this.#data = [];
      this.#size = 0;
      return frame;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }
}
