import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type RunningActivator, runActivator } from '../../activator/main.ts';
import { type Api, openApi } from '../../controller/api/server.ts';
import { resolvedService } from '../../controller/core/testing/resolved-service.ts';
import { EngineBench } from '../../controller/engine/testing/engine-bench.ts';
import { createRegistry } from '../../process/metrics.ts';
import { type KeysFolder, makeKeys, opensslMissing } from './testing/certificates.ts';
import { type Called, call } from './testing/http-call.ts';
import { TcpService } from './testing/tcp-service.ts';
import { waitFor } from './testing/wait-for.ts';

const logger = pino({ level: 'silent' });
/** A stream of routes that nobody shows the way is given up after 7 s of silence. */
const NOT_BY_TIME_OUT_MS = 5_000;
const missing = opensslMissing();
if (missing !== undefined) test.skip(`several controllers were not tested: ${missing}`, () => undefined);

/** One of two controllers: a real engine and API, and the network that leads to it alone. */
interface Controller {
  bench: EngineBench;
  api: Api;
  network: TcpService;
  /** What it is called by whoever knows that it leads. */
  url: string;
  /** Routes and reports that it was asked for with a good token. */
  asked: number;
}

describe.skipIf(missing !== undefined)('an activator and two controllers, one of which leads', () => {
  let folder: string;
  let keys: KeysFolder;
  let tokenFile: string;
  let goodToken: string;
  let controllers: Controller[];
  let service: TcpService;
  let activator: RunningActivator | undefined;
  let waiting: AbortController;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'leadership-'));
    keys = makeKeys(join(folder, 'keys'));
    tokenFile = join(folder, 'token');
    goodToken = 'token-1';
    writeFileSync(tokenFile, goodToken);
    waiting = new AbortController();
    controllers = [];
    for (let number = 0; number < 2; number++) controllers.push(await startController(number));
    service = await TcpService.start(controllers.map(({ network }) => network.port));
  });
  afterEach(async () => {
    waiting.abort();
    await activator?.stop();
    activator = undefined;
    await service.stop();
    await Promise.all(controllers.flatMap(({ api, network }) => [api.close(), network.stop()]));
    rmSync(folder, { recursive: true, force: true });
  });

  async function startController(number: number): Promise<Controller> {
    const bench = new EngineBench();
    await bench.warm();
    // Ids of a bench are numbers: without this both streams would have the same one.
    for (let restart = 0; restart < number; restart++) await bench.restart();
    bench.world.apply(resolvedService('ocr'));
    await bench.clock.settle();
    const api = await openApi({
      state: { role: 'following', leaderUrl: undefined },
      logger,
      registry: createRegistry('controller'),
      host: '127.0.0.1',
      port: 0,
      tls: keys.tls,
      isActivator: (token) => {
        if (token === goodToken) started.asked++;
        return token === goodToken;
      },
    });
    const network = await TcpService.start([api.port]);
    const started = { bench, api, network, url: `https://127.0.0.1:${network.port}`, asked: 0 };
    return started;
  }

  /** `leader` leads, the others know it. */
  function lead(leader: Controller, followers = controllers.filter((one) => one !== leader)): void {
    leader.api.setState({ role: 'leading', controller: leader.bench.controller });
    for (const { api } of followers) api.setState({ role: 'following', leaderUrl: leader.url });
  }

  async function startActivator(): Promise<void> {
    activator = await runActivator({
      host: '127.0.0.1',
      port: 0,
      metricsPort: 0,
      controllerUrl: `https://127.0.0.1:${service.port}`,
      tokenFile,
      caFile: keys.caFile,
      drainMs: 100,
      logger,
      limits: { drainLingerMs: 10 },
    });
    await waitFor(
      'the first routes',
      async () => (await ask(activator?.metricsPort, '/readyz')).status === 200,
    );
  }

  const ask = (port: number | undefined, path: string, host?: string): Promise<Called> =>
    call(`http://127.0.0.1:${port ?? 0}`, path, {
      signal: waiting.signal,
      ...(host !== undefined && { host }),
    });

  /** A request that finds no replica and waits. */
  function queue(host = 'ocr.default'): void {
    ask(activator?.port, '/', host).catch(() => undefined);
  }

  const queuedAt = ({ bench }: Controller): number =>
    bench.controller.views.services().find(({ name }) => name === 'ocr')?.queued ?? 0;

  /** The activator has what this controller tells: a service that the other one doesn't have is known. */
  async function hasRoutesOf({ bench }: Controller, name: string, deadlineMs: number): Promise<void> {
    bench.world.apply(resolvedService(name));
    await bench.clock.settle();
    await waitFor(
      `routes with ${name}`,
      async () => {
        const { text } = await ask(activator?.metricsPort, '/metrics');
        return text.includes(`service="${name}"`) || (await isKnown(name));
      },
      deadlineMs,
    );
  }

  /** A service without a replica keeps its caller waiting; one that is not known is refused at once. */
  async function isKnown(name: string): Promise<boolean> {
    const patience = AbortSignal.timeout(150);
    const answer = call(`http://127.0.0.1:${activator?.port ?? 0}`, '/', {
      host: `${name}.default`,
      signal: patience,
    });
    return answer.then(
      ({ status }) => status !== 404,
      () => true,
    );
  }

  function both(): [Controller, Controller] {
    const [first, second] = controllers;
    if (first === undefined || second === undefined) throw new Error('expected two controllers');
    return [first, second];
  }

  test('whichever is asked first, routes and demand are the leader’s', async () => {
    const [first, second] = both();
    lead(second);
    await startActivator();
    queue();
    await waitFor('the demand', () => queuedAt(second) === 1, 2_000);
    expect(queuedAt(first)).toBe(0);
    await hasRoutesOf(second, 'later', 2_000);
    expect(await isKnown('nobody')).toBe(false);
  });

  test('a leader that goes with its streams: the next one has routes and queued demand as soon as it leads', async () => {
    const [first, second] = both();
    lead(first);
    await startActivator();
    queue();
    await waitFor('the demand', () => queuedAt(first) === 1, 2_000);
    // Killed: its connections break, and for a while the other one still names it.
    await Promise.all([first.network.stop(), first.api.close()]);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const fromMs = performance.now();
    lead(second, []);
    await waitFor('the demand at the new leader', () => queuedAt(second) === 1, 5_000);
    await hasRoutesOf(second, 'later', 5_000);
    expect(performance.now() - fromMs).toBeLessThan(NOT_BY_TIME_OUT_MS);
  });

  test('a leader that leads no more but is there says who does, and streams move at once', async () => {
    const [first, second] = both();
    lead(first);
    await startActivator();
    queue();
    await waitFor('the demand', () => queuedAt(first) === 1, 2_000);
    for (const [from, to] of [
      [first, second],
      [second, first],
    ] as const) {
      const fromMs = performance.now();
      lead(to);
      from.bench.queue('uid-ocr', 'ocr-00001', 0);
      await hasRoutesOf(to, `of-${controllers.indexOf(to)}-now`, 5_000);
      await waitFor('the demand', () => queuedAt(to) === 1, 5_000);
      expect(performance.now() - fromMs).toBeLessThan(NOT_BY_TIME_OUT_MS);
    }
  });

  /** The leader's node falls silent while a request waits, and the other one leads: demand and routes are soon its own. */
  async function nodeIsLost(first: Controller, second: Controller): Promise<void> {
    queue();
    await waitFor('the demand', () => queuedAt(first) === 1, 2_000);
    first.network.freeze();
    service.backends = [second.network.port];
    const fromMs = performance.now();
    lead(second, []);
    await waitFor('the demand at the new leader', () => queuedAt(second) === 1, 5_000);
    await hasRoutesOf(second, 'later', 5_000);
    // A report is given 1 s, and a stream of routes 7 s: the report shows the stream the way.
    expect(performance.now() - fromMs).toBeLessThan(NOT_BY_TIME_OUT_MS);
  }

  test('a leader whose node is gone says nothing: the report that it owes an answer to finds the new leader', async () => {
    const [first, second] = both();
    lead(first);
    await startActivator();
    await nodeIsLost(first, second);
  });

  test('a leader that was found without being named is gone with its node: the stream follows the report as well', async () => {
    const [first, second] = both();
    lead(first);
    // Whoever answers at the configured address leads: nobody has to say where another one is.
    service.backends = [first.network.port];
    await startActivator();
    await nodeIsLost(first, second);
  });

  test('nobody leads for a while: what is queued waits, and is heard once somebody does', async () => {
    const [first, second] = both();
    lead(first);
    await startActivator();
    for (const { api } of controllers) api.setState({ role: 'following', leaderUrl: undefined });
    queue();
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect([queuedAt(first), queuedAt(second)]).toEqual([0, 0]);
    const fromMs = performance.now();
    lead(second);
    await waitFor('the demand', () => queuedAt(second) === 1, 2_000);
    expect(performance.now() - fromMs).toBeLessThan(NOT_BY_TIME_OUT_MS);
  });

  test('two that name each other are not chased: a few calls in each pause', async () => {
    const [first, second] = both();
    lead(first);
    await startActivator();
    queue();
    await waitFor('the demand', () => queuedAt(first) === 1, 2_000);
    for (const one of controllers) {
      const other = one === first ? second : first;
      one.api.setState({ role: 'following', leaderUrl: other.url });
    }
    const before = await postedReports();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const posted = (await postedReports()) - before;
    expect(posted).toBeGreaterThan(5);
    expect(posted).toBeLessThan(200);
  });

  /** Reports that were posted, by the activator's own count. */
  async function postedReports(): Promise<number> {
    const { text } = await ask(activator?.metricsPort, '/metrics');
    const lines = text
      .split('\n')
      .filter((line) => line.startsWith('pilotlight_activator_demand_posts_total{'));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  test('a token that is written anew is shown from then on, and a new authority is trusted', async () => {
    const [first] = both();
    lead(first);
    await startActivator();
    writeFileSync(tokenFile, 'token-2\n');
    goodToken = 'token-2';
    first.asked = 0;
    queue();
    await waitFor('a report with the new token', () => first.asked > 0 && queuedAt(first) === 1, 3_000);

    const next = makeKeys(join(folder, 'next'));
    for (const name of ['ca.crt', 'tls.crt', 'tls.key'])
      copyFileSync(join(next.path, name), join(keys.path, name));
    // The server looks each 5 s. A connection that is new afterwards is made with the new authority or not at all.
    await waitFor('the new certificate', () => handshakes(first.network.port, next.ca), 10_000);
    first.bench.queue('uid-ocr', 'ocr-00001', 0);
    first.asked = 0;
    for (const { api } of controllers) api.setState({ role: 'following', leaderUrl: undefined });
    lead(first);
    await waitFor('a stream with the new authority', () => first.asked > 0, 3_000);
  });
});

/** Whether whoever trusts only `ca` can talk to the controller at `port`. */
async function handshakes(port: number, ca: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host: '127.0.0.1', port, ca, servername: 'pilotlight-controller' }, () => {
    resolve(true);
    socket.destroy();
  });
  socket.once('error', () => resolve(false));
  return promise;
}
