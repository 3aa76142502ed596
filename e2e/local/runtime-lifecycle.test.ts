import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { SpecialiseEvent } from '../../contracts/admin.ts';
import { statsReportSchema } from '../../contracts/stats.ts';
import { holdLifeline } from '../../process/lifeline.ts';
import { chainOfSize, identity, matMulChain, unsupportedOperator } from '../models/onnx-models.ts';
import { writeOnnxFile } from '../models/onnx-writer.ts';
import { TEXT_RECOGNISER } from '../models/real-models.ts';
import { call } from './testing/http-call.ts';
import { ModelStore } from './testing/model-store.ts';
import { claimOf, StandbyProcess, TestProcess } from './testing/standby-process.ts';
import { waitFor } from './testing/wait-for.ts';

const RECOGNISER_URI = pathToFileURL(TEXT_RECOGNISER).href;

let folder: string;
let running: TestProcess[];
let servers: Server[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lifecycle-'));
  running = [];
  servers = [];
});
afterEach(async () => {
  await Promise.all(running.map((runtime) => runtime.kill()));
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
  rmSync(folder, { recursive: true, force: true });
});

async function standby(...more: string[]): Promise<StandbyProcess> {
  const started = await StandbyProcess.start(folder, ...more);
  running.push(started);
  return started;
}

function program(args: readonly string[], env: NodeJS.ProcessEnv = {}): TestProcess {
  const started = new TestProcess(args, env);
  running.push(started);
  return started;
}

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function modelUri(name: string, model: Parameters<typeof writeOnnxFile>[1]): string {
  const [path = ''] = writeOnnxFile(join(folder, name), model);
  return pathToFileURL(path).href;
}

const names = (events: readonly SpecialiseEvent[]): string[] => events.map(({ event }) => event);
const infer = (runtime: StandbyProcess, rows: number, width: number) =>
  call(runtime.serving, '/v2/models/test/infer', {
    body: {
      inputs: [
        {
          name: 'x',
          datatype: 'FP32',
          shape: [rows, width],
          data: Array.from({ length: rows * width }, () => 1),
        },
      ],
    },
  });

test('a standby is idle below 120 MB once its program is read compiled, and tells where it listens', async () => {
  const first = await standby();
  const claim = claimOf(modelUri('m.onnx', identity('FLOAT')));
  await first.specialise(claim);
  let record = await first.recycle('claim-1');
  expect(record).toMatchObject({ pid: first.pid, host: '127.0.0.1', id: record.incarnation });
  expect(record.startTimeTicks).toBeGreaterThan(0);
  // A fresh machine has nothing compiled: the claim cut the first incarnation's rehearsal short, so the second
  // may be the one that compiles what it needs, which costs 10 to 25 MB for good. The third has all of it.
  let incarnations = 2;
  const isSmall = (): boolean => first.status('VmRSS') < 120e6;
  if (!(await waitFor('less than 120 MB resident', isSmall, 10_000).catch(() => false))) {
    await first.specialise(claim);
    record = await first.recycle('claim-1');
    incarnations += 1;
    await waitFor('less than 120 MB resident', isSmall);
  }
  expect((await call(first.serving, '/v2/health/live')).status).toBe(200);
  expect((await call(first.serving, '/v2/health/ready')).status).toBe(503);
  const listening = first.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
  expect(listening).toEqual(
    Array.from({ length: incarnations }, () => ({
      listening: { port: record.servingPort, adminPort: record.adminPort },
    })),
  );
});

test('a fetch that was given up holds nothing once its process has replaced itself', async () => {
  const store = await ModelStore.open();
  try {
    const [path = ''] = writeOnnxFile(join(folder, 'slow.onnx'), identity('FLOAT'));
    store.set('slow.onnx', { kind: 'held', bytes: readFileSync(path) });
    const uri = store.url('slow.onnx');
    const runtime = await standby();
    for (let n = 0; n < 3; n++) {
      const events = await runtime.specialise(claimOf(uri, { startTimeoutMs: 300 }));
      expect(events.at(-1)).toMatchObject({ event: 'failed', code: 'model-load-timeout' });
      await runtime.recycle('claim-1');
    }
    store.release('slow.onnx');
    // Of a lock that was left behind another process would wait for minutes.
    const other = await standby();
    const events = await other.specialise(claimOf(uri, { startTimeoutMs: 20_000 }));
    expect(events.at(-1)).toMatchObject({ event: 'ready' });
  } finally {
    await store.close();
  }
});

