import { type AddressInfo, createConnection, createServer, type Server, type Socket } from 'node:net';

/**
 * One address in front of several ports, as a Service of Kubernetes is: each connection goes to the next one
 * that takes it. With one port behind it, it is that one's network: `freeze` is a node that is gone, which says
 * nothing any more, not even that.
 */
export class TcpService {
  /** Ports to share connections out to. */
  backends: number[];
  #server: Server;
  #next = 0;
  #isFrozen = false;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, backends: readonly number[]) {
    this.#server = server;
    this.backends = [...backends];
    server.on('connection', (client) => this.#connect(client));
  }

  static async start(backends: readonly number[]): Promise<TcpService> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return new TcpService(server, backends);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** From now on nothing comes through and nothing is closed. */
  freeze(): void {
    this.#isFrozen = true;
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  /** Ends every connection; those that are tried are refused. */
  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #connect(client: Socket): void {
    this.#keep(client);
    if (this.#isFrozen) {
      client.pause();
      return;
    }
    const port = this.backends[this.#next++ % this.backends.length];
    if (port === undefined) {
      client.destroy();
      return;
    }
    const backend = createConnection(port, '127.0.0.1');
    this.#keep(backend);
    client.pipe(backend).pipe(client);
    const endBoth = (): void => {
      if (this.#isFrozen) return;
      client.destroy();
      backend.destroy();
    };
    client.once('close', endBoth);
    backend.once('close', endBoth);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(socket));
  }
}
