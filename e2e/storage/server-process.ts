import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

/** Azurite reads 380 packages: a second on an idle machine, more than 20 s on one with ten times as much to do as cores. */
const START_TIMEOUT_MS = 180_000;

/** A server in a process of its own, for as long as a test needs it. */
export class ServerProcess {
  private readonly child: ChildProcess;
  private said = '';

  private constructor(file: string, args: readonly string[]) {
    this.child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (text: Buffer) => {
        this.said = (this.said + text.toString()).slice(-8_192);
      });
    }
  }

  /** Resolves once `healthUrl` is answered at all. @throws Error with what the server said last */
  static async start(file: string, args: readonly string[], healthUrl: string): Promise<ServerProcess> {
    const server = new ServerProcess(file, args);
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!(await answers(healthUrl))) {
      if (server.child.exitCode !== null || Date.now() > deadline) {
        await server.stop();
        throw new Error(`${file} did not start: ${server.said}`);
      }
      await delay(25);
    }
    return server;
  }

  /** The end of what it wrote, both streams together. */
  get output(): string {
    return this.said;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }
}

async function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    () => true,
    () => false,
  );
}
