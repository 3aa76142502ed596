import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type ColdStart, coldStartSchema } from '../../../contracts/cold-start.ts';
import {
  API_PATHS,
  type DecisionView,
  decisionViewSchema,
  listOf,
  type ReplicaView,
  type RevisionView,
  replicaViewSchema,
  revisionViewSchema,
  type ServiceView,
  serviceViewSchema,
} from '../../../contracts/console.ts';
import { type FoundProcess, processesMarked } from './processes.ts';
import { waitFor } from './wait-for.ts';

const MARK = 'PILOTLIGHT_TEST_PLATFORM';
const MAIN = join(import.meta.dirname, '../../../cli/main.ts');

export interface PlatformSettings {
  /** File name → text, as they lie in the folder at the start. */
  manifests?: Readonly<Record<string, string>>;
  standbys?: number;
  args?: readonly string[];
  env?: Readonly<Record<string, string>>;
}

/** A whole platform in processes of its own, on a folder of its own, for one test. */
export class TestPlatform {
  readonly dir: string;
  readonly cacheDir: string;
  readonly url: string;
  readonly apiUrl: string;
  readonly process: ChildProcess;
  /** What the platform has logged. */
  readonly log: string[];
  readonly #mark: string;

  private constructor(fields: {
    dir: string;
    cacheDir: string;
    url: string;
    apiUrl: string;
    process: ChildProcess;
    log: string[];
    mark: string;
  }) {
    this.dir = fields.dir;
    this.cacheDir = fields.cacheDir;
    this.url = fields.url;
    this.apiUrl = fields.apiUrl;
    this.process = fields.process;
    this.log = fields.log;
    this.#mark = fields.mark;
  }

  static async start(settings: PlatformSettings = {}): Promise<TestPlatform> {
    const dir = mkdtempSync(join(tmpdir(), 'pilotlight-'));
    const cacheDir = mkdtempSync(join(tmpdir(), 'pilotlight-cache-'));
    for (const [name, text] of Object.entries(settings.manifests ?? {})) writeFileSync(join(dir, name), text);
    return TestPlatform.startOn(dir, cacheDir, settings);
  }

