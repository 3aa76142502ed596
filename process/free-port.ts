import { type AddressInfo, createServer } from 'node:net';

/**
 * A port that was free a moment ago, for a program that must be told its port before it starts. Whoever uses
 * it must still expect EADDRINUSE.
 */
export async function freePort(host: string): Promise<number> {
  return tryPort(host, 0);
}

/**
 * Listens for a moment and stops again.
 * @returns the port that was taken, for port 0.
 * @throws Error with code EADDRINUSE or EACCES when the port can't be had.
 */
export async function tryPort(host: string, wanted: number): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port: wanted }, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
