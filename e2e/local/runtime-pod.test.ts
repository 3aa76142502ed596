import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RuntimeState } from '../../contracts/admin.ts';
import { type StatsReport, statsReportSchema } from '../../contracts/stats.ts';
import { type ClusterKeys, readKeys } from '../../controller/adapters/kube/keys.ts';
import { RuntimeAdmin } from '../../controller/adapters/runtime-admin.ts';
import { type Api, openApi } from '../../controller/api/server.ts';
import { freePort } from '../../process/free-port.ts';
import { createRegistry } from '../../process/metrics.ts';
import { chainOfSize, identity } from '../models/onnx-models.ts';
import { writeOnnxFile } from '../models/onnx-writer.ts';
import { type KeysFolder, makeKeys, opensslMissing } from './testing/certificates.ts';
import { call } from './testing/http-call.ts';
import { claimOf, TestProcess } from './testing/standby-process.ts';
import { waitFor } from './testing/wait-for.ts';

const POD = { namespace: 'demo', name: 'pool-abc12' };
const HAS_IPV6 = networkInterfaces()['lo']?.some(({ family }) => family === 'IPv6') === true;
const missing = opensslMissing();
if (missing !== undefined) test.skip(`a runtime in a pod was not tested: ${missing}`, () => undefined);

describe.skipIf(missing !== undefined)('a runtime as a pod starts it', () => {
  let folder: string;
  let folderOfKeys: KeysFolder;
  let keys: ClusterKeys;
  let ports: { serving: number; admin: number };
  let processes: TestProcess[];
  let admins: RuntimeAdmin[];
  let servers: Server[];
  let apis: Api[];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pod-'));
    folderOfKeys = makeKeys(join(folder, 'keys'));
    keys = readKeys(folderOfKeys.path);
    ports = { serving: await freePort('127.0.0.1'), admin: await freePort('127.0.0.1') };
    processes = [];
    admins = [];
    servers = [];
    apis = [];
  });
  afterEach(async () => {
    for (const admin of admins) admin.close();
    await Promise.all([...processes.map((one) => one.kill()), ...apis.map((api) => api.close())]);
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
    rmSync(folder, { recursive: true, force: true });
  });

  /** The container's command line and environment, and nothing else of the local platform. */
  function pod(env: Record<string, string> = {}, ...more: string[]): TestProcess {
    const listening = ['--host', '::', '--port', `${ports.serving}`, '--admin-port', `${ports.admin}`];
    const started = new TestProcess(
      ['--standby', ...listening, '--cache-dir', join(folder, 'cache'), ...more],
      {
        PILOTLIGHT_ADMIN_TOKEN: '',
        PILOTLIGHT_ADMIN_PUBLIC_KEY: keys.adminPublicKey,
        PILOTLIGHT_POD_NAME: POD.name,
        PILOTLIGHT_POD_NAMESPACE: POD.namespace,
        PILOTLIGHT_CONTROL_CA: keys.controlCa,
        ...env,
      },
    );
    processes.push(started);
    return started;
  }

  function adminWith(token: () => string): RuntimeAdmin {
    const admin = new RuntimeAdmin({ host: '127.0.0.1', port: ports.admin }, token);
    admins.push(admin);
    return admin;
  }

  /** Starts it and waits until it can be claimed. */
  async function start(...more: string[]): Promise<{ runtime: TestProcess; admin: RuntimeAdmin }> {
    const runtime = pod({}, ...more);
    const admin = adminWith(keys.adminTokens(POD.namespace, POD.name));
    await waitFor('the standby', async () => (await admin.state()).state === 'standby');
    return { runtime, admin };
  }

  function modelUri(name: string, model: Parameters<typeof writeOnnxFile>[1]): string {
    const [path = ''] = writeOnnxFile(join(folder, name), model);
    return pathToFileURL(path).href;
  }

  const infer = (host: string, rows: number, width: number) =>
    call(`http://${host}:${ports.serving}`, '/v2/models/test/infer', {
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

  /** Ends the wait for the next incarnation: its count tells that it isn't the one before. */
  async function recycled(admin: RuntimeAdmin, recycles: number): Promise<RuntimeState> {
    return waitFor('the next incarnation', async () => {
      const state = await admin.state();
      return state.recycles === recycles && state;
    });
  }

  test('it is claimed with signed tokens, listens at IPv6 and IPv4, and keeps its ports over recycles', async () => {
    const { runtime, admin } = await start();
    const uri = modelUri('m.onnx', identity('FLOAT'));
    const incarnations = new Set<string>();
    for (let round = 0; round < 2; round++) {
      const blank = await recycled(admin, round);
      incarnations.add(blank.incarnation);
      expect(blank).toMatchObject({ state: 'standby', recycles: round, highestEpoch: round === 0 ? 0 : 7 });
      // What a trial of batches finds in the first round would be known in the second.
      const serving = { batching: { maxBatchSize: 1, maxLatencyMs: 0 } };
      const claim = claimOf(uri, { claimId: `claim-${round}`, epoch: 7, serving });
      expect(await admin.specialise(claim, () => undefined)).toMatchObject({ event: 'ready', capacity: 1 });
      const { claimId, epoch, service, revision } = claim;
      const held = { claimId, epoch, serviceUid: service.uid, revision, capacity: 1 };
      expect(await admin.state()).toMatchObject({
        state: 'ready',
        recycles: round,
        highestEpoch: 7,
        claim: held,
      });
      expect((await infer('127.0.0.1', 1, 4)).status).toBe(200);
      if (HAS_IPV6) expect((await infer('[::1]', 1, 4)).status).toBe(200);
      else expect(runtime.stderr).toContain('no IPv6 here');
      expect(await admin.drain({ claimId, epoch, deadlineMs: 1_000 })).toBe(true);
      await admin.recycle({ claimId, epoch, deadlineMs: 0 });
    }
    await recycled(admin, 2);
    expect(incarnations.size).toBe(2);
    const listening = JSON.stringify({ listening: { port: ports.serving, adminPort: ports.admin } });
    await waitFor('three incarnations', () => runtime.stdout.trim().split('\n').length === 3);
    expect(new Set(runtime.stdout.trim().split('\n'))).toEqual(new Set([listening]));
  });

  test('tokens for another pod, of another key or of the local platform get nowhere; metrics want none', async () => {
    const { admin } = await start();
    const other = readKeys(makeKeys(join(folder, 'others')).path);
    const refused = { code: 'unauthorized' };
    await expect(adminWith(keys.adminTokens('demo', 'pool-other')).state()).rejects.toMatchObject({
      ...refused,
      message: 'expected a token for demo/pool-abc12, got one for another pod',
    });
    await expect(adminWith(other.adminTokens(POD.namespace, POD.name)).state()).rejects.toMatchObject(
      refused,
    );
    await expect(adminWith(() => 'token-of-the-test').state()).rejects.toMatchObject(refused);
    const metrics = await call(`http://127.0.0.1:${ports.admin}`, '/metrics');
    expect(metrics.text).toContain('pilotlight_process_cpu_seconds_total');
    expect((await admin.state()).state).toBe('standby');
  });

  test.each([
    ['no pod name', { PILOTLIGHT_POD_NAME: '' }, 'PILOTLIGHT_POD_NAME'],
    ['no key', { PILOTLIGHT_ADMIN_PUBLIC_KEY: '' }, 'PILOTLIGHT_ADMIN_PUBLIC_KEY'],
    ['nonsense for a key', { PILOTLIGHT_ADMIN_PUBLIC_KEY: 'nonsense' }, 'base64 of SPKI DER'],
  ])('with %s it does not start and says so', async (_what, env, said) => {
    const runtime = pod(env);
    expect(await runtime.end()).toBe(2);
    expect(runtime.stderr).toContain(said);
  });

  test('a port that is taken ends it: nobody would find it at another one', async () => {
    await start();
    const second = pod();
    expect(await second.end()).toBe(1);
    expect(second.stderr).toContain('EADDRINUSE');
  });

  test('stats go over TLS to the leader, and on to the next one as the lead moves', async () => {
    const reports: { at: string; report: StatsReport; token: string | undefined }[] = [];
    const leaderAt = async (name: string): Promise<string> => {
      const tls = {
        cert: readFileSync(folderOfKeys.tls.certFile),
        key: readFileSync(folderOfKeys.tls.keyFile),
      };
      const server = createServer(tls, (request, response) => {
        const chunks: Buffer[] = [];
        request.on('data', (chunk: Buffer) => chunks.push(chunk));
        request.on('end', () => {
          const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
          reports.push({
            at: name,
            report: statsReportSchema.parse(body),
            token: request.headers.authorization,
          });
          response.writeHead(204).end();
        });
      });
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    };
    const [first, second] = [await leaderAt('first'), await leaderAt('second')];
    const follower = await openApi({
      state: { role: 'following', leaderUrl: first },
      logger: pino({ level: 'silent' }),
      registry: createRegistry('controller'),
      host: '127.0.0.1',
      port: 0,
      tls: folderOfKeys.tls,
      isActivator: () => false,
    });
    apis.push(follower);
    const { runtime, admin } = await start();
    const uri = modelUri('m.onnx', identity('FLOAT'));
    const stats = { url: `https://127.0.0.1:${follower.port}/v1/stats`, token: 'stats-token' };
    await admin.specialise(claimOf(uri, { stats }), () => undefined);
    await waitFor('a report at the first leader', () => reports.length > 0);
    expect(reports[0]).toMatchObject({ at: 'first', token: 'Bearer stats-token' });

    servers[0]?.close();
    servers[0]?.closeAllConnections();
    follower.setState({ role: 'following', leaderUrl: second });
    await infer('127.0.0.1', 1, 4);
    const moved = await waitFor('a report at the second leader', () =>
      reports.find(({ at }) => at === 'second'),
    );
    expect(moved.report.direct.requests).toBe(1);
    expect(runtime.stderr).not.toContain('stats not delivered');

    // A new leader says the claim again: from then on its address and token count.
    const again = { url: `${second}/v1/stats`, token: 'token-of-the-new-leader' };
    await admin.specialise(claimOf(uri, { stats: again, epoch: 2 }), () => undefined);
    await infer('127.0.0.1', 1, 4);
    await waitFor('a report with the new token', () =>
      reports.some(({ token }) => token === 'Bearer token-of-the-new-leader'),
    );
  });

  test('an authority that is not the given one gets no stats', async () => {
    const others = makeKeys(join(folder, 'others'));
    let requests = 0;
    const tls = { cert: readFileSync(others.tls.certFile), key: readFileSync(others.tls.keyFile) };
    const server = createServer(tls, (_request, response) => {
      requests += 1;
      response.writeHead(204).end();
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { runtime, admin } = await start();
    const stats = { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/v1/stats`, token: 't' };
    await admin.specialise(claimOf(modelUri('m.onnx', identity('FLOAT')), { stats }), () => undefined);
    await waitFor('the warning', () => runtime.stderr.includes('stats not delivered'));
    expect(requests).toBe(0);
  });

  test('SIGTERM refuses new work with Connection: close, finishes what is in flight and exits with 0', async () => {
    const { runtime, admin } = await start('--drain-ms', '60000');
    await admin.specialise(claimOf(modelUri('large.onnx', chainOfSize(64e6))), () => undefined);
    const slow = infer('127.0.0.1', 2048, 1024);
    await waitFor('a request in flight', async () => (await admin.state()).inFlight === 1);
    runtime.child.kill('SIGTERM');
    await waitFor('draining', async () => (await admin.state()).state === 'draining');
    const refused = await infer('127.0.0.1', 1, 1024);
    expect(refused.status).toBe(503);
    expect(refused.headers).toMatchObject({ 'pilotlight-error': 'draining', connection: 'close' });
    const late = claimOf('file:///m.onnx', { claimId: 'late' });
    await expect(admin.specialise(late, () => undefined)).rejects.toMatchObject({ code: 'claim-conflict' });
    expect((await slow).status).toBe(200);
    expect(await runtime.end()).toBe(0);
  });

  test('SIGTERM just after callers were sent away still answers those who have not heard of it', async () => {
    // A deleted pod: the controller sees it and sends callers away, then the kubelet's signal comes.
    const { runtime, admin } = await start('--drain-ms', '20000');
    const claim = claimOf(modelUri('m.onnx', identity('FLOAT')));
    await admin.specialise(claim, () => undefined);
    const { claimId, epoch } = claim;
    await admin.callers({ claimId, epoch, welcome: true, lingerMs: 5_000 });
    await admin.callers({ claimId, epoch, welcome: false, lingerMs: 5_000 });
    runtime.child.kill('SIGTERM');
    let answered = 0;
    // One at a time, until it refuses: two or three are answered before a signal has arrived.
    while ((await infer('127.0.0.1', 1, 4).catch(() => undefined))?.status === 200) answered += 1;
    expect(answered).toBeGreaterThan(20);
    expect(await runtime.end()).toBe(0);
  });

  test('what takes longer than the drain is cut off', async () => {
    const { runtime, admin } = await start('--drain-ms', '50');
    await admin.specialise(claimOf(modelUri('large.onnx', chainOfSize(64e6))), () => undefined);
    const slow = infer('127.0.0.1', 2048, 1024).catch(() => 'cut off');
    await waitFor('a request in flight', async () => (await admin.state()).inFlight === 1);
    const fromMs = performance.now();
    runtime.child.kill('SIGTERM');
    expect(await runtime.end()).toBe(0);
    expect(performance.now() - fromMs).toBeLessThan(2_000);
    expect(await slow).toBe('cut off');
    expect(runtime.stderr).toContain('requests were cut off');
  });
});
