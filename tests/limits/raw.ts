import type { Socket } from "node:net";
import { connect } from "node:net";

/** A connection that sends what no library would, and notes what it gets. */
export interface Raw {
  readonly socket: Socket;
  /** Of HTTP/2: how many frames of each type came. */
  readonly frames: ReadonlyMap<number, number>;
  /** Of HTTP/2: the streams that were reset, by error code. */
  readonly resets: ReadonlyMap<number, number>;
  /** Of HTTP/2: the error code with which the server said goodbye. */
  goaway(): number | undefined;
  /** What came, as text; for HTTP/1.1. */
  text(): string;
  /** When the server closed it, after the start in milliseconds. */
  closedAfter(): number | undefined;
  /** Resolves when the bytes are handed on or the connection is closed; says whether it still is open. */
  write(bytes: Uint8Array | string): Promise<boolean>;
}

export interface RawOptions {
  /** Whether it reads at all. */
  readonly reads?: boolean;
  /** Acknowledges the server's settings, as every client has to. */
  readonly acknowledges?: boolean;
}

export function openRaw(url: string, { reads = true, acknowledges = true }: RawOptions = {}): Raw {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  const startedAt = performance.now();
  const frames = new Map<number, number>();
  const resets = new Map<number, number>();
  let received: Buffer = Buffer.alloc(0);
  let unread: Buffer = Buffer.alloc(0);
  let goaway: number | undefined;
  let closedAfter: number | undefined;

  function readFrames(): void {
    while (unread.length >= 9 && unread.length >= 9 + unread.readUIntBE(0, 3)) {
      const end = 9 + unread.readUIntBE(0, 3);
      const type = unread.readUInt8(3);
      const payload = unread.subarray(9, end);
      frames.set(type, (frames.get(type) ?? 0) + 1);
      if (type === RST_STREAM) resets.set(payload.readUInt32BE(), (resets.get(payload.readUInt32BE()) ?? 0) + 1);
      if (type === GOAWAY) goaway = payload.readUInt32BE(4);
      if (type === SETTINGS && unread.readUInt8(4) === 0 && acknowledges) socket.write(frame(SETTINGS, { flags: ACK }));
      unread = unread.subarray(end);
    }
  }
  if (reads) {
    socket.on("data", (chunk: Buffer) => {
      if (received.length < 4_096) received = Buffer.concat([received, chunk]);
      unread = Buffer.concat([unread, chunk]);
      if (!received.toString("latin1").startsWith("HTTP/")) readFrames();
    });
  }
  // A reset is one of the ways to be closed.
  socket.on("error", () => undefined);
  socket.on("close", () => {
    closedAfter = performance.now() - startedAt;
  });
  return {
    socket,
    frames,
    resets,
    goaway: () => goaway,
    text: () => received.toString("latin1"),
    closedAfter: () => closedAfter,
    async write(bytes) {
      if (socket.destroyed || !socket.writable) return false;
      await new Promise((resolve) => socket.write(bytes, resolve));
      return !socket.destroyed;
    },
  };
}

export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const CONTINUATION = 9;
export const ACK = 1;
export const END_STREAM = 1;
export const END_HEADERS = 4;

interface FrameOptions {
  readonly flags?: number;
  readonly stream?: number;
  readonly payload?: Uint8Array;
  /** What the frame says of itself, if not the truth. */
  readonly length?: number;
}

/** One frame of RFC 9113. */
export function frame(type: number, options: FrameOptions = {}): Buffer {
  const { flags = 0, stream = 0, payload = Buffer.alloc(0), length = payload.length } = options;
  const head = Buffer.alloc(9);
  head.writeUIntBE(length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** What every HTTP/2 connection begins with. */
export const opening: Buffer = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(SETTINGS)]);

/** HPACK without any compression: each field literal, never indexed. */
export function fields(headers: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(Object.entries(headers).map(([name, value]) => field(0x00, name, value)));
}

/** One literal field; `first` says how it is to be indexed (0x40: yes). */
export function field(first: number, name: string, value: string): Buffer {
  return Buffer.concat([Buffer.of(first), string(name), string(value)]);
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length: number[] = [];
  if (bytes.length < 127) length.push(bytes.length);
  else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest >>>= 7) length.push((rest & 127) | 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}
