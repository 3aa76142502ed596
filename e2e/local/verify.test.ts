import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeNpy } from '../../cli/npy.ts';
import { addition, chainOfSize, matMulChain } from '../models/onnx-models.ts';
import { type OnnxModel, writeOnnxFile } from '../models/onnx-writer.ts';
import { quantised } from '../models/quantised.ts';
import { pilotlight, type Ran } from './testing/command.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-verify-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const model = (name: string, made: OnnxModel): string =>
  writeOnnxFile(join(folder, name), made, { external: false })[0] ?? '';

const verify = (...args: string[]): Promise<Ran> =>
  pilotlight(['verify', ...args, '--cache-dir', join(folder, 'cache')]);

interface Report {
  samples: number;
  isGenerated: boolean;
  isWithin: boolean;
  reasons: string[];
  outputs: {
    name: string;
    maxAbsolute: number;
    maxRelative: number;
    agreement?: { agreeing: number; of: number };
  }[];
}

const reportOf = ({ out }: Ran): Report => JSON.parse(out) as Report;

function sample(name: string, values: readonly number[], shape: readonly number[]): void {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  writeFileSync(join(folder, name), writeNpy({ datatype: 'FP32', shape, bytes }));
}

test('a model is its own equal, its compiled form is within the tolerance, and made-up inputs are called that', async () => {
  const original = model('model.onnx', chainOfSize(8e6));
  const same = await verify(original, original);
  expect(same).toMatchObject({
    code: 0,
    out: expect.stringContaining('within the tolerance on 8 generated inputs'),
  });
  expect(same.err).toContain('inputs were made up');
  const compiled = await pilotlight(['compile', original, '--json', '--cache-dir', join(folder, 'cache')]);
  const { place } = JSON.parse(compiled.out) as { place: string };
  const report = await verify(original, `${place}/graph.onnx`, '--json');
  expect(report.code).toBe(0);
  expect(reportOf(report)).toMatchObject({ isWithin: true, isGenerated: true, samples: 8 });
  expect(reportOf(report).outputs[0]).toMatchObject({ name: 'y', agreement: { agreeing: 8, of: 8 } });
});

test('a quantised model is judged on stored samples: errors, agreement, and exit code 1 beyond the tolerance', async () => {
  const chain = matMulChain({ layers: 2, width: 64 });
  const [original, candidate] = [model('fp32.onnx', chain), model('int8.onnx', quantised(chain))];
  const samples = join(folder, 'samples');
  mkdirSync(samples);
  for (let index = 0; index < 3; index += 1) {
    sample(
      `samples/${index}.npy`,
      Array.from({ length: 64 }, (_, at) => Math.cos(at * (index + 1))),
      [1, 64],
    );
  }
  const data = Array.from({ length: 64 }, (_, at) => Math.sin(at));
  writeFileSync(
    join(samples, 'request.json'),
    JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 64], data }] }),
  );
  mkdirSync(join(samples, 'by-name'));
  sample('samples/by-name/x.npy', data, [1, 64]);
  const loose = await verify(original, candidate, '--samples', samples, '--tolerance', '20%', '--json');
  expect(loose.code, loose.err).toBe(0);
  const { outputs, ...head } = reportOf(loose);
  expect(head).toMatchObject({ samples: 5, isGenerated: false, isWithin: true });
  expect(outputs[0]?.maxRelative).toBeGreaterThan(1e-5);
  expect(outputs[0]?.agreement?.of).toBe(5);
  const strict = await verify(original, candidate, '--samples', samples, '--tolerance', '0.000001');
  expect(strict).toMatchObject({
    code: 1,
    out: expect.stringContaining('beyond the tolerance on 5 samples'),
  });
  expect(strict.out).toMatch(/y: the largest error is .* % of the largest value/);
});

test('what can’t be compared and what is no sample is said in words, and a wrong option is a misuse', async () => {
  const [one, other] = [
    model('chain.onnx', matMulChain({ layers: 1, width: 4 })),
    model('add.onnx', addition()),
  ];
  expect(await verify(one, other)).toMatchObject({
    code: 1,
    err: expect.stringContaining('the original takes'),
  });
  expect(await verify(one, one, '--tolerance', '7')).toMatchObject({ code: 2 });
  expect(await verify(one, one, '--samples', join(folder, 'nowhere'))).toMatchObject({
    code: 1,
    err: expect.stringContaining('there is no such file'),
  });
  sample('wrong.npy', [1, 2, 3], [1, 3]);
  expect(await verify(one, one, '--samples', join(folder, 'wrong.npy'))).toMatchObject({
    code: 1,
    err: expect.stringContaining("sample wrong.npy: input 'x': expected shape [batch, 4], got [1, 3]"),
  });
  sample('right.npy', [1, 2, 3, 4], [1, 4]);
  expect(await verify(other, other, '--samples', join(folder, 'right.npy'))).toMatchObject({
    code: 1,
    err: expect.stringContaining('NAME.npy for each input'),
  });
});
