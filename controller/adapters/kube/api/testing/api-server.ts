import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { KubeAccess } from '../kube-access.ts';
import type { KubeObject, WatchEvent } from '../wire.ts';

interface Change {
  version: number;
  event: WatchEvent<KubeObject>;
}

/** How the next request is answered instead of properly; one is used up by each request. */
export type Fault =
  | { type: 'status'; status: number; body?: string; headers?: Record<string, string> }
  /** No answer at all; the connection stays open. */
  | { type: 'stall' }
  | { type: 'cut' }
  /** Begins a body and never ends it. */
  | { type: 'slow-body' };

const PATH = /\/(?:namespaces\/([^/]+)\/)?(?:things|leases|events|poddisruptionbudgets)(?:\/([^/]+))?$/;

const ITEMS_A_PAGE_MAX = 500;

/**
 * A small API server over real HTTP for one collection (things, leases, events or budgets), kept in memory: list
 * in pages with continue tokens, watch with history, bookmarks and compaction, create, replace with
 * resourceVersions, merge patch, delete with preconditions. What it does not know about Kubernetes, a test
 * against the real one has to show.
 */
export class TestApiServer {
  readonly requests: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[] =
    [];
  readonly faults: Fault[] = [];
  /** TCP connections that were opened so far. */
  connections = 0;
  /** Requests being answered now, watches not counted, and the most there were at once. */
  concurrent = 0;
  mostConcurrent = 0;
  delayMs = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #objects = new Map<string, KubeObject>();
  readonly #watches = new Set<{ response: ServerResponse; namespace: string | undefined }>();
  #history: Change[] = [];
  #version = 100;
  #compactedAt = 0;

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on('connection', (socket: Socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(): Promise<TestApiServer> {
    const server = new TestApiServer();
    await new Promise<void>((resolve) => {
      server.#server.listen(0, '127.0.0.1', resolve);
    });
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get access(): KubeAccess {
    return {
      server: this.url,
      tls: {},
      namespace: undefined,
      headers: () => Promise.resolve({ authorization: 'Bearer test' }),
      refused: () => undefined,
    };
  }

  get watches(): number {
    return this.#watches.size;
  }

  /** What the server holds, by namespace/name. */
  get objects(): ReadonlyMap<string, KubeObject> {
    return this.#objects;
  }

  put(namespace: string, name: string, labels: Record<string, string> = {}): KubeObject {
    const known = this.#objects.get(`${namespace}/${name}`);
    return this.#store({
      apiVersion: 'v1',
      kind: 'Thing',
      ...known,
      metadata: { uid: `uid-${this.#version + 1}`, ...known?.metadata, namespace, name, labels },
    });
  }

  remove(namespace: string, name: string): void {
    const key = `${namespace}/${name}`;
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    this.#tell('DELETED', this.#versioned(object));
  }

  bookmark(): void {
    for (const watch of this.#watches) {
      const object = {
        kind: 'Thing',
        apiVersion: 'v1',
        metadata: { resourceVersion: String(this.#version) },
      };
      send(watch.response, { type: 'BOOKMARK', object });
    }
  }

  /** Forgets the history, as etcd does every five minutes: older resourceVersions are gone. */
  compact(): void {
    this.#compactedAt = this.#version;
    this.#history = [];
  }

  /** Cuts every watch without a word of farewell. */
  cutWatches(): void {
    for (const { response } of this.#leaving()) response.socket?.destroy();
  }

  endWatches(): void {
    for (const { response } of this.#leaving()) response.end();
  }

  /** A watch that is told in its own stream that its version is too old. */
  expireWatches(): void {
    for (const { response } of this.#leaving()) {
      send(response, { type: 'ERROR', object: status(410, 'Expired', 'too old resource version') });
      response.end();
    }
  }

  /** All watches, which are told nothing more from now on. */
  #leaving(): { response: ServerResponse }[] {
    const leaving = [...this.#watches];
    this.#watches.clear();
    return leaving;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  #store(object: KubeObject): KubeObject {
    const key = `${object.metadata?.namespace}/${object.metadata?.name}`;
    const type = this.#objects.has(key) ? 'MODIFIED' : 'ADDED';
    const stored = this.#versioned(object);
    this.#objects.set(key, stored);
    this.#tell(type, stored);
    return stored;
  }

  #versioned(object: KubeObject): KubeObject {
    this.#version += 1;
    return { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } };
  }

  #tell(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: KubeObject): void {
    const event = { type, object };
    this.#history.push({ version: this.#version, event });
    for (const { response, namespace } of this.#watches) if (within(object, namespace)) send(response, event);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    const { method = '', url = '', headers } = request;
    this.requests.push({ method, url, headers, body });
    const fault = this.faults.shift();
    if (fault !== undefined) {
      misbehave(response, fault);
      return;
    }
    const parts = new URL(url, this.url);
    const [, namespace, name] = PATH.exec(parts.pathname) ?? [];
    if (method === 'GET' && parts.searchParams.get('watch') === 'true') {
      this.#watch(response, namespace, Number(parts.searchParams.get('resourceVersion')));
      return;
    }
    this.concurrent += 1;
    this.mostConcurrent = Math.max(this.mostConcurrent, this.concurrent);
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
    this.concurrent -= 1;
    if (method === 'GET' && name === undefined) this.#list(response, namespace, parts.searchParams);
    else this.#object(response, method, `${namespace}/${name}`, body);
  }

  #list(response: ServerResponse, namespace: string | undefined, query: URLSearchParams): void {
    const limit = Math.min(Number(query.get('limit') ?? Number.MAX_SAFE_INTEGER), ITEMS_A_PAGE_MAX);
    const [version, from] = (query.get('continue') ?? `${this.#version}:0`).split(':').map(Number);
    if (version === undefined || from === undefined || version < this.#compactedAt) {
      answer(response, 410, status(410, 'Expired', 'The provided continue parameter is too old'));
      return;
    }
    const all = [...this.#objects.values()].filter((object) => within(object, namespace));
    const unlimited = query.get('limit') === null;
    const items = unlimited ? all : all.slice(from, from + limit);
    const rest = from + items.length < all.length ? `${version}:${from + items.length}` : undefined;
    answer(response, 200, {
      kind: 'ThingList',
      apiVersion: 'v1',
      metadata: { resourceVersion: String(version), ...(rest !== undefined && { continue: rest }) },
      // Like built-in kinds: items say neither kind nor apiVersion.
      items: items.map(({ metadata }) => ({ metadata })),
    });
  }

  #watch(response: ServerResponse, namespace: string | undefined, from: number): void {
    if (from < this.#compactedAt) {
      answer(response, 410, status(410, 'Expired', 'too old resource version'));
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    for (const { version, event } of this.#history) {
      if (version > from && within(event.object, namespace)) send(response, event);
    }
    const watch = { response, namespace };
    this.#watches.add(watch);
    response.on('close', () => this.#watches.delete(watch));
  }

  #object(response: ServerResponse, method: string, key: string, body: string): void {
    const known = this.#objects.get(key);
    const sent = (body === '' ? {} : JSON.parse(body)) as KubeObject & {
      preconditions?: { uid?: string; resourceVersion?: string };
    };
    if (method === 'POST') {
      const own = `${sent.metadata?.namespace}/${sent.metadata?.name}`;
      if (this.#objects.has(own)) answer(response, 409, status(409, 'AlreadyExists', `${own} exists`));
      else answer(response, 201, this.#store(sent));
      return;
    }
    if (known === undefined) {
      answer(response, 404, status(404, 'NotFound', `${key} not found`));
      return;
    }
    const wanted = method === 'DELETE' ? sent.preconditions : sent.metadata;
    const { uid, resourceVersion } = wanted ?? {};
    const sameUid = uid === undefined || uid === known.metadata?.uid;
    const sameVersion = resourceVersion === undefined || resourceVersion === known.metadata?.resourceVersion;
    if (!sameUid || !sameVersion) {
      answer(response, 409, status(409, 'Conflict', 'the object has been modified'));
    } else if (method === 'PUT') answer(response, 200, this.#store(sent));
    else if (method === 'PATCH') {
      answer(response, 200, this.#store(merged(known, sent) as KubeObject));
    } else if (method === 'DELETE') {
      this.remove(...(key.split('/') as [string, string]));
      answer(response, 200, { kind: 'Status', status: 'Success' });
    } else answer(response, 200, known);
  }
}

/** RFC 7396. */
function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const isMap = typeof target === 'object' && target !== null && !Array.isArray(target);
  const result: Record<string, unknown> = isMap ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merged(result[key], value);
  }
  return result;
}

const within = (object: KubeObject, namespace: string | undefined): boolean =>
  namespace === undefined || object.metadata?.namespace === namespace;

const status = (code: number, reason: string, message: string): object => ({
  kind: 'Status',
  apiVersion: 'v1',
  status: 'Failure',
  code,
  reason,
  message,
});

function send(response: ServerResponse, value: unknown): void {
  response.write(`${JSON.stringify(value)}\n`);
}

function answer(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function misbehave(response: ServerResponse, fault: Fault): void {
  switch (fault.type) {
    case 'status':
      response.writeHead(fault.status, fault.headers);
      response.end(fault.body);
      return;
    case 'stall':
      return;
    case 'cut':
      response.socket?.destroy();
      return;
    case 'slow-body':
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"kind":');
      return;
  }
}
