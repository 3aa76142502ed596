import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ResponseEnd, ResponseReader } from './response-reader.ts';

const answer = (body: string, more = ''): string =>
  `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`;

test('an answer is the same in whatever pieces it comes', () => {
  const text = answer('hello', 'Connection: close\r\n');
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: text.length }), { maxLength: 8 }), (cuts) => {
      const edges = [0, ...cuts.sort((left, right) => left - right), text.length];
      const reader = new ResponseReader();
      let end: ResponseEnd | undefined;
      for (let index = 1; index < edges.length; index++) {
        const piece = text.slice(edges[index - 1], edges[index]);
        if (piece === '') continue;
        expect(end).toBeUndefined();
        end = reader.push(Buffer.from(piece, 'latin1'));
      }
      expect(end).toEqual({ status: 200, bodyBytes: 5, closes: true, errorCode: undefined });
    }),
  );
});

const CHUNKED_HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

test('an answer in chunks is the same in whatever pieces it comes, and the next one follows it', () => {
  const text = `${CHUNKED_HEAD}5\r\nhel\r\n\r\nB;x=y\r\nlo, world!!\r\n0\r\n\r\n`;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: text.length }), (size) => {
      const reader = new ResponseReader();
      let end: ResponseEnd | undefined;
      for (let from = 0; from < text.length; from += size) {
        expect(end).toBeUndefined();
        end = reader.push(Buffer.from(text.slice(from, from + size), 'latin1'));
      }
      expect(end).toMatchObject({ status: 200, bodyBytes: 16 });
      expect(reader.push(Buffer.from(answer('a')))).toMatchObject({ bodyBytes: 1 });
    }),
  );
});

test('answers come one after the other on one connection', () => {
  const reader = new ResponseReader();
  expect(reader.push(Buffer.from(answer('a')))).toMatchObject({ status: 200, bodyBytes: 1, closes: false });
  const refusal =
    'HTTP/1.1 503 Service Unavailable\r\npilotlight-error: queue-full\r\ncontent-length: 0\r\n\r\n';
  expect(reader.push(Buffer.from(refusal))).toMatchObject({ status: 503, errorCode: 'queue-full' });
});

test('what it would count wrongly is refused', () => {
  const push = (text: string) => () => new ResponseReader().push(Buffer.from(text));
  expect(push(`${answer('a')}b`)).toThrow('1 bytes came behind');
  expect(push('HTTP/1.1 200 OK\r\n\r\n')).toThrow('no Content-Length');
  expect(push(`${CHUNKED_HEAD}hello\r\n`)).toThrow('expected the length');
  expect(push(`${CHUNKED_HEAD}1\r\nab\r\n`)).toThrow('longer than it says');
  expect(push(`${CHUNKED_HEAD}0\r\n\r\nb`)).toThrow('1 bytes came behind');
  expect(push('SSH-2.0-OpenSSH\r\n\r\n')).toThrow('not the head of an answer');
  expect(push('x'.repeat(20_000))).toThrow('no end');
});
