import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP proxy that lets so many bytes of answers through and then goes silent until it is told to flow. */
export class StallingProxy {
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private allowedBytes: number;

  private constructor(server: Server, allowedBytes: number) {
    this.server = server;
    this.allowedBytes = allowedBytes;
  }

  static async start(targetPort: number, allowedBytes: number): Promise<StallingProxy> {
    const server = createServer();
    const proxy = new StallingProxy(server, allowedBytes);
    server.on('connection', (client) => proxy.forward(client, connect(targetPort, '127.0.0.1')));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** From now on everything goes through. Connections that were silenced are cut. */
  flow(): void {
    this.allowedBytes = Number.POSITIVE_INFINITY;
    for (const socket of this.sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private forward(client: Socket, upstream: Socket): void {
    for (const socket of [client, upstream]) {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        this.sockets.delete(socket);
        (socket === client ? upstream : client).destroy();
      });
    }
    client.pipe(upstream);
    upstream.on('data', (bytes) => {
      if (bytes.length > this.allowedBytes) {
        upstream.pause();
        return;
      }
      this.allowedBytes -= bytes.length;
      if (!client.write(bytes)) {
        upstream.pause();
        client.once('drain', () => upstream.resume());
      }
    });
  }
}
