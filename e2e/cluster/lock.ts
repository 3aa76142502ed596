import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
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
  const server = await take(`\0pilotlight-${name}-${place}`, () =>
    say(`  … another process holds "${name}", waiting for it`),
  );
  try {
    return await work();
  } finally {
    server.close();
  }
}

async function take(address: string, onWait: () => void): Promise<Server> {
  for (let waited = false; ; waited = true) {
    const server = createServer((waiting) => {
      // Those who wait hold a connection: it ends with this process, and only then.
      waiting.on('error', () => undefined).unref();
      server.once('close', () => waiting.destroy());
    });
    const taken = await new Promise<boolean>((resolve, reject) => {
      server.once('listening', () => resolve(true));
      server.once('error', (error: NodeJS.ErrnoException) =>
        error.code === 'EADDRINUSE' ? resolve(false) : reject(error),
      );
      server.listen(address);
    });
    if (taken) return server.unref();
    if (!waited) onWait();
    await ended(address);
  }
}

/** Resolves when the holder's socket is gone, at once where it is gone already. */
async function ended(address: string): Promise<void> {
  const socket = connect(address);
  socket.on('error', () => undefined).resume();
  await once(socket, 'close');
}
