import type { Socket } from 'node:net';

/** HTTP/1.1 connections over which callers came straight here, and how many requests are open on each. */
export class DirectConnections {
  readonly #open = new Map<Socket, number>();

  /** A request begins; `ended` is to be called once when its answer is out. */
  begin(socket: Socket): () => void {
    const known = this.#open.get(socket);
    if (known === undefined) socket.once('close', () => this.#open.delete(socket));
    this.#open.set(socket, (known ?? 0) + 1);
    return () => {
      const count = this.#open.get(socket);
      if (count !== undefined) this.#open.set(socket, count - 1);
    };
  }

  /** Closes those that rest. One with a request open is told with its answer. */
  closeResting(): void {
    for (const [socket, count] of this.#open) if (count === 0) socket.end();
  }
}
