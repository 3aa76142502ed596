import { freePort } from '../../process/free-port.ts';
import { tool } from '../cluster/tools.ts';
import { ServerProcess } from './server-process.ts';

/** A running server of Google Cloud Storage's JSON API, objects in memory, and the few calls that fill it. */
export class FakeGcs {
  readonly endpoint: string;
  private readonly server: ServerProcess;

  private constructor(endpoint: string, server: ServerProcess) {
    this.endpoint = endpoint;
    this.server = server;
  }

  static async start(): Promise<FakeGcs> {
    const binary = await tool('fake-gcs-server');
    const port = await freePort('127.0.0.1');
    const endpoint = `http://127.0.0.1:${port}`;
    const args = `-backend memory -scheme http -host 127.0.0.1 -port ${port} -external-url ${endpoint}`;
    return new FakeGcs(
      endpoint,
      await ServerProcess.start(binary, args.split(' '), `${endpoint}/storage/v1/b`),
    );
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  async createBucket(name: string): Promise<void> {
    await this.post('/storage/v1/b?project=tests', JSON.stringify({ name }), 'application/json');
  }

  async putObject(bucket: string, key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    const query = new URLSearchParams({ uploadType: 'media', name: key });
    await this.post(`/upload/storage/v1/b/${bucket}/o?${query.toString()}`, body, 'application/octet-stream');
  }

  /** An object with a content encoding of its own, in one request of two parts. */
  async putEncoded(
    bucket: string,
    key: string,
    contentEncoding: string,
    body: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    const head = JSON.stringify({ name: key, contentEncoding });
    const parts = [
      `--part\r\nContent-Type: application/json\r\n\r\n${head}\r\n`,
      '--part\r\nContent-Type: application/octet-stream\r\n\r\n',
      body,
      '\r\n--part--\r\n',
    ];
    const path = `/upload/storage/v1/b/${bucket}/o?uploadType=multipart`;
    await this.post(path, await new Blob(parts).bytes(), 'multipart/related; boundary=part');
  }

  private async post(path: string, body: string | Uint8Array<ArrayBuffer>, type: string): Promise<void> {
    const answer = await fetch(this.endpoint + path, {
      method: 'POST',
      headers: { 'content-type': type },
      body,
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`POST ${path}: ${answer.status} ${text}`);
  }
}
