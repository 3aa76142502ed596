import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SpecialiseEvent, SpecialiseRequest } from '../../../contracts/admin.ts';
import { compileCacheEnvironment } from '../../../process/compile-cache.ts';
import { NODE_FLAGS, RUNTIME_ENVIRONMENT } from '../../../process/node-flags.ts';
import { type Called, call } from './http-call.ts';
import { waitFor } from './wait-for.ts';

export const RUNTIME_MAIN = fileURLToPath(new URL('../../../runtime/main.ts', import.meta.url));
export const ADMIN_TOKEN = 'token-of-the-test';

export interface Record {
  id: string;
  pid: number;
  startTimeTicks: number;
  incarnation: string;
  host: string;
  servingPort: number;
  adminPort: number;
}

/** A runtime process with everything that it printed. */
export class TestProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown>;
  stdout = '';
  stderr = '';

  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.child = spawn(process.execPath, [...NODE_FLAGS.runtime, RUNTIME_MAIN, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        // As the platform starts it: its sources come compiled.
        ...compileCacheEnvironment(),
        ...RUNTIME_ENVIRONMENT,
        ...process.env,
        PILOTLIGHT_LOG_LEVEL: 'info',
        PILOTLIGHT_ADMIN_TOKEN: ADMIN_TOKEN,
        ...env,
      },
    });
    this.exited = once(this.child, 'close');
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.stdout += chunk.toString();
    });
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the runtime was not started');
    return this.child.pid;
  }

  /** How it ended: its exit code, or the signal that killed it. */
  async end(): Promise<number | string | null> {
    await this.exited;
    return this.child.exitCode ?? this.child.signalCode;
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** A line of `/proc/<pid>/status` as a number; bytes for those in kB. */
  status(name: string): number {
    const line = new RegExp(`^${name}:\\s+(\\d+)( kB)?`, 'm').exec(
      readFileSync(`/proc/${this.pid}/status`, 'utf8'),
    );
    return Number(line?.[1]) * (line?.[2] === undefined ? 1 : 1024);
  }
}

/** A standby, and its admin port. */
export class StandbyProcess extends TestProcess {
  readonly recordPath: string;

  private constructor(recordPath: string, args: readonly string[]) {
    super(args);
    this.recordPath = recordPath;
  }

  static async start(folder: string, ...more: string[]): Promise<StandbyProcess> {
    const recordPath = join(folder, `record-${Math.random().toString(36).slice(2)}.json`);
    const ports = ['--port', '0', '--admin-port', '0', '--cache-dir', join(folder, 'cache')];
    const standby = new StandbyProcess(recordPath, ['--standby', ...ports, '--record', recordPath, ...more]);
    await Promise.race([
      waitFor('the record of the standby', () => standby.record()),
      standby.exited.then(() => {
        throw new Error(`the standby ended: ${standby.stderr}`);
      }),
    ]);
    return standby;
  }

  record(): Record | undefined {
    try {
      return JSON.parse(readFileSync(this.recordPath, 'utf8')) as Record;
    } catch {
      return undefined;
    }
  }

  get serving(): string {
    return `http://127.0.0.1:${this.record()?.servingPort}`;
  }

  admin(path: string, body?: unknown, token = ADMIN_TOKEN): Promise<Called> {
    return call(`http://127.0.0.1:${this.record()?.adminPort}`, path, {
      headers: { authorization: `Bearer ${token}` },
      body,
    });
  }

  async state(): Promise<{ state: string; incarnation: string; claim?: { claimId: string } }> {
    return JSON.parse((await this.admin('/admin/state')).text) as Awaited<
      ReturnType<StandbyProcess['state']>
    >;
  }

  /** The events of a claim that was granted. */
  async specialise(request: SpecialiseRequest): Promise<SpecialiseEvent[]> {
    const { status, text } = await this.admin('/admin/specialise', request);
    if (status !== 200) throw new Error(`specialise was refused with ${status}: ${text}`);
    return text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as SpecialiseEvent);
  }

  /** Drains, recycles, and waits for the next incarnation. */
  async recycle(claimId: string, epoch = 1, deadlineMs = 5000): Promise<Record> {
    const before = this.record()?.incarnation;
    await this.admin('/admin/drain', { claimId, epoch, deadlineMs });
    const { status, text } = await this.admin('/admin/recycle', { claimId, epoch, deadlineMs: 0 });
    if (status !== 202) throw new Error(`recycle was refused with ${status}: ${text}`);
    return waitFor('the next incarnation', () => {
      const record = this.record();
      return record !== undefined && record.incarnation !== before ? record : undefined;
    });
  }
}

/** A claim on a model; anything can be put in its place. */
export function claimOf(
  modelUri: string,
  more: Partial<Omit<SpecialiseRequest, 'serving'>> & {
    serving?: Partial<SpecialiseRequest['serving']>;
  } = {},
): SpecialiseRequest {
  return {
    claimId: 'claim-1',
    epoch: 1,
    service: { namespace: 'default', name: 'test', uid: 'uid-1' },
    revision: 'test-00001',
    model: { name: 'test', uri: modelUri },
    startTimeoutMs: 30_000,
    warmUp: 'request',
    stats: { url: 'http://127.0.0.1:9/v1/stats', token: 'stats-token' },
    ...more,
    serving: { requestTimeoutMs: 20_000, ...more.serving },
  };
}
