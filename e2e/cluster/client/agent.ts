import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { createConnection } from 'node:net';
import type {
  ClientAnswer,
  ClientRequest,
  LoadFailure,
  LoadRequest,
  LoadResult,
  TalkRequest,
} from './messages.ts';

/**
 * The client of the cases, in a pod of the cluster: it calls services as any other pod would, through DNS, cluster
 * addresses and kube-proxy, and goes on calling while the API server, and with it whoever asked, is away.
 *
 * `POST /call` sends one request, `/call-http2` one over HTTP/2, `/talk` opens a WebSocket, `/reach` tries whether an
 * address takes connections. `POST /loads/<name>/begin` begins a load, `/state` says how it goes, `/end` ends it once
 * what is under way has been answered.
 */
const PORT = 8_080;
const DEFAULT_TIMEOUT_MS = 60_000;
const REACH_TIMEOUT_MS = 500;
const MAX_FAILURES = 100;
const MAX_LATENCIES = 2_000_000;
const MAX_TEXT = 512;

interface Load {
  readonly asked: LoadRequest;
  readonly agent: Agent;
  isEnding: boolean;
  done: Promise<unknown>;
  sent: number;
  answered: number;
  failed: number;
  readonly failures: LoadFailure[];
  readonly bodies: Record<string, number>[];
  readonly latenciesMs: number[];
  lastAnswerAtMs: number;
  longestGapMs: number;
}

const loads = new Map<string, Load>();
const single = new Agent({ keepAlive: false });

function send(asked: ClientRequest, agent: Agent): Promise<ClientAnswer> {
  const startedMs = performance.now();
  const tookMs = (): number => performance.now() - startedMs;
  return new Promise((resolve) => {
    const failed = (error: Error): void =>
      resolve({ status: 0, headers: {}, bodyBase64: '', tookMs: tookMs(), error: describe(error) });
    const body = asked.bodyBase64 === undefined ? undefined : Buffer.from(asked.bodyBase64, 'base64');
    const outgoing = request(asked.url, {
      agent,
      method: asked.method ?? (body === undefined ? 'GET' : 'POST'),
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json', 'content-length': body.length }),
        ...asked.headers,
      },
      signal: AbortSignal.timeout(asked.timeoutMs ?? DEFAULT_TIMEOUT_MS),
    });
    outgoing.once('error', failed);
    outgoing.once('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', failed);
      response.once('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: Object.fromEntries(
            Object.entries(response.headers).map(([name, value]) => [name, String(value)]),
          ),
          bodyBase64: Buffer.concat(chunks).toString('base64'),
          tookMs: tookMs(),
        }),
      );
    });
    outgoing.end(body);
  });
}

function sendHttp2(asked: ClientRequest): Promise<ClientAnswer> {
  const startedMs = performance.now();
  const url = new URL(asked.url);
  const body = Buffer.from(asked.bodyBase64 ?? '', 'base64');
  const session = connectHttp2(url.origin);
  return new Promise<ClientAnswer>((resolve) => {
    const headers: Record<string, string> = {};
    const chunks: Buffer[] = [];
    const ended = (error?: Error): void => {
      const { ':status': status = '0', ...rest } = headers;
      const tookMs = performance.now() - startedMs;
      const bodyBase64 = Buffer.concat(chunks).toString('base64');
      resolve({
        status: error === undefined ? Number(status) : 0,
        headers: rest,
        bodyBase64,
        tookMs,
        ...(error && { error: describe(error) }),
      });
    };
    session.once('error', ended);
    const stream = session.request({
      ':method': asked.method ?? (body.length > 0 ? 'POST' : 'GET'),
      ':path': `${url.pathname}${url.search}`,
      ...asked.headers,
    });
    const keep = (more: object): void => {
      for (const [name, value] of Object.entries(more)) headers[name] = String(value);
    };
    stream.setTimeout(asked.timeoutMs ?? DEFAULT_TIMEOUT_MS, () =>
      stream.destroy(new Error('no answer in time')),
    );
    stream.on('response', keep);
    stream.on('trailers', keep);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('error', ended);
    stream.once('end', () => ended());
    stream.end(body);
  }).finally(() => session.close());
}

function talk({ url, texts, timeoutMs = DEFAULT_TIMEOUT_MS }: TalkRequest): Promise<string[]> {
  const [first, ...rest] = texts;
  const heard: string[] = [];
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    const timer = setTimeout(() => {
      socket.close();
      reject(new Error(`heard ${JSON.stringify(heard)} in ${timeoutMs} ms`));
    }, timeoutMs);
    socket.addEventListener('open', () => socket.send(first ?? ''));
    socket.addEventListener('message', ({ data }) => {
      heard.push(String(data));
      const next = rest.shift();
      if (next === undefined) socket.close();
      else socket.send(next);
    });
    socket.addEventListener('error', () => reject(new Error(`the WebSocket to ${url} failed`)));
    socket.addEventListener('close', () => {
      clearTimeout(timer);
      resolve(heard);
    });
  });
}

