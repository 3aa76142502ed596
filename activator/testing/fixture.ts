import { pino } from 'pino';
import { afterEach, beforeEach, expect } from 'vitest';
import { type RunningActivator, runActivator } from '../main.ts';
import type { ActivatorOptions } from '../settings.ts';
import { ControlServer } from './control-server.ts';
import { call, type Replica, startReplica } from './replica.ts';

export interface Fixture {
  readonly control: ControlServer;
  /** Starts an activator and waits until it is ready. */
  start(options?: Partial<ActivatorOptions>): Promise<RunningActivator>;
  replica(...handlers: Parameters<typeof startReplica>): Promise<Replica>;
  /** Metrics as text. */
  metrics(activator: RunningActivator): Promise<string>;
}

/** An activator in this process between a real control server and real replicas, new for each test. */
export function useFixture(): Fixture {
  let control: ControlServer;
  const replicas: Replica[] = [];
  const activators: RunningActivator[] = [];
  beforeEach(async () => {
    control = new ControlServer();
    await control.start();
  });
  afterEach(async () => {
    await Promise.all(activators.splice(0).map((activator) => activator.stop()));
    await Promise.all(replicas.splice(0).map((one) => one.kill()));
    await control.stop();
  });
  return {
    get control() {
      return control;
    },
    start: async (options = {}) => {
      const activator = await runActivator({
        host: '127.0.0.1',
        port: 0,
        metricsPort: 0,
        controllerUrl: control.url,
        drainMs: 300,
        logger: pino({ level: 'silent' }),
        ...options,
        limits: { drainLingerMs: 20, ...options.limits },
      });
      activators.push(activator);
      await expect
        .poll(async () => (await call(activator.metricsPort ?? 0, { path: '/readyz' }).answer).status)
        .toBe(200);
      return activator;
    },
    replica: async (...handlers) => {
      const started = await startReplica(...handlers);
      replicas.push(started);
      return started;
    },
    metrics: async (activator) => (await call(activator.metricsPort ?? 0, { path: '/metrics' }).answer).body,
  };
}

/** Resolves once a report says that the queue holds `count` requests. */
export async function untilQueued(control: ControlServer, count: number): Promise<void> {
  await control.report((report) => {
    return report.revisions.reduce((sum, { queued }) => sum + queued, 0) === count;
  });
}

/** Resolves once the last report says that `count` requests are at replicas. */
export async function untilInFlight(control: ControlServer, count: number): Promise<void> {
  await expect
    .poll(() => control.reports.at(-1)?.revisions.reduce((sum, { inFlight }) => sum + inFlight, 0))
    .toBe(count);
}
