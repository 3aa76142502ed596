import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decideLayout } from './layout.ts';

const folder = (paths: string[], version?: string) =>
  decideLayout(
    paths.map((path) => ({ path })),
    { label: 's3://b/m', single: false, version },
  );
const single = (path: string, version?: string) =>
  decideLayout([{ path }], { label: 's3://b/m', single: true, version });

describe('what a source holds', () => {
  test.each<[string[], string, string | undefined]>([
    [['net.onnx', 'labels.txt'], 'net.onnx', undefined],
    [['other.onnx', 'model.onnx', 'weights.bin'], 'model.onnx', undefined],
    [['NET.ONNX'], 'NET.ONNX', undefined],
    [['1/model.onnx', '2/model.onnx', '10/model.onnx', 'config.pbtxt'], '10/model.onnx', '10'],
    [['1/a.onnx'], '1/a.onnx', '1'],
    [['007/a.onnx', '3/b.onnx'], '007/a.onnx', '007'],
    [['onnx/model.onnx', 'README.md'], 'onnx/model.onnx', undefined],
    [['model.onnx', '1/model.onnx'], 'model.onnx', undefined],
    [['._net.onnx', '.cache/x.onnx', 'net.onnx'], 'net.onnx', undefined],
    [['../evil.onnx', 'net.onnx'], 'net.onnx', undefined],
  ])('%j is the model %s', (paths, model, version) => {
    expect(folder(paths)).toEqual({ model: { path: model }, version });
  });

  test('a pinned version is taken, whatever else is there', () => {
    const paths = ['model.onnx', '1/model.onnx', '2/model.onnx'];
    expect(folder(paths, '1').model.path).toBe('1/model.onnx');
    expect(() => folder(paths, '3')).toThrow('has no version 3; found versions 1, 2');
  });

  test('errors tell what was found', () => {
    expect(() => folder([])).toThrow(expect.objectContaining({ code: 'model-not-found' }));
    expect(() => folder(['a.txt', 'b.bin'])).toThrow('holds no .onnx file; found a.txt, b.bin');
    expect(() => folder(['a.onnx', 'b.onnx'])).toThrow('several models (a.onnx, b.onnx)');
    expect(() => folder(['x/a.onnx', 'y/b.onnx'])).toThrow('several models (x/a.onnx, y/b.onnx)');
    expect(() => folder(['1/model.onnx', '2/half.tmp'])).toThrow(
      'version 2 holds no .onnx file; found 2/half.tmp',
    );
    expect(() => folder(Array.from({ length: 20 }, (_, n) => `${n}.txt`))).toThrow('and 12 more');
    for (const paths of [['a.txt'], ['a.onnx', 'b.onnx'], ['1/model.onnx', '2/x']]) {
      expect(() => folder(paths)).toThrow(expect.objectContaining({ code: 'model-layout' }));
    }
  });

  test('a single file is the model whatever its name, unless the name says another format', () => {
    expect(single('model').model.path).toBe('model');
    expect(single('model.onnx').model.path).toBe('model.onnx');
    expect(() => single('model.pt')).toThrow('a PyTorch file by its name (.pt)');
    expect(() => single('model.safetensors')).toThrow(expect.objectContaining({ code: 'model-not-onnx' }));
    expect(() => single('model.onnx', '2')).toThrow('a single file and has no version 2');
  });

  test('the order of a listing never matters', () => {
    const name = fc.constantFrom(
      'model.onnx',
      'a.onnx',
      '1/model.onnx',
      '2/a.onnx',
      '3/x.txt',
      'sub/m.onnx',
      'w.bin',
    );
    const outcome = (paths: string[]) => {
      try {
        return folder(paths).model.path;
      } catch (error) {
        return (error as { code?: unknown }).code;
      }
    };
    fc.assert(
      fc.property(fc.uniqueArray(name), (paths) => {
        expect(outcome(paths.toReversed())).toBe(outcome(paths));
      }),
    );
  });
});
