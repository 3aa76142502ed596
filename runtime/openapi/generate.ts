import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openApiDocument } from './document.ts';

/**
 * Writes the OpenAPI document that the serving port hands out, or with `--check` says whether the committed one is
 * current. Exit codes: 0 written or current, 1 not current, 2 wrong arguments.
 */
async function main(args: readonly string[]): Promise<number> {
  const isCheck = args.length === 1 && args[0] === '--check';
  if (args.length > 0 && !isCheck) {
    process.stderr.write('usage: node runtime/openapi/generate.ts [--check]\n');
    return 2;
  }
  const path = fileURLToPath(new URL('openapi.json', import.meta.url));
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const generated = `${JSON.stringify(openApiDocument(version), undefined, 2)}\n`;
  if (!isCheck) {
    await writeFile(path, generated);
    return 0;
  }
  const committed = await readFile(path, 'utf8').catch(() => '');
  if (committed === generated) return 0;
  process.stderr.write(`${path} is not current, run: node runtime/openapi/generate.ts\n`);
  return 1;
}

process.exitCode = await main(process.argv.slice(2));