test('a claim brings the model up, phase by phase, and the replica serves it', async () => {
  const runtime = await standby();
  const events = await runtime.specialise(claimOf(RECOGNISER_URI, { warmUp: 'run' }));
  expect(names(events)).toEqual(['claimed', 'fetched', 'created', 'warmed', 'ready']);
  const elapsed = events.map(({ elapsedMs }) => elapsedMs);
  expect(elapsed).toEqual(elapsed.toSorted((a, b) => a - b));
  expect(events[1]).toMatchObject({ sizeBytes: 10_822_323, cached: true });
  expect(events[4]).toMatchObject({ capacity: 1 });
  const answer = await call(runtime.serving, '/v2/models/test');
  expect(JSON.parse(answer.text)).toMatchObject({ name: 'test', inputs: [{ name: 'x', datatype: 'FP32' }] });
  const metrics = await call(`http://127.0.0.1:${runtime.record()?.adminPort}`, '/metrics');
  expect(metrics.text).toMatch(/pilotlight_runtime_model_load_seconds_count\{.*phase="created".*\} 1/);
});

test('where a request waits there is no warm-up run', async () => {
  const runtime = await standby();
  expect(names(await runtime.specialise(claimOf(RECOGNISER_URI)))).toEqual([
    'claimed',
    'fetched',
    'created',
    'ready',
  ]);
});

test('the first claim wins; the same one again gets its events from the start; others and older epochs get 409', async () => {
  const runtime = await standby();
  const claim = claimOf(modelUri('m.onnx', identity('FLOAT')), { epoch: 5 });
  const [first, again, other] = await Promise.all([
    runtime.admin('/admin/specialise', claim),
    runtime.admin('/admin/specialise', claim),
    runtime.admin('/admin/specialise', { ...claim, claimId: 'claim-2' }),
  ]);
  expect([first.status, again.status, other.status]).toEqual([200, 200, 409]);
  expect(again.text).toBe(first.text);
  expect(other.headers['pilotlight-error']).toBe('claim-conflict');
  const stale = await runtime.admin('/admin/specialise', { ...claim, epoch: 4 });
  expect([stale.status, stale.headers['pilotlight-error']]).toEqual([409, 'stale-epoch']);
  expect((await runtime.admin('/admin/drain', { claimId: 'claim-1', epoch: 4, deadlineMs: 0 })).status).toBe(
    409,
  );
  expect((await runtime.admin('/admin/drain', { claimId: 'claim-2', epoch: 5, deadlineMs: 0 })).status).toBe(
    409,
  );
  expect(
    (await runtime.admin('/admin/recycle', { claimId: 'claim-1', epoch: 5, deadlineMs: 0 })).status,
  ).toBe(409);
  expect(await runtime.state()).toMatchObject({ state: 'ready', claim: { claimId: 'claim-1', capacity: 1 } });
});

test('breaking the connection does not stop the load', async () => {
  const runtime = await standby();
  const abort = new AbortController();
  const broken = call(`http://127.0.0.1:${runtime.record()?.adminPort}`, '/admin/specialise', {
    headers: { authorization: 'Bearer token-of-the-test' },
    body: claimOf(RECOGNISER_URI),
    signal: abort.signal,
  });
  await waitFor('the claim', async () => (await runtime.state()).state !== 'standby');
  abort.abort();
  await expect(broken).rejects.toThrow();
  await waitFor('the model', async () => (await runtime.state()).state === 'ready');
});

