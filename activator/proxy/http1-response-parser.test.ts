import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Http1ResponseParser, ResponseFramingError, type ResponseHead } from './http1-response-parser.ts';

interface Parsed {
  informations: number[];
  head: ResponseHead | undefined;
  body: string;
  trailers: string[] | undefined;
  rest: string | undefined;
  parser: Http1ResponseParser;
}

/** Feeds the answer in pieces cut at the given places. */
function parse(text: string, cuts: readonly number[] = [], method = 'GET', upgrading = false): Parsed {
  const parsed: Omit<Parsed, 'parser'> = {
    informations: [],
    head: undefined,
    body: '',
    trailers: undefined,
    rest: undefined,
  };
  const parser = new Http1ResponseParser({
    onInformation: (status) => parsed.informations.push(status),
    onHead: (head) => {
      parsed.head = head;
    },
    onData: (chunk) => {
      parsed.body += chunk.toString('latin1');
    },
    onEnd: (trailers) => {
      parsed.trailers = trailers;
    },
  });
  parser.expect(method, upgrading);
  const bytes = Buffer.from(text, 'latin1');
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((one, other) => one - other);
  let start = 0;
  for (const end of [...ends, bytes.length]) {
    if (end === start) continue;
    const rest = parser.push(bytes.subarray(start, end));
    if (rest !== undefined) parsed.rest = (parsed.rest ?? '') + rest.toString('latin1');
    start = end;
  }
  return { ...parsed, parser };
}

const cuts = fc.array(fc.nat(2_000), { maxLength: 12 });

test('an answer is the same however it is cut, with a length and in chunks', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', '\r', '\n', '0', ':'), maxLength: 60 });
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 5 }), cuts, fc.boolean(), (parts, at, chunked) => {
      const body = parts.join('');
      const filled = parts.filter((part) => part !== '');
      const text = chunked
        ? `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${filled.map((part) => `${part.length.toString(16)};ext=1\r\n${part}\r\n`).join('')}0\r\nSum: 1\r\n\r\n`
        : `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      const parsed = parse(text, at);
      expect(parsed.body).toBe(body);
      expect(parsed.trailers).toEqual(chunked ? ['Sum', '1'] : []);
      expect(parsed.head).toMatchObject({ status: 200, statusText: 'OK', keepAlive: true });
      expect(parsed.parser.isIdle).toBe(true);
      expect(parsed.rest).toBeUndefined();
    }),
  );
});

test('whatever comes, it is parsed or refused, and nothing else is thrown', () => {
  const piece = fc.constantFrom(
    'HTTP/1.1 200 OK',
    '\r\n',
    '\n',
    'content-length: 3',
    'transfer-encoding: chunked',
    'a',
    '0',
    ' ',
    ':',
    '\0',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), cuts, (pieces, at) => {
      try {
        parse(pieces.join(''), at);
      } catch (error) {
        expect(error).toBeInstanceOf(ResponseFramingError);
      }
    }),
  );
});

test('informational answers come before the real one', () => {
  const parsed = parse(
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
  );
  expect(parsed).toMatchObject({ informations: [100, 103], head: { status: 204 }, trailers: [] });
});

test.each([
  ['HEAD', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n'],
  ['GET', 'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n'],
  ['GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
])('%s: %j has no body', (method, text) => {
  const parsed = parse(text, [], method);
  expect(parsed).toMatchObject({ body: '', trailers: [] });
  expect(parsed.parser.isIdle).toBe(true);
});

test('an answer without a length lasts until the connection closes', () => {
  const parsed = parse('HTTP/1.0 200 OK\r\n\r\nabc');
  expect(parsed).toMatchObject({ body: 'abc', head: { keepAlive: false }, trailers: undefined });
  expect(parsed.parser.finish()).toBe(true);
});

test.each([
  'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n',
  'HTTP/1.1 20',
])('a close in the middle of %j is no proper end', (text) => expect(parse(text).parser.finish()).toBe(false));

test('what follows an answer is handed back; after 101 it is the tunnel', () => {
  expect(parse('HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1').rest).toBe('HTTP/1.1');
  expect(parse('HTTP/1.1 101 Switching\r\n\r\n\x81\x05', [], 'GET', true)).toMatchObject({
    head: { status: 101 },
    rest: '\x81\x05',
  });
});

test.each([
  ['keep-alive', '1', true],
  ['close', '1', false],
  ['keep-alive', '0', true],
  ['x', '0', false],
])('Connection: %s in HTTP/1.%s', (connection, minor, keepAlive) => {
  const parsed = parse(`HTTP/1.${minor} 200 OK\r\nconnection: ${connection}\r\ncontent-length: 0\r\n\r\n`);
  expect(parsed.head?.keepAlive).toBe(keepAlive);
});

test.each([
  'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n',
  'HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\n',
  'HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n',
  'HTTP/1.1 200 OK\r\ncontent-length: 0x10\r\n\r\n',
  'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n',
  'HTTP/1.1 200 OK\r\nbad header\r\n\r\n',
  'HTTP/1.1 200 OK\r\nbad : header\r\n\r\n',
  'HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n',
  'HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n',
  'HTTP/2 200\r\n\r\n',
  'HTTP/1.1 101 Switching\r\n\r\n',
  `HTTP/1.1 200 OK\r\na: ${'b'.repeat(70_000)}\r\n`,
])('%j is refused', (text) => expect(() => parse(text)).toThrow(ResponseFramingError));
