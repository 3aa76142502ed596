import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { GenericContainer, type StartedTestContainer } from 'testcontainers';
import type { SpecialiseEvent } from '../../contracts/admin.ts';
import { buildImages } from '../../images/build.ts';
import { call } from '../local/testing/http-call.ts';

export const ADMIN_TOKEN = 'token-of-the-test';

/** The images of this checkout, built where they are not. */
export async function builtImages(): Promise<{ control: string; runtime: string }> {
  const [control, runtime] = await buildImages({ repository: 'pilotlight', tag: 'tested' });
  if (control === undefined || runtime === undefined) throw new Error('expected two images');
  return { control: control.name, runtime: runtime.name };
}

/** A container as restricted Pod Security has it: no root, no capability, nothing to write to but what is mounted. */
export class RestrictedContainer extends GenericContainer {
  constructor(image: string) {
    super(image);
    this.hostConfig.ReadonlyRootfs = true;
    this.hostConfig.SecurityOpt = ['no-new-privileges'];
    this.withDroppedCapabilities('ALL').withTmpFs({ '/tmp': 'rw,mode=1777' });
  }
}

/** A standby in a container, and its ports on this machine. */
export class RuntimeContainer {
  readonly container: StartedTestContainer;

  constructor(container: StartedTestContainer) {
    this.container = container;
  }

  get serving(): string {
    return `http://127.0.0.1:${this.container.getMappedPort(8080)}`;
  }

  async admin(path: string, body?: unknown): Promise<{ status: number; text: string }> {
    const url = `http://127.0.0.1:${this.container.getMappedPort(8081)}`;
    return call(url, path, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` }, body });
  }

  async state(): Promise<{ state: string; incarnation: string }> {
    const { status, text } = await this.admin('/admin/state');
    if (status !== 200) throw new Error(`the state was refused with ${status}: ${text}`);
    return JSON.parse(text) as { state: string; incarnation: string };
  }

  async specialise(request: unknown): Promise<SpecialiseEvent[]> {
    const { status, text } = await this.admin('/admin/specialise', request);
    if (status !== 200) throw new Error(`specialise was refused with ${status}: ${text}`);
    return text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as SpecialiseEvent);
  }

  /** What a program in the container prints; there is no other one than Node. */
  async evaluate(expression: string): Promise<string> {
    const { output, exitCode } = await this.container.exec(['/usr/local/bin/node', '--print', expression]);
    if (exitCode !== 0) throw new Error(`node in the container ended with ${exitCode}: ${output}`);
    return output.trim();
  }

  /** Everything that it has printed. */
  async logs(): Promise<string> {
    const { stdout, stderr } = await promisify(execFile)('docker', ['logs', this.container.getId()], {
      maxBuffer: 64 * 1024 ** 2,
    });
    return `${stdout}${stderr}`;
  }
}