test('the admin port wants its token, a body that fits, and at most 1 MiB of it', async () => {
  const runtime = await standby();
  const refused = await runtime.admin('/admin/state', undefined, 'another');
  expect([refused.status, refused.headers['pilotlight-error']]).toEqual([401, 'unauthorized']);
  const wrong = await runtime.admin('/admin/specialise', {
    ...claimOf('file:///m'),
    epoch: -1,
    warmUp: 'maybe',
  });
  expect(wrong.status).toBe(400);
  expect(wrong.text).toMatch(/epoch.*warmUp/s);
  const large = await runtime.admin('/admin/specialise', { claimId: 'x'.repeat(1_100_000) });
  expect([large.status, large.headers['pilotlight-error']]).toEqual([413, 'body-too-large']);
  expect((await runtime.admin('/admin/nothing')).status).toBe(404);
  expect((await runtime.admin('/admin/drain')).status).toBe(405);
  expect((await runtime.state()).state).toBe('standby');
});

test('a drain lets the request in flight finish and refuses new ones; a recycle leaves nothing behind', async () => {
  // Without room for its weights outside the graph: mapped, they would be no memory of the process.
  const runtime = await standby('--cache-max-bytes', '1000');
  await runtime.specialise(claimOf(modelUri('large.onnx', chainOfSize(64e6))));
  const before = { ...runtime.record() };
  const environment = readFileSync(`/proc/${runtime.pid}/environ`, 'utf8').split('\0');
  // 512 rows of 1,024 through 16 layers take this long enough to be in flight when the drain comes.
  const slow = infer(runtime, 512, 1024);
  await waitFor('a request in flight', async () => {
    const state = JSON.parse((await runtime.admin('/admin/state')).text) as { inFlight: number };
    return state.inFlight === 1;
  });
  const drained = runtime.admin('/admin/drain', { claimId: 'claim-1', epoch: 1, deadlineMs: 20_000 });
  await waitFor('draining', async () => (await runtime.state()).state === 'draining');
  const refused = await infer(runtime, 1, 1024);
  expect([refused.status, refused.headers['pilotlight-error']]).toEqual([503, 'draining']);
  expect((await slow).status).toBe(200);
  expect(JSON.parse((await drained).text)).toEqual({ drained: true });
  const loadedBytes = runtime.status('RssAnon');
  const after = await runtime.recycle('claim-1');
  expect(after).toMatchObject({
    pid: before.pid,
    startTimeTicks: before.startTimeTicks,
    servingPort: before.servingPort,
    adminPort: before.adminPort,
  });
  expect((await runtime.state()).state).toBe('standby');
  await waitFor('the memory of the model to be gone', () => runtime.status('RssAnon') < loadedBytes - 64e6);
  const nextEnvironment = readFileSync(`/proc/${runtime.pid}/environ`, 'utf8').split('\0');
  expect(nextEnvironment.filter((entry) => !entry.startsWith('NODE_COMPILE_CACHE='))).toEqual(
    environment.filter((entry) => !entry.startsWith('NODE_COMPILE_CACHE=')),
  );
  // Standard error still is the pipe that it was.
  expect(runtime.stderr.match(/"msg":"listening"/g)).toHaveLength(2);
  expect(names(await runtime.specialise(claimOf(RECOGNISER_URI, { claimId: 'claim-2' }))).at(-1)).toBe(
    'ready',
  );
}, 60_000);

test('an epoch that was seen is remembered over a recycle', async () => {
  const runtime = await standby();
  const uri = modelUri('m.onnx', identity('FLOAT'));
  await runtime.specialise(claimOf(uri, { epoch: 7 }));
  await runtime.recycle('claim-1', 7);
  const stale = await runtime.admin('/admin/specialise', claimOf(uri, { claimId: 'claim-2', epoch: 6 }));
  expect(stale.headers['pilotlight-error']).toBe('stale-epoch');
});

test('a runtime whose inference hangs can be recycled all the same', async () => {
  const runtime = await standby();
  const uri = modelUri('slow.onnx', matMulChain({ layers: 64, width: 512 }));
  await runtime.specialise(claimOf(uri, { serving: { requestTimeoutMs: 200 } }));
  const hung = await infer(runtime, 4000, 512);
  expect([hung.status, hung.headers['pilotlight-error']]).toEqual([504, 'inference-timeout']);
  await runtime.recycle('claim-1', 1, 100);
  expect((await runtime.state()).state).toBe('standby');
}, 60_000);

