import { connect } from 'node:net';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const FRAME = { headers: 1, reset: 3, settings: 4 } as const;
const END_STREAM_AND_HEADERS = 0x05;
/** HPACK's static table (RFC 7541, appendix A) has these statuses as one byte; others are literals. */
const INDEXED_STATUS: Readonly<Record<number, number>> = { 0x88: 200, 0x8c: 400, 0x8d: 404, 0x8e: 500 };
const LITERAL_STATUS = 0x48;

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Literal fields without indexing, as plain as HPACK goes; texts of up to 126 bytes. */
function fieldBlock(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

/** What came back on the stream first: its status (0 for one that this doesn't read), or that it was reset. */
export type RawAnswer = { status: number } | { resetCode: number } | 'closed';

/** One bodiless HTTP/2 request with exactly these fields: what no library lets through, its repeats included. */
export function rawHttp2(port: number, fields: readonly (readonly [string, string])[]): Promise<RawAnswer> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let bytes: Buffer = Buffer.alloc(0);
    const finish = (answer: RawAnswer): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('error', () => finish('closed'));
    socket.on('close', () => finish('closed'));
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const length = bytes.readUIntBE(0, 3);
        const [type, stream] = [bytes[3], bytes.readUInt32BE(5)];
        const payload = bytes.subarray(9, 9 + length);
        bytes = bytes.subarray(9 + length);
        if (stream !== 1) continue;
        if (type === FRAME.headers) return finish({ status: statusOf(payload) });
        if (type === FRAME.reset) return finish({ resetCode: payload.readUInt32BE(0) });
      }
      return undefined;
    });
    socket.write(
      Buffer.concat([
        PREFACE,
        frame(FRAME.settings, 0, 0, Buffer.alloc(0)),
        frame(FRAME.headers, END_STREAM_AND_HEADERS, 1, fieldBlock(fields)),
      ]),
    );
  });
}

function statusOf(block: Buffer): number {
  const [first = 0] = block;
  const indexed = INDEXED_STATUS[first];
  if (indexed !== undefined) return indexed;
  // `:status` by its index, the value as plain text.
  return first === LITERAL_STATUS && block[1] === 3 ? Number(block.toString('latin1', 2, 5)) : 0;
}
