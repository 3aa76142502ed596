import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface IdentityRequest {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
}

/** Status and text for a request; undefined: 404. */
type Answer = (request: IdentityRequest) => { status?: number; text: string } | undefined;

/**
 * Stands for what gives out credentials in a cloud and can't be had elsewhere: token endpoints, STS, metadata
 * servers. It answers as their documentation says, and keeps what it was asked.
 */
export class IdentityServer {
  readonly seen: IdentityRequest[] = [];
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async start(answer: Answer): Promise<IdentityServer> {
    const http = createServer();
    const server = new IdentityServer(http);
    http.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method = '', url: path = '', headers } = request;
        const seen = { method, path, headers, body: Buffer.concat(chunks).toString('utf8') };
        server.seen.push(seen);
        const { status = 200, text } = answer(seen) ?? { status: 404, text: '' };
        response.writeHead(status).end(text);
      });
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get host(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  url(path = ''): string {
    return `http://${this.host}${path}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }
}