test.each([
  ['a model that is not there', 'model-not-found', () => 'file:///nowhere/model.onnx'],
  [
    'an operator that is not known',
    'model-unsupported-operator',
    () => modelUri('flash.onnx', unsupportedOperator()),
  ],
])(
  '%s fails the claim by name, calls get 503 with it, and the runtime can be recycled',
  async (_, code, uri) => {
    const runtime = await standby();
    const events = await runtime.specialise(claimOf(uri()));
    expect(events.at(-1)).toMatchObject({ event: 'failed', code });
    expect(JSON.parse((await runtime.admin('/admin/state')).text)).toMatchObject({
      state: 'failed',
      failure: { code },
    });
    const refused = await infer(runtime, 1, 4);
    expect([refused.status, refused.headers['pilotlight-error']]).toEqual([503, 'load-failed']);
    await runtime.recycle('claim-1');
    expect((await runtime.state()).state).toBe('standby');
  },
);

test('a store that forbids the model is named', async () => {
  const url = await serve((_request, response) => response.writeHead(403).end());
  const runtime = await standby();
  const events = await runtime.specialise(claimOf(`${url}/m.onnx`));
  expect(events.at(-1)).toMatchObject({ event: 'failed', code: 'model-forbidden' });
});

/** Answers with the head of a model and then nothing. */
const stall = (_request: IncomingMessage, response: ServerResponse): void => {
  response.writeHead(200, { 'content-length': '1000000', etag: '"a"' });
  response.write(readFileSync(TEXT_RECOGNISER).subarray(0, 1000));
};

test('a store that stalls costs the start timeout and no more, and the phase is named', async () => {
  const url = await serve(stall);
  const runtime = await standby();
  const startedMs = performance.now();
  const events = await runtime.specialise(claimOf(`${url}/m.onnx`, { startTimeoutMs: 700 }));
  expect(performance.now() - startedMs).toBeLessThan(5_000);
  expect(events.at(-1)).toMatchObject({ event: 'failed', code: 'model-load-timeout' });
  expect(events.at(-1)).toHaveProperty('message', expect.stringMatching(/700 ms.*being fetched/));
  await runtime.recycle('claim-1');
  expect(names(await runtime.specialise(claimOf(RECOGNISER_URI, { claimId: 'b' }))).at(-1)).toBe('ready');
});

test('a session that takes longer than the start timeout fails the claim, and the runtime can be recycled', async () => {
  const uri = modelUri('large.onnx', chainOfSize(400e6));
  const runtime = await standby();
  const events = await runtime.specialise(claimOf(uri, { startTimeoutMs: 60 }));
  expect(events.at(-1)).toMatchObject({ event: 'failed', code: 'model-load-timeout' });
  await runtime.recycle('claim-1');
  expect((await runtime.state()).state).toBe('standby');
}, 60_000);

test('a drain gives a load up', async () => {
  const url = await serve(stall);
  const runtime = await standby();
  const loading = runtime.specialise(claimOf(`${url}/m.onnx`));
  await waitFor('the claim', async () => (await runtime.state()).state === 'specialising');
  const { text } = await runtime.admin('/admin/drain', { claimId: 'claim-1', epoch: 1, deadlineMs: 1000 });
  expect(JSON.parse(text)).toEqual({ drained: true });
  expect((await loading).at(-1)).toMatchObject({ event: 'failed', code: 'draining' });
  await runtime.recycle('claim-1');
});

