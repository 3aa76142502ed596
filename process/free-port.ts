import { type AddressInfo, createServer } from 'node:net';

/**
 * A port that was free a moment ago, for a program that must be told its port before it starts. Whoever uses
 * it must still expect EADDRINUSE.
 */
export async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port: 0 }, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
