import { createHash } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A lifeline is a Unix socket that a parent process holds and its descendants stay connected to. When the
 * parent goes, however it goes (`kill -9` included), the kernel closes the connections, and whoever hangs on
 * them ends by itself: no child is orphaned, and nobody polls. A child whose parent restarts within
 * `graceMs` takes hold of the new socket and lives on.
 */
export interface LifelineHolder {
  readonly path: string;
  close(): Promise<void>;
}

/** Longest path of a Unix socket that Linux takes: 107 bytes and a final zero. */
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Path for a Unix socket of `folder`: in it, or, when that would be too long for the kernel, in the system's
 * temporary folder under a name that the path determines.
 */
export function socketPath(folder: string, name: string): string {
  const wanted = join(folder, `${name}.sock`);
  if (Buffer.byteLength(wanted) <= MAX_SOCKET_PATH_BYTES) return wanted;
  const digest = createHash('sha256').update(folder).digest('hex').slice(0, 16);
  return join(tmpdir(), `pilotlight-${digest}-${name}.sock`);
}

/**
 * Opens the lifeline at `path` and holds it until closed or until the process ends.
 * A socket file that nobody listens on any more, left by a killed process, is replaced.
 *
 * @throws Error with code EADDRINUSE when a living process holds it.
 */
export async function holdLifeline(path: string): Promise<LifelineHolder> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.resume();
  });
  try {
    await listen(server, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || (await isAlive(path))) throw error;
    unlinkSync(path);
    await listen(server, path);
  }
  return {
    path,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/**
 * Hangs this process on the lifeline at `path`. `onLost` is called once, when the connection has been gone
 * for `graceMs` (0: at once) and no new holder answered at the same path.
 *
 * @returns a function that lets go without calling `onLost`.
 */
export function followLifeline(path: string, graceMs: number, onLost: () => void): () => void {
  const RETRY_MS = 50;
  let stopped = false;
  let socket: Socket | undefined;
  let lostAtMs: number | undefined;
  const connect = (): void => {
    if (stopped) return;
    socket = createConnection(path);
    socket.on('connect', () => {
      lostAtMs = undefined;
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      if (stopped) return;
      const nowMs = performance.now();
      lostAtMs ??= nowMs;
      if (nowMs - lostAtMs >= graceMs) {
        stopped = true;
        onLost();
        return;
      }
      setTimeout(connect, RETRY_MS);
    });
    socket.resume();
    socket.unref();
  };
  connect();
  return () => {
    stopped = true;
    socket?.destroy();
  };
}