function describe(error: Error & { code?: string }): string {
  return `${error.code ?? error.name}: ${error.message}`;
}

/** Whether an address takes a connection; nothing is sent, so nothing is woken up. */
function reaches({ url }: ClientRequest): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = createConnection({ host: hostname, port: Number(port === '' ? 80 : port) });
    const end = (isReached: boolean): void => {
      socket.destroy();
      resolve(isReached);
    };
    socket.setTimeout(REACH_TIMEOUT_MS, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

async function connection(load: Load, first: number): Promise<void> {
  const { targets, pauseMs = 0, connections } = load.asked;
  for (let turn = first; !load.isEnding; turn += connections) {
    const index = turn % targets.length;
    const target = targets[index];
    if (target === undefined) return;
    load.sent += 1;
    note(load, index, await send(target, load.agent));
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

function note(load: Load, target: number, answer: ClientAnswer): void {
  const text = Buffer.from(answer.bodyBase64, 'base64').toString('utf8');
  if (answer.status !== 200) {
    load.failed += 1;
    if (load.failures.length < MAX_FAILURES) {
      const { status, tookMs, error } = answer;
      load.failures.push({
        atMs: Date.now(),
        target,
        status,
        tookMs,
        text: error ?? text.slice(0, MAX_TEXT),
      });
    }
    return;
  }
  load.answered += 1;
  const nowMs = Date.now();
  if (load.lastAnswerAtMs > 0) load.longestGapMs = Math.max(load.longestGapMs, nowMs - load.lastAnswerAtMs);
  load.lastAnswerAtMs = nowMs;
  if (load.latenciesMs.length < MAX_LATENCIES) load.latenciesMs.push(answer.tookMs);
  const counts = load.bodies[target];
  const body = text.length > MAX_TEXT ? `${text.length} characters` : text;
  if (counts !== undefined) counts[body] = (counts[body] ?? 0) + 1;
}

function begin(name: string, asked: LoadRequest): void {
  const load: Load = {
    asked,
    agent: new Agent({ keepAlive: asked.withoutKeepAlive !== true, maxSockets: asked.connections }),
    isEnding: false,
    done: Promise.resolve(),
    sent: 0,
    answered: 0,
    failed: 0,
    failures: [],
    bodies: asked.targets.map(() => ({})),
    latenciesMs: [],
    lastAnswerAtMs: 0,
    longestGapMs: 0,
  };
  load.done = Promise.all(Array.from({ length: asked.connections }, (_, first) => connection(load, first)));
  loads.set(name, load);
}

function result(load: Load): LoadResult {
  const sorted = Float64Array.from(load.latenciesMs).sort();
  const quantile = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  const { sent, answered, failed, failures, bodies, lastAnswerAtMs, longestGapMs } = load;
  const latencyMs = { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max: quantile(1) };
  return { sent, answered, failed, failures, bodies, latencyMs, lastAnswerAtMs, longestGapMs };
}

async function answerTo(path: string, body: string): Promise<unknown> {
  if (path === '/call') return send(JSON.parse(body) as ClientRequest, single);
  if (path === '/call-http2') return sendHttp2(JSON.parse(body) as ClientRequest);
  if (path === '/talk') return talk(JSON.parse(body) as TalkRequest);
  if (path === '/reach') return reaches(JSON.parse(body) as ClientRequest);
  const [, name = '', verb] = /^\/loads\/([a-z0-9-]+)\/(begin|state|end)$/.exec(path) ?? [];
  if (verb === undefined) return { ready: true };
  if (verb === 'begin') {
    begin(name, JSON.parse(body) as LoadRequest);
    return {};
  }
  const load = loads.get(name);
  if (load === undefined) throw new Error(`there is no load ${name}`);
  if (verb === 'end') {
    load.isEnding = true;
    await load.done;
    load.agent.destroy();
    loads.delete(name);
  }
  return result(load);
}

createServer((incoming: IncomingMessage, outgoing: ServerResponse) => {
  const chunks: Buffer[] = [];
  incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
  incoming.once('end', () => {
    const [path = '/'] = (incoming.url ?? '/').split('?');
    answerTo(path, Buffer.concat(chunks).toString('utf8')).then(
      (value) => outgoing.end(JSON.stringify(value)),
      (error: unknown) => {
        outgoing.statusCode = 500;
        outgoing.end(String(error));
      },
    );
  });
}).listen(PORT, '0.0.0.0');
process.once('SIGTERM', () => process.exit(0));
