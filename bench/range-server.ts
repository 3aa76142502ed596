import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/**
 * A store on this machine for one file, whatever the path: with ETag and ranges, as object stores have them. Each path
 * is an object of its own to whoever caches by address.
 */
export async function serveRanges(path: string): Promise<{ url: string } & AsyncDisposable> {
  const worker = new Worker(new URL('./range-server-worker.ts', import.meta.url), { workerData: path });
  const [port] = (await once(worker, 'message')) as [number];
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      await worker.terminate();
    },
  };
}