  /** Starts on folders that exist, such as those of a platform that was killed. */
  static async startOn(
    dir: string,
    cacheDir: string,
    settings: PlatformSettings = {},
  ): Promise<TestPlatform> {
    const mark = randomUUID();
    const log: string[] = [];
    const flags = ['--port', '0', '--api-port', '0', '--cache-dir', cacheDir];
    const standbys = ['--standbys', String(settings.standbys ?? 1)];
    const child = spawn(
      process.execPath,
      [MAIN, 'serve', dir, ...flags, ...standbys, ...(settings.args ?? [])],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, PILOTLIGHT_LOG_LEVEL: 'info', ...settings.env, [MARK]: mark },
      },
    );
    const copy = process.env['PILOTLIGHT_TEST_LOG_DIR'];
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.push(line);
      if (copy !== undefined) appendFileSync(join(copy, `${mark}.log`), `${line}\n`);
    });
    const listening = await new Promise<{ url: string; apiUrl: string }>((resolve, reject) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (line.startsWith('{"listening"')) {
          resolve((JSON.parse(line) as { listening: { url: string; apiUrl: string } }).listening);
        }
      });
      child.once('exit', (code) => reject(new Error(`serve ended with ${code}:\n${log.join('\n')}`)));
    });
    return new TestPlatform({ dir, cacheDir, ...listening, process: child, log, mark });
  }

  get stateDir(): string {
    return join(this.dir, '.pilotlight');
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.dir, name), text);
  }

  remove(name: string): void {
    rmSync(join(this.dir, name));
  }

  async services(): Promise<ServiceView[]> {
    return listOf(serviceViewSchema).parse(await this.#api(API_PATHS.services)).items;
  }

  /** @throws Error when there is no such service. */
  async service(name: string): Promise<ServiceView> {
    const services = await this.services();
    const found = services.find((service) => service.name === name);
    if (found === undefined)
      throw new Error(`no service ${name} among ${services.map((one) => one.name).join(', ')}`);
    return found;
  }

  async replicas(service?: string): Promise<ReplicaView[]> {
    const { items } = listOf(replicaViewSchema).parse(await this.#api(API_PATHS.replicas));
    return service === undefined ? items : items.filter((replica) => replica.service === service);
  }

  async revisions(service: string): Promise<RevisionView[]> {
    const { items } = listOf(revisionViewSchema).parse(await this.#api(API_PATHS.revisions));
    return items.filter((revision) => revision.service === service);
  }

  async coldStarts(): Promise<ColdStart[]> {
    return listOf(coldStartSchema).parse(await this.#api(API_PATHS.coldStarts)).items;
  }

  /** Scaling decisions of a service, newest first. */
  async decisions(service: string): Promise<DecisionView[]> {
    const path = `${API_PATHS.decisions}?service=${service}`;
    return listOf(decisionViewSchema).parse(await this.#api(path)).items;
  }

  waitForService(
    name: string,
    what: string,
    holds: (service: ServiceView) => boolean,
    deadlineMs?: number,
  ): Promise<ServiceView> {
    const look = async (): Promise<ServiceView | false> => {
      const service = await this.service(name);
      return holds(service) && service;
    };
    return waitFor(`service ${name} ${what}`, look, deadlineMs);
  }

  /** Waits for standbys that are started and idle. */
  waitForStandbys(count: number): Promise<ReplicaView[]> {
    return waitFor(`${count} standbys`, async () => {
      const standbys = (await this.replicas()).filter(({ state }) => state === 'standby');
      return standbys.length >= count && standbys;
    });
  }

  /** Waits until the service has no replica left, not even one that leaves. */
  waitForZero(service: string, deadlineMs = 25_000): Promise<true> {
    const look = async (): Promise<boolean> => (await this.replicas(service)).length === 0;
    return waitFor(`no replica of ${service}`, async () => (await look()) || undefined, deadlineMs);
  }

  /** One inference by the model's name, which leads to the service. */
  infer(
    model: string,
    body: unknown,
    init: Omit<RequestInit, 'headers'> & { headers?: Record<string, string> } = {},
  ): Promise<Response> {
    return fetch(`${this.url}/v2/models/${model}/infer`, {
      method: 'POST',
      body: JSON.stringify(body),
      ...init,
      headers: { 'content-type': 'application/json', ...init.headers },
    });
  }

  /** All living processes of this platform, itself included. */
  processes(): FoundProcess[] {
    return processesMarked(MARK, this.#mark);
  }

  /** The one process of the platform that runs this program. @throws Error when there is none. */
  program(name: 'controller' | 'activator'): FoundProcess {
    const found = this.processes().find(({ command }) => command.includes(`/${name}/main.ts`));
    if (found === undefined) throw new Error(`no ${name} runs`);
    return found;
  }

  runtimes(): FoundProcess[] {
    return this.processes().filter(({ command }) => command.includes('/runtime/main.ts'));
  }

  /** Sends a signal and waits until no process is left; for a test of how it ends. */
  async end(signal: NodeJS.Signals, deadlineMs = 5_000): Promise<void> {
    const exited = this.process.exitCode === null ? once(this.process, 'exit') : undefined;
    this.process.kill(signal);
    await exited;
    await waitFor('no process of the platform is left', () => this.processes().length === 0, deadlineMs);
  }

  /** Ends it, checks that nothing is left behind, and removes its folders. */
  async stop(): Promise<void> {
    try {
      await this.end('SIGTERM');
    } finally {
      for (const { pid } of this.processes()) process.kill(pid, 'SIGKILL');
      rmSync(this.dir, { recursive: true, force: true });
      rmSync(this.cacheDir, { recursive: true, force: true });
    }
  }

  async #api(path: string): Promise<unknown> {
    const response = await fetch(this.apiUrl + path);
    if (!response.ok) throw new Error(`${path} answered ${response.status}`);
    return response.json();
  }
}

/** A manifest of one service with a model file, and whatever else goes into its predictor. */
export function manifestOf(name: string, modelPath: string, predictor: Record<string, unknown> = {}): string {
  return JSON.stringify({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name },
    spec: {
      predictor: { model: { modelFormat: { name: 'onnx' }, storageUri: `file:${modelPath}` }, ...predictor },
    },
  });
}
