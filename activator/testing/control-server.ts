import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DEMAND_PATH, type DemandReport, demandReportSchema } from '../../contracts/demand.ts';
import { toJsonLine } from '../../contracts/json-lines.ts';
import { ROUTES_PATH, type RoutesMessage, type ServiceRoute } from '../../contracts/routes.ts';

/**
 * The controller's side of the two contracts that an activator lives by, and nothing more: a routes stream
 * that tells what a test sets, with resume by number, and an intake that validates and keeps the reports.
 */
export class ControlServer {
  readonly reports: DemandReport[] = [];
  /** Where the routes requests so far took up the stream, as their queries have it. */
  readonly routesRequests: string[] = [];
  /** Who asked for routes, in the same order. */
  readonly readers: { activator: string | null; pod: string | null }[] = [];
  /** Status of answers to reports. */
  demandStatus = 204;
  token: string | undefined;
  stream = 'one';
  readonly #services = new Map<string, ServiceRoute>();
  readonly #changes: RoutesMessage[] = [];
  readonly #listeners = new Set<ServerResponse>();
  readonly #waiters = new Set<() => void>();
  #number = 0;
  #server: Server | undefined;
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /** Starts, at the same port as before where there was one. */
  async start(): Promise<void> {
    const server = createServer((request, response) => this.#answer(request, response));
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
    this.#listeners.clear();
  }

  /** Forgets all, as a restarted controller does. */
  forget(stream: string): void {
    this.stream = stream;
    this.#number = 0;
    this.#changes.length = 0;
    this.#services.clear();
  }

  put(service: ServiceRoute): void {
    this.#services.set(service.uid, service);
    this.#change({ type: 'service', number: ++this.#number, service });
  }

  remove(uid: string): void {
    this.#services.delete(uid);
    this.#change({ type: 'removed', number: ++this.#number, uid });
  }

  /** Sends any message to all listeners, right or wrong. */
  send(message: RoutesMessage): void {
    for (const listener of this.#listeners) listener.write(toJsonLine(message));
  }

  heartbeat(): void {
    this.send({ type: 'heartbeat', number: this.#number });
  }

  /** Resolves when a report, one that came already included, fulfils the condition. */
  async report(condition: (report: DemandReport) => boolean): Promise<DemandReport> {
    return new Promise((resolve) => {
      const check = (): void => {
        const found = this.reports.find(condition);
        if (found === undefined) return;
        this.#waiters.delete(check);
        resolve(found);
      };
      this.#waiters.add(check);
      check();
    });
  }

  #change(message: RoutesMessage): void {
    this.#changes.push(message);
    this.send(message);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
      response.writeHead(401).end();
      return;
    }
    const url = new URL(request.url ?? '/', 'http://controller');
    if (url.pathname === DEMAND_PATH && request.method === 'POST') this.#takeReport(request, response);
    else if (url.pathname === ROUTES_PATH && request.method === 'GET') this.#stream(url, response);
    else response.writeHead(404).end();
  }

  #takeReport(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      response.writeHead(this.demandStatus).end();
      if (this.demandStatus >= 300) return;
      this.reports.push(demandReportSchema.parse(JSON.parse(Buffer.concat(chunks).toString('utf8'))));
      for (const check of this.#waiters) check();
    });
  }

  #stream(url: URL, response: ServerResponse): void {
    this.readers.push({ activator: url.searchParams.get('activator'), pod: url.searchParams.get('pod') });
    url.searchParams.delete('activator');
    url.searchParams.delete('pod');
    this.routesRequests.push(url.search);
    response.writeHead(200, { 'content-type': 'application/jsonl' });
    const after = Number(url.searchParams.get('after') ?? -1);
    if (url.searchParams.get('stream') === this.stream && after >= 0 && after <= this.#number) {
      for (const change of this.#changes) if (change.number > after) response.write(toJsonLine(change));
      response.write(toJsonLine({ type: 'heartbeat', number: this.#number }));
    } else {
      const services = [...this.#services.values()];
      const snapshot: RoutesMessage = {
        type: 'snapshot',
        stream: this.stream,
        number: this.#number,
        services,
      };
      response.write(toJsonLine(snapshot));
    }
    this.#listeners.add(response);
    response.on('close', () => this.#listeners.delete(response));
  }
}

/** A service `demo/ocr` with one revision `ocr-1`; endpoints as `host:port`, capacity 4 each. */
export function serviceRoute(
  endpoints: readonly string[],
  changes: Partial<ServiceRoute> & { capacity?: number; kind?: 'runtime' | 'http' } = {},
): ServiceRoute {
  const { capacity = 4, kind = 'runtime', ...route } = changes;
  return {
    uid: 'uid-ocr',
    namespace: 'demo',
    name: 'ocr',
    hosts: ['ocr.demo', 'ocr.demo.localhost'],
    models: ['ocr'],
    startTimeoutMs: 10_000,
    requestTimeoutMs: 10_000,
    queue: { maxRequests: 100, maxBytes: 100_000_000 },
    retryAll: false,
    revisions: [
      {
        name: 'ocr-1',
        weightPercent: 100,
        kind,
        endpoints: endpoints.map((address) => ({ id: `replica ${address}`, address, capacity })),
      },
    ],
    ...route,
  };
}
