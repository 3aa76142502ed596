import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { AwsV4Signer } from 'aws4fetch';
import { tool } from '../cluster/tools.ts';
import { missingTool } from './missing-tool.ts';

const START_TIMEOUT_MS = 10_000;

export const ACCESS_KEY = 'pilot';
export const SECRET_KEY = 'light-my-fire';

/**
 * Builds versitygw where that has not been done on this machine (about a minute). Says in words for a skipped
 * test why it cannot be had: no Go, or no way to the Go module proxy. Any other failure of the build is thrown.
 */
export async function versitygwMissing(): Promise<string | undefined> {
  return missingTool(() => tool('versitygw'), 'versitygw (a real S3 server)');
}

/** A running S3 server over a folder, and the few S3 calls that fill it. */
export class Versitygw {
  readonly endpoint: string;
  readonly port: number;
  /** Of the objects of its buckets, which lie there as plain files. */
  readonly objects: string;
  private readonly child: ChildProcess;

  private constructor(port: number, objects: string, child: ChildProcess) {
    this.port = port;
    this.objects = objects;
    this.endpoint = `http://127.0.0.1:${port}`;
    this.child = child;
  }

  /** @param folder a new, empty folder: buckets and, beside them, the objects' metadata */
  static async start(folder: string): Promise<Versitygw> {
    const binary = await tool('versitygw');
    const port = await freePort();
    const objects = join(folder, 'objects');
    const metadata = join(folder, 'metadata');
    await Promise.all([mkdir(objects, { recursive: true }), mkdir(metadata, { recursive: true })]);
    const child = spawn(
      binary,
      [
        '--port',
        `127.0.0.1:${port}`,
        '--access',
        ACCESS_KEY,
        '--secret',
        SECRET_KEY,
        '--quiet',
        '--keep-alive',
      ]
        .concat('--virtual-domain', `localhost:${port}`, '--health', '/healthz')
        // A sidecar folder works on file systems without extended attributes as well.
        .concat('posix', '--sidecar', metadata, objects),
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    child.stderr?.on('data', (text: Buffer) => {
      said = (said + text.toString()).slice(-4096);
    });
    const server = new Versitygw(port, objects, child);
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!(await server.isHealthy())) {
      if (child.exitCode !== null || Date.now() > deadline) {
        child.kill('SIGKILL');
        throw new Error(`versitygw did not start: ${said}`);
      }
      await delay(25);
    }
    return server;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }

  async createBucket(bucket: string): Promise<void> {
    await this.put(`/${bucket}`, undefined);
  }

  async putObject(bucket: string, key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.put(`/${bucket}/${key.split('/').map(encodeURIComponent).join('/')}`, body);
  }

  /** Everybody may list and read the bucket. */
  async makePublic(bucket: string): Promise<void> {
    const statement = {
      Effect: 'Allow',
      Principal: '*',
      Action: ['s3:GetObject', 's3:ListBucket'],
      Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
    };
    const policy = JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
    await this.put(`/${bucket}?policy=`, new TextEncoder().encode(policy));
  }

  private async put(path: string, body: Uint8Array<ArrayBuffer> | undefined): Promise<void> {
    const signer = new AwsV4Signer({
      method: 'PUT',
      url: `${this.endpoint}${path}`,
      ...(body === undefined ? {} : { body }),
      accessKeyId: ACCESS_KEY,
      secretAccessKey: SECRET_KEY,
      service: 's3',
      region: 'us-east-1',
    });
    const { url, headers } = await signer.sign();
    const answer = await fetch(url, { method: 'PUT', headers, ...(body === undefined ? {} : { body }) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`PUT ${path}: ${answer.status} ${text}`);
  }

  private async isHealthy(): Promise<boolean> {
    return fetch(`${this.endpoint}/healthz`).then(
      (answer) => answer.ok,
      () => false,
    );
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
