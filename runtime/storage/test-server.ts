import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface SeenRequest {
  range: string | undefined;
  ifMatch: string | undefined;
  authorization: string | undefined;
  url: string;
}

/** What a handler may do with one request: answer well, or misbehave by hand. */
export interface Turn {
  request: IncomingMessage;
  response: ServerResponse;
  /** Counted from 1. */
  number: number;
  /** Answers as a good server would: ranges, ETag, If-Match. */
  serve(): void;
}

/** A real HTTP server over bytes in memory whose handler decides how to misbehave. */
export class TestServer {
  readonly seen: SeenRequest[] = [];
  content: Uint8Array;
  etag: string | undefined = '"v1"';
  lastModified: string | undefined;
  private readonly server: Server;
  private readonly origin: string;

  private constructor(server: Server, origin: string, content: Uint8Array) {
    this.origin = origin;
    this.server = server;
    this.content = content;
  }

  static async start(
    content: Uint8Array,
    handler: (turn: Turn) => void = (turn) => turn.serve(),
    tls?: { key: string; cert: string },
  ): Promise<TestServer> {
    const http = tls === undefined ? createServer() : createSecureServer(tls);
    const server = new TestServer(
      http,
      tls === undefined ? 'http://127.0.0.1' : 'https://localhost',
      content,
    );
    http.on('request', (request, response) => {
      const { range, authorization } = request.headers;
      server.seen.push({
        range,
        authorization,
        ifMatch: request.headers['if-match'],
        url: request.url ?? '',
      });
      handler({
        request,
        response,
        number: server.seen.length,
        serve: () => server.serve(request, response),
      });
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    return server;
  }

  url(path = '/model.onnx'): string {
    return `${this.origin}:${(this.server.address() as AddressInfo).port}${path}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  /** The validators of the content as it is now. */
  validators(): Record<string, string> {
    return {
      ...(this.etag === undefined ? {} : { etag: this.etag }),
      ...(this.lastModified === undefined ? {} : { 'last-modified': this.lastModified }),
    };
  }

  private serve(request: IncomingMessage, response: ServerResponse): void {
    const ifMatch = request.headers['if-match'];
    if (ifMatch !== undefined && ifMatch !== this.etag) {
      response.writeHead(412).end();
      return;
    }
    const range = parseRange(request.headers.range, this.content.length);
    if (range === undefined) {
      response.writeHead(200, { ...this.validators(), 'content-length': this.content.length });
      response.end(this.content);
      return;
    }
    if (range.first >= this.content.length) {
      response
        .writeHead(416, { ...this.validators(), 'content-range': `bytes */${this.content.length}` })
        .end();
      return;
    }
    response.writeHead(206, {
      ...this.validators(),
      'content-range': `bytes ${range.first}-${range.last}/${this.content.length}`,
      'content-length': range.last - range.first + 1,
    });
    response.end(this.content.subarray(range.first, range.last + 1));
  }
}

export function parseRange(
  header: string | undefined,
  size: number,
): { first: number; last: number } | undefined {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header ?? '');
  if (match === null) return undefined;
  return { first: Number(match[1]), last: Math.min(size - 1, Number(match[2])) };
}
