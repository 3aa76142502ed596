import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A server before a store that keeps the head of each request and hands it on. */
export class RecordingProxy {
  readonly seen: { method: string; path: string; headers: IncomingMessage['headers'] }[] = [];
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async start(endpoint: string): Promise<RecordingProxy> {
    const http = createServer();
    const proxy = new RecordingProxy(http);
    http.on('request', (incoming, response) => {
      const { method = '', url: path = '', headers } = incoming;
      proxy.seen.push({ method, path, headers });
      const outgoing = httpRequest(new URL(path, endpoint), { method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      outgoing.on('error', () => response.destroy());
      incoming.pipe(outgoing);
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }
}
