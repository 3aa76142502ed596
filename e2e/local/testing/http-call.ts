import { type IncomingHttpHeaders, request } from 'node:http';

export interface Called {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

export interface Call {
  method?: string;
  /** The Host header. */
  host?: string;
  headers?: Record<string, string>;
  body?: unknown;
  signal?: AbortSignal;
}

/** One request on a connection of its own; `fetch` would set neither Host nor that. */
export function call(url: string, path: string, options: Call = {}): Promise<Called> {
  const { promise, resolve, reject } = Promise.withResolvers<Called>();
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  const headers = {
    ...(options.host !== undefined && { host: options.host }),
    ...(body !== undefined && {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
    }),
    ...options.headers,
  };
  const method = options.method ?? (body === undefined ? 'GET' : 'POST');
  const outgoing = request(new URL(path, url), {
    method,
    headers,
    agent: false,
    ...(options.signal !== undefined && { signal: options.signal }),
  });
  outgoing.once('error', reject);
  outgoing.once('response', (incoming) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.once('error', reject);
    incoming.once('end', () =>
      resolve({
        status: incoming.statusCode ?? 0,
        headers: incoming.headers,
        text: Buffer.concat(chunks).toString('utf8'),
      }),
    );
  });
  outgoing.end(body);
  return promise;
}
