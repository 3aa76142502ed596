import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { countEstablished, openConnections } from './open-connections.ts';

test.skipIf(process.platform !== 'linux')(
  'connections to a port are counted while they are open (needs the /proc of Linux)',
  async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    expect(openConnections(port)).toBe(0);
    const socket = createConnection(port, '127.0.0.1');
    const [accepted] = (await once(server, 'connection')) as [ReturnType<typeof createConnection>];
    expect(openConnections(port)).toBe(1);
    socket.destroy();
    accepted.destroy();
    await expect.poll(() => openConnections(port)).toBe(0);
    server.close();
  },
);

test('only rows of the port itself that are established count', () => {
  const rows = [
    'sl  local_address rem_address   st',
    '0: 0100007F:1F90 00000000:0000 0A 00000000:00000000',
    '1: 0100007F:1F90 0100007F:C001 01 00000000:00000000',
    '2: 0100007F:C001 0100007F:1F90 01 00000000:00000000',
    '3: 0100007F:1F90 0100007F:C002 06 00000000:00000000',
  ];
  expect(countEstablished(rows.join('\n'), 8080)).toBe(1);
});
