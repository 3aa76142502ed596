import { execFile } from 'node:child_process';
import { createReadStream, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { BinaryInput } from './inference-request.ts';

const run = promisify(execFile);

/** Serves files over HTTP on this machine by their names, the first for any other: the shortest way to a store. */
export async function serveFiles(files: readonly string[]): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    const name = basename(request.url ?? '');
    const path = files.find((file) => basename(file) === name) ?? files[0] ?? '';
    response.writeHead(200, { 'content-length': statSync(path).size });
    createReadStream(path).pipe(response);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.onnx`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** How long a fresh Node process takes to fetch the model, create a session and answer, each in ms. */
export async function plainStarts(
  files: readonly string[],
  input: BinaryInput,
  count: number,
): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-plain-'));
  await using store = await serveFiles(files);
  const [, ...beside] = files.map((file) => basename(file));
  try {
    const inputPath = join(folder, 'input.bin');
    writeFileSync(inputPath, input.data);
    const program = join(import.meta.dirname, 'plain-process.ts');
    const times: number[] = [];
    for (let start = 0; start < count; start++) {
      const modelFile = join(folder, `${start}.onnx`);
      const sentMs = performance.now();
      await run(process.execPath, [
        program,
        store.url,
        modelFile,
        inputPath,
        input.shape.join('x'),
        input.name,
        ...beside,
      ]);
      times.push(performance.now() - sentMs);
      rmSync(modelFile);
      for (const name of beside) rmSync(join(folder, name));
    }
    return times;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
