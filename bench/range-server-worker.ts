import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';

/** A thread of its own for `serveRanges`: who fetches in this process must not share its event loop with the store. */
const port = parentPort;
const files = workerData as readonly string[];

const server = createServer((request, response) => {
  const name = basename(request.url ?? '');
  const path = files.find((file) => basename(file) === name) ?? files[0] ?? '';
  const { size } = statSync(path);
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
server.listen(0, '127.0.0.1', () => port?.postMessage((server.address() as AddressInfo).port));
