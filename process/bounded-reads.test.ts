import { once } from 'node:events';
import { createConnection, createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { boundReads } from './bounded-reads.ts';

test('an accepted socket reads no more than the bound at once, and loses nothing', async () => {
  const bound = boundReads(4_096);
  const server = createServer({ highWaterMark: 4_096 }, bound);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const client = createConnection(port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  const sent = Buffer.alloc(1_000_000, 'abcdefghijk');
  client.end(sent);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks).equals(sent)).toBe(true);
  expect(Math.max(...chunks.map(({ length }) => length))).toBeLessThanOrEqual(4_096);
  server.close();
});
