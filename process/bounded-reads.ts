import { Socket } from 'node:net';

type Internals = Record<symbol, unknown> & { _handle?: { useUserBuffer?: (buffer: Uint8Array) => void } };

/**
 * Makes accepted sockets read at most so many bytes at a time. Node reads 64 KiB at once and keeps that buffer
 * for as long as one byte of it is unread: 2,000 requests that wait with 1 MB bodies held 128 MB of them, and
 * 32 MB with reads of 16 KiB; the rest stays in the kernel.
 *
 * Node offers this for client sockets (`onread`) and has no public way to ask for it on accepted ones, so the
 * same fields are set by hand. Where a version of Node keeps them elsewhere, reads stay as they are.
 *
 * @returns a function to call with each socket as it is accepted.
 */
export function boundReads(maxBytes: number): (socket: Socket) => void {
  // One buffer for all: what was read is copied out of it before the next read begins.
  const shared = new Uint8Array(maxBytes);
  const sample = new Socket({ onread: { buffer: shared, callback: () => true } });
  const symbols = Object.getOwnPropertySymbols(sample);
  const [buffer, generate, callback] = ['kBuffer', 'kBufferGen', 'kBufferCb'].map((name) =>
    symbols.find(({ description }) => description === name),
  );
  sample.destroy();
  if (buffer === undefined || generate === undefined || callback === undefined) return () => undefined;
  return (socket) => {
    const internals = socket as unknown as Internals;
    const handle = internals._handle;
    if (typeof handle?.useUserBuffer !== 'function') return;
    internals[buffer] = shared;
    internals[generate] = null;
    internals[callback] = (readBytes: number, bytes: Uint8Array): boolean =>
      socket.push(Buffer.from(bytes.subarray(0, readBytes)));
    handle.useUserBuffer(shared);
  };
}
