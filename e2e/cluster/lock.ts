import { createHash } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { cacheFolder } from './folders.ts';
import { say } from './steps.ts';

/**
 * Does the work while no other process on this machine does work under the same name on the same cache folder.
 * The lock is an abstract Unix socket: the kernel frees it with its holder, however that ends, so that nothing
 * stale is ever left behind. Those exist on Linux only; elsewhere nothing is built that needs the lock.
 */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  if (process.platform !== 'linux') return work();
  const place = createHash('sha256').update(cacheFolder()).digest('hex').slice(0, 12);
  const release = await take(`\0pilotlight-${name}-${place}`, () =>
    say(`  … another process holds "${name}", waiting for it`),
  );
  try {
    return await work();
  } finally {
    release();
  }
}

async function take(address: string, onWait: () => void): Promise<() => void> {
  for (let waited = false; ; waited = true) {
    const release = await tryToTake(address);
    if (release !== undefined) return release;
    if (!waited) onWait();
    await ended(address);
  }
}

async function tryToTake(address: string): Promise<(() => void) | undefined> {
  // Those who wait hold a connection: it ends with the lock, and only then.
  const waiting = new Set<Socket>();
  const server = createServer((socket) => {
    waiting.add(socket);
    socket.on('error', () => undefined).on('close', () => waiting.delete(socket));
    socket.unref().resume();
  });
  const taken = await new Promise<boolean>((resolve, reject) => {
    server.once('listening', () => resolve(true));
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(false) : reject(error),
    );
    server.listen(address);
  });
  if (!taken) return undefined;
  server.unref();
  return () => {
    server.close();
    for (const socket of waiting) socket.destroy();
  };
}

/** Resolves when the holder's socket is gone, at once where it is gone already. */
async function ended(address: string): Promise<void> {
  // A holder that is killed resets the connection: an error here, and as good as its end.
  const socket = connect(address).on('error', () => undefined);
  socket.resume();
  await new Promise((resolve) => socket.once('close', resolve));
}
