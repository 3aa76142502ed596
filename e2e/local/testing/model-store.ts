import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What a path of the store answers: the bytes of a model, a status, or nothing until the test says so.
 * `held` sends the head and half of the bytes, and the rest when it is released.
 */
export type StoreAnswer =
  | { kind: 'bytes'; bytes: Buffer }
  | { kind: 'status'; status: number }
  | { kind: 'held'; bytes: Buffer };

/** An HTTP store of models that behaves as a test wants it to, path by path. */
export class ModelStore {
  readonly #answers = new Map<string, StoreAnswer>();
  readonly #held = new Map<string, (() => void)[]>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  static async open(): Promise<ModelStore> {
    const store = new ModelStore();
    await new Promise<void>((resolve) => store.#server.listen(0, '127.0.0.1', resolve));
    return store;
  }

  url(path: string): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/${path}`;
  }

  set(path: string, answer: StoreAnswer): void {
    this.#answers.set(path, answer);
  }

  /** How many requests hang on this path now. */
  waiting(path: string): number {
    return this.#held.get(path)?.length ?? 0;
  }

  /** Sends the rest of what is held at this path, and all of it from now on. */
  release(path: string): void {
    const answer = this.#answers.get(path);
    if (answer?.kind === 'held') this.#answers.set(path, { kind: 'bytes', bytes: answer.bytes });
    for (const send of this.#held.get(path) ?? []) send();
    this.#held.delete(path);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '/').slice(1);
    const answer = this.#answers.get(path) ?? { kind: 'status', status: 404 };
    if (answer.kind === 'status') {
      response.writeHead(answer.status).end();
      return;
    }
    const { bytes } = answer;
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const first = Number(range?.[1] ?? 0);
    const last = Math.min(bytes.length - 1, range?.[2] ? Number(range[2]) : bytes.length - 1);
    const part = bytes.subarray(first, last + 1);
    response.writeHead(range === null ? 200 : 206, {
      'content-length': part.length,
      'accept-ranges': 'bytes',
      etag: '"1"',
      ...(range !== null && { 'content-range': `bytes ${first}-${last}/${bytes.length}` }),
    });
    if (answer.kind === 'bytes') {
      response.end(part);
      return;
    }
    response.write(part.subarray(0, part.length >> 1));
    const send = (): void => {
      response.end(part.subarray(part.length >> 1));
    };
    const waiting = this.#held.get(path) ?? [];
    this.#held.set(path, [...waiting, send]);
    response.once('close', () => {
      const left = (this.#held.get(path) ?? []).filter((one) => one !== send);
      this.#held.set(path, left);
    });
  }
}
