import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { RevisionDemand } from '../../../contracts/demand.ts';
import type { ServiceRoute } from '../../../contracts/routes.ts';
import { type Controller, createController } from '../create-controller.ts';
import type { EngineSettings } from '../engine-context.ts';
import { createEngineMetrics } from '../engine-metrics.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryWorld } from './memory-platform.ts';

/** A controller on a world in memory, with a hand-turned clock and verbs for what a test does. */
export class EngineBench {
  readonly clock = new ManualClock();
  readonly world: MemoryWorld;
  controller: Controller;
  readonly registry = new Registry();
  readonly #metrics = createEngineMetrics(this.registry);
  readonly #settings: Partial<EngineSettings>;
  #unsubscribe: (() => void) | undefined;
  #sequence = 0;
  #claims = 0;

  constructor(
    settings: Partial<EngineSettings> = {},
    world: ConstructorParameters<typeof MemoryWorld>[1] = {},
  ) {
    this.#settings = settings;
    this.world = new MemoryWorld(this.clock, world);
    this.controller = this.#create();
  }

  #create(): Controller {
    const controller = createController({
      counters: this.#metrics.counters,
      platform: this.world.connect(),
      clock: this.clock,
      logger: pino({ level: process.env['PILOTLIGHT_LOG_LEVEL'] ?? 'silent' }),
      settings: { statsUrl: () => 'http://controller/v1/stats', tokenSecret: 'secret', ...this.#settings },
      newId: () => `id-${++this.#claims}`,
    });
    this.#metrics.observe(controller);
    return controller;
  }

  /** Starts the controller with one activator that listens to its routes. */
  async start(): Promise<void> {
    const started = this.controller.start();
    await this.clock.settle();
    await started;
    this.#unsubscribe = this.controller.subscribe({ stream: undefined, after: undefined }, () => undefined);
    await this.clock.settle();
  }

  /** Waits until the pool is full. */
  async warm(): Promise<void> {
    await this.start();
    await this.clock.until(() => this.phases('standby').length > 0);
  }

  /** The controller is killed: it says nothing to anybody; another one takes over. */
  async restart(): Promise<void> {
    this.#unsubscribe?.();
    await this.controller.stop('leave');
    this.controller = this.#create();
    await this.start();
  }

  /** Ids of replicas in this phase. */
  phases(phase: string): string[] {
    return [...this.controller.context.records.values()]
      .filter((record) => record.phase === phase)
      .map((record) => record.id);
  }

  route(uid: string): ServiceRoute {
    const route = this.controller.context.routes.get(uid);
    if (route === undefined) throw new Error(`no route for ${uid}`);
    return route;
  }

  /** Endpoints of all revisions of a service. */
  endpoints(uid: string): string[] {
    return (this.controller.context.routes.get(uid)?.revisions ?? []).flatMap(({ endpoints }) =>
      endpoints.map(({ id }) => id),
    );
  }

  /** An activator reports requests that wait at a revision. */
  queue(uid: string, revision: string, queued: number, more: Partial<RevisionDemand> = {}): void {
    this.controller.demand({
      activator: 'activator-1',
      sequence: ++this.#sequence,
      uptimeMs: this.#sequence * 100,
      revisions: [
        {
          serviceUid: uid,
          revision,
          requestSeconds: 0,
          requests: queued,
          inFlight: 0,
          queued,
          oldestQueuedMs: queued > 0 ? 1 : 0,
          ...more,
        },
      ],
      coldAnswers: [],
      suspects: [],
    });
  }
}
