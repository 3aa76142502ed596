import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * A store on this machine for one file, whatever the path: with ETag and ranges, as object stores have them. Each path
 * is an object of its own to whoever caches by address.
 */
export async function serveRanges(path: string): Promise<{ url: string } & AsyncDisposable> {
  const { size } = statSync(path);
  const server = createServer((request, response) => {
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const first = Number(range?.[1] ?? 0);
    const last = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
    response.writeHead(range === null ? 200 : 206, {
      etag: `"${size}"`,
      'accept-ranges': 'bytes',
      'content-length': last - first + 1,
      ...(range === null ? {} : { 'content-range': `bytes ${first}-${last}/${size}` }),
    });
    if (request.method === 'HEAD') response.end();
    else createReadStream(path, { start: first, end: last, highWaterMark: 1024 ** 2 }).pipe(response);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
