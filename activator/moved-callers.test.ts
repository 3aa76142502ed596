import { once } from 'node:events';
import { Agent } from 'node:http';
import { connect } from 'node:http2';
import { expect, test } from 'vitest';
import { serviceRoute } from './testing/control-server.ts';
import { useFixture } from './testing/fixture.ts';
import { call } from './testing/replica.ts';

const fixture = useFixture();
const HOSTS = { hosts: ['ocr.demo', 'ocr.demo.models.example'] };

async function withService(directHosts: readonly string[]): Promise<number> {
  const { address } = await fixture.replica((_incoming, response) => response.end('ok'));
  fixture.control.put(
    serviceRoute([address], { ...HOSTS, ...(directHosts.length > 0 && { directHosts: [...directHosts] }) }),
  );
  return (await fixture.start()).port;
}

async function connectionOf(port: number, host: string): Promise<[number, string | undefined]> {
  const agent = new Agent({ keepAlive: true });
  const { status, headers } = await call(port, { headers: { host }, agent }).answer;
  agent.destroy();
  return [status, headers.connection];
}

test('a caller that could reach the replica itself is served and told to close its connection', async () => {
  const port = await withService(['ocr.demo']);
  expect(await connectionOf(port, 'OCR.demo:80')).toEqual([200, 'close']);
});

test('one that comes by an Ingress’s name keeps its connection, as does everybody while the service is proxied', async () => {
  const port = await withService(['ocr.demo']);
  expect(await connectionOf(port, 'ocr.demo.models.example')).toEqual([200, 'keep-alive']);
  const proxied = await withService([]);
  expect(await connectionOf(proxied, 'ocr.demo')).toEqual([200, 'keep-alive']);
});

test('over HTTP/2 it gets its answer and a GOAWAY', async () => {
  const port = await withService(['ocr.demo']);
  const session = connect(`http://127.0.0.1:${port}`);
  const goaway = once(session, 'goaway');
  const stream = session.request({ ':path': '/', ':authority': 'ocr.demo' });
  const [head] = (await once(stream, 'response')) as [{ ':status': number }];
  expect(head[':status']).toBe(200);
  stream.resume();
  await goaway;
  await once(session, 'close');
});