test('a runtime killed in the middle of a fetch leaves a cache that the next one uses', async () => {
  const bytes = readFileSync(TEXT_RECOGNISER);
  let whole = false;
  const url = await serve((request, response) => {
    const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '');
    const first = Number(range?.[1] ?? 0);
    const last = range?.[2] ? Number(range[2]) : bytes.length - 1;
    response.writeHead(range === null ? 200 : 206, {
      etag: '"one"',
      'content-length': last - first + 1,
      ...(range === null ? {} : { 'content-range': `bytes ${first}-${last}/${bytes.length}` }),
    });
    if (request.method === 'HEAD') response.end();
    else if (whole) response.end(bytes.subarray(first, last + 1));
    else response.write(bytes.subarray(first, first + Math.floor((last - first) / 2)));
  });
  const victim = await standby();
  const loading = victim.specialise(claimOf(`${url}/m.onnx`)).catch((error: unknown) => error);
  await waitFor('the fetch to begin', async () => (await victim.state()).state === 'specialising');
  await victim.kill();
  expect(await loading).toBeInstanceOf(Error);
  whole = true;
  const next = await standby();
  const events = await next.specialise(claimOf(`${url}/m.onnx`));
  expect(names(events).at(-1)).toBe('ready');
  // And the bytes stay for the incarnation after it, which asks no store.
  const fetched = events.find((event) => event.event === 'fetched');
  if (fetched?.event !== 'fetched') throw new Error('expected the fetched event');
  const { identity: known } = fetched;
  await next.recycle('claim-1');
  for (const server of servers) server.closeAllConnections();
  servers.forEach((server) => server.close());
  const cached = await next.specialise(
    claimOf(`${url}/m.onnx`, {
      claimId: 'again',
      model: { name: 'test', uri: `${url}/m.onnx`, identity: known },
    }),
  );
  expect(cached.find(({ event }) => event === 'fetched')).toMatchObject({ cached: true });
  expect(names(cached).at(-1)).toBe('ready');
  const state = JSON.parse((await next.admin('/admin/state')).text) as { cachedModels: string[] };
  expect(state.cachedModels).toEqual([`${url}/m.onnx`]);
}, 60_000);

test('stats go to the controller with the token of the claim, cumulative and numbered', async () => {
  const reports: { authorization: string | undefined; body: unknown }[] = [];
  const url = await serve((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      reports.push({
        authorization: request.headers.authorization,
        body: JSON.parse(Buffer.concat(chunks).toString('utf8')),
      });
      response.writeHead(204).end();
    });
  });
  const runtime = await standby();
  const stats = { url: `${url}/v1/stats`, token: 'stats-token' };
  await runtime.specialise(claimOf(modelUri('m.onnx', identity('FLOAT')), { stats }));
  await infer(runtime, 1, 4);
  await infer(runtime, 1, 4);
  const last = await waitFor('a report of both requests', () => {
    const { body } = reports.at(-1) ?? {};
    const report = statsReportSchema.safeParse(body).data;
    return report?.direct.requests === 2 ? report : undefined;
  });
  expect(last).toMatchObject({
    claimId: 'claim-1',
    serviceUid: 'uid-1',
    revision: 'test-00001',
    incarnation: runtime.record()?.incarnation,
    proxied: { requests: 0 },
  });
  expect(last.direct.requestSeconds).toBeGreaterThan(0);
  expect(new Set(reports.map(({ authorization }) => authorization))).toEqual(new Set(['Bearer stats-token']));
  const sequences = reports.map(({ body }) => statsReportSchema.parse(body).sequence);
  expect(sequences).toEqual(sequences.map((_, index) => index));
});

test('a runtime ends when whoever holds its lifeline is gone, after a recycle too', async () => {
  const path = join(folder, 'line');
  const lifeline = await holdLifeline(path);
  const runtime = await standby('--lifeline', path, '--lifeline-grace-ms', '100');
  await runtime.specialise(claimOf(modelUri('m.onnx', identity('FLOAT'))));
  await runtime.recycle('claim-1');
  await lifeline.close();
  expect(await runtime.end()).toBe(0);
});

test('a holder that is back within the grace time keeps the runtime', async () => {
  const path = join(folder, 'line');
  const first = await holdLifeline(path);
  const runtime = await standby('--lifeline', path, '--lifeline-grace-ms', '5000');
  await first.close();
  const second = await holdLifeline(path);
  // Nothing is to happen, so there is nothing to wait for: several of the follower's tries, 50 ms apart.
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect((await runtime.state()).state).toBe('standby');
  await second.close();
});

async function endsQuickly(runtime: TestProcess, signal: NodeJS.Signals): Promise<number | string | null> {
  const startedMs = performance.now();
  runtime.child.kill(signal);
  const code = await runtime.end();
  expect(performance.now() - startedMs).toBeLessThan(5_000);
  return code;
}

test('SIGTERM ends a standby', async () => {
  expect(await endsQuickly(await standby(), 'SIGTERM')).toBe(0);
});

