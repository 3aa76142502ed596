import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../process/free-port.ts';
import { sharedKeyAuthorization } from '../../runtime/storage/sources/azure-shared-key.ts';
import { cacheFolder } from '../cluster/folders.ts';
import { withLock } from '../cluster/lock.ts';
import { step } from '../cluster/steps.ts';
import { ServerProcess } from './server-process.ts';

/** The account that Azurite has, with a key that is public knowledge. */
export const AZURITE_ACCOUNT = 'devstoreaccount1';
export const AZURITE_KEY =
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

const MODULE = join(import.meta.dirname, 'azurite');
const FILES = ['package.json', 'package-lock.json'];

/**
 * Installs Azurite, pinned by a lock file of its own, where that has not been done on this machine. It is 245 MB
 * and 380 packages, which is why the project's own dependencies don't hold it.
 *
 * @returns the script that starts its blob service
 */
export async function installAzurite(): Promise<string> {
  const digest = createHash('sha256');
  for (const file of FILES) digest.update(readFileSync(join(MODULE, file)));
  const name = `azurite-${digest.digest('hex').slice(0, 12)}`;
  const folder = cacheFolder('tools', name);
  const script = join(folder, 'node_modules/azurite/dist/src/blob/main.js');
  if (existsSync(script)) return script;
  await withLock('tool-azurite', async () => {
    if (existsSync(script)) return;
    await step('Azurite installed', ({ run }) => install(folder, run), 'about 20 s');
    for (const other of await readdir(cacheFolder('tools'))) {
      if (/^azurite-[0-9a-f]{12}(\.unfinished)?$/.test(other) && other !== name)
        await rm(cacheFolder('tools', other), { recursive: true, force: true });
    }
  });
  return script;
}

async function install(
  folder: string,
  run: (file: string, args: string[], options: { cwd: string }) => Promise<string>,
) {
  const unfinished = `${folder}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true });
  for (const file of FILES) await copyFile(join(MODULE, file), join(unfinished, file));
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: unfinished });
  await rename(unfinished, folder);
}

/** A running server of Azure Blob Storage's protocol, blobs in memory, and the few calls that fill it. */
export class Azurite {
  /** Base URL of the account. */
  readonly endpoint: string;
  private readonly server: ServerProcess;

  private constructor(endpoint: string, server: ServerProcess) {
    this.endpoint = endpoint;
    this.server = server;
  }

  static async start(): Promise<Azurite> {
    const script = await installAzurite();
    const port = await freePort('127.0.0.1');
    const args = `--blobHost 127.0.0.1 --blobPort ${port} --inMemoryPersistence --disableTelemetry`;
    const root = `http://127.0.0.1:${port}`;
    const server = await ServerProcess.start(process.execPath, [script, ...args.split(' ')], root);
    return new Azurite(`${root}/${AZURITE_ACCOUNT}`, server);
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  /** @param isPublic Everybody may list and read it. */
  async createContainer(name: string, isPublic = false): Promise<void> {
    const headers: Record<string, string> = isPublic ? { 'x-ms-blob-public-access': 'container' } : {};
    await this.put(`${name}?restype=container`, headers, undefined);
  }

  async putBlob(container: string, name: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    const path = name.split('/').map(encodeURIComponent).join('/');
    await this.put(`${container}/${path}`, { 'x-ms-blob-type': 'BlockBlob' }, body);
  }

  private async put(
    path: string,
    own: Record<string, string>,
    body: Uint8Array<ArrayBuffer> | undefined,
  ): Promise<void> {
    const url = new URL(`${this.endpoint}/${path}`);
    const headers: Record<string, string> = {
      ...own,
      'x-ms-version': '2021-12-02',
      'x-ms-date': new Date().toUTCString(),
    };
    const signed = body === undefined ? {} : { 'content-length': String(body.length) };
    const authorization = sharedKeyAuthorization({
      method: 'PUT',
      account: AZURITE_ACCOUNT,
      key: AZURITE_KEY,
      url,
      headers: { ...headers, ...signed },
    });
    const answer = await fetch(url, {
      method: 'PUT',
      headers: { ...headers, authorization },
      ...(body === undefined ? {} : { body }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`PUT ${path}: ${answer.status} ${text}`);
  }
}
