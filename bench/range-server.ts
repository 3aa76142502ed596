import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/**
 * A store on this machine for a model, with ETag and ranges, as object stores have them. Whatever the folder, a path
 * that ends like one of the files is that file, and any other the first: each folder is a place of its own to whoever
 * caches by address.
 */
export async function serveRanges(files: readonly string[]): Promise<{ url: string } & AsyncDisposable> {
  const worker = new Worker(new URL('./range-server-worker.ts', import.meta.url), { workerData: files });
  const [port] = (await once(worker, 'message')) as [number];
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      await worker.terminate();
    },
  };
}