test('SIGTERM ends a runtime that waits for a store', async () => {
  const url = await serve(stall);
  const runtime = await standby();
  runtime.specialise(claimOf(`${url}/m.onnx`)).catch(() => undefined);
  await waitFor('the claim', async () => (await runtime.state()).state === 'specialising');
  expect(await endsQuickly(runtime, 'SIGTERM')).toBe(0);
});

test('SIGTERM ends a runtime inside ONNX Runtime, creating a session', async () => {
  const uri = modelUri('large.onnx', chainOfSize(400e6));
  // Without room for its weights outside the graph, which would be mapped in milliseconds.
  const runtime = await standby('--cache-max-bytes', '1000');
  runtime.specialise(claimOf(uri)).catch(() => undefined);
  await waitFor('the files', () => runtime.status('VmRSS') > 200e6);
  expect(await endsQuickly(runtime, 'SIGTERM')).toBe(0);
}, 60_000);

test('SIGTERM ends a runtime whose inference takes longer than the drain', async () => {
  const runtime = await standby();
  await runtime.specialise(claimOf(modelUri('slow.onnx', matMulChain({ layers: 200, width: 512 }))));
  infer(runtime, 4000, 512).catch(() => undefined);
  await waitFor('the run', async () => {
    const state = JSON.parse((await runtime.admin('/admin/state')).text) as { inFlight: number };
    return state.inFlight === 1;
  });
  expect(await endsQuickly(runtime, 'SIGTERM')).toBe(0);
}, 60_000);

test('SIGTERM lets the request in flight have its answer', async () => {
  const runtime = await standby();
  await runtime.specialise(claimOf(modelUri('large.onnx', chainOfSize(64e6))));
  const slow = infer(runtime, 128, 1024);
  await waitFor('a request in flight', async () => {
    const state = JSON.parse((await runtime.admin('/admin/state')).text) as { inFlight: number };
    return state.inFlight === 1;
  });
  expect(await endsQuickly(runtime, 'SIGTERM')).toBe(0);
  expect((await slow).status).toBe(200);
});

test('a server on its own loads its model at start, warmed, and needs no token', async () => {
  const args = ['--model', TEXT_RECOGNISER, '--name', 'ocr', '--port', '0', '--cache-dir', join(folder, 'c')];
  const runtime = program(args, { PILOTLIGHT_ADMIN_TOKEN: '' });
  const line = await waitFor('its line', () => /^\{"listening".*$/m.exec(runtime.stdout)?.[0]);
  const { listening } = JSON.parse(line) as { listening: { port: number } };
  const ready = await call(`http://127.0.0.1:${listening.port}`, '/v2/models/ocr/ready');
  expect(ready.status).toBe(200);
  expect(await endsQuickly(runtime, 'SIGTERM')).toBe(0);
});

test('a server on its own whose model can’t be loaded exits with 1 and one line that says why', async () => {
  const args = ['--model', join(folder, 'none.onnx'), '--port', '0', '--cache-dir', join(folder, 'c')];
  const runtime = program(args, { PILOTLIGHT_LOG_LEVEL: 'silent' });
  expect(await runtime.end()).toBe(1);
  expect(runtime.stderr.trim().split('\n')).toEqual([
    expect.stringMatching(/^pilotlight runtime: .*none\.onnx/),
  ]);
});

test('a mistake on the command line exits with 2, a port in use with 1', async () => {
  const wrong = program(['--standby', '--port', 'http']);
  expect(await wrong.end()).toBe(2);
  expect(wrong.stderr).toMatch(/--port: expected a whole number from 0 to 65535, got 'http'/);
  const tokenless = program(['--standby'], { PILOTLIGHT_ADMIN_TOKEN: '' });
  expect(await tokenless.end()).toBe(2);
  expect(tokenless.stderr).toMatch(/PILOTLIGHT_ADMIN_TOKEN/);
  const url = await serve((_request, response) => response.end());
  const taken = program(['--model', TEXT_RECOGNISER, '--port', new URL(url).port]);
  expect(await taken.end()).toBe(1);
  expect(taken.stderr).toMatch(/EADDRINUSE/);
});
