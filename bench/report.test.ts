import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { meets, type Results, resultsSchema, row, toTable, writeResults } from './report.ts';

describe('a goal', () => {
  test.each([
    [100, '<= 100', true],
    [100.01, '<= 100', false],
    [100, '< 100', false],
    [0, '= 0', true],
    [1, '= 0', false],
    [5, '>= 5', true],
    [4.9, '>= 5', false],
    [5, '> 5', false],
    [-0.2, '<= 0.5', true],
    [Number.NaN, '<= 100', false],
  ])('%d against "%s" is met: %s', (value, goal, met) => {
    expect(meets(value, goal)).toBe(met);
  });

  test.each(['100', '=< 100', '<= 100 ms', '<=100', '<= ', ''])(
    'that nobody understands is refused: "%s"',
    (goal) => {
      expect(() => meets(1, goal)).toThrow('expected a goal such as');
    },
  );
});

describe('a row', () => {
  test('without peer and goal has neither ratio nor verdict', () => {
    expect(row({ metric: 'idle', unit: 'MB', value: 80 })).toEqual({
      metric: 'idle',
      unit: 'MB',
      value: 80,
      peer: null,
      peerValue: null,
      ratio: null,
      goal: null,
      met: null,
    });
  });

  test('compares with its peer and its goal', () => {
    const measured = { metric: 'p50', unit: 'ms', value: 50, peer: 'plain', peerValue: 200, goal: '<= 100' };
    expect(row(measured)).toMatchObject({ ratio: 0.25, met: true });
  });

  test('is judged by the figure as measured, not as rounded', () => {
    expect(row({ metric: 'p50', unit: 'ms', value: 100.04, goal: '<= 100' })).toMatchObject({
      value: 100,
      met: false,
    });
  });

  test('has no ratio to nothing', () => {
    expect(row({ metric: 'x', unit: '', value: 1, peer: 'none', peerValue: 0 }).ratio).toBeNull();
  });

  test('is refused when nothing was measured', () => {
    expect(() => row({ metric: 'p50', unit: 'ms', value: Number.NaN })).toThrow('"p50", got NaN');
  });
});

test('the table says of each goal whether it is met', () => {
  const table = toTable([
    row({ metric: 'fast enough', unit: 'ms', value: 1234.5, goal: '<= 2000' }),
    row({ metric: 'too slow', unit: 'ms', value: 3, goal: '<= 2' }),
    row({ metric: 'told only', unit: 'ms', value: 7 }),
  ]);
  expect(table).toMatch(/fast enough.*1,234\.5.*<= 2000.*yes/);
  expect(table).toMatch(/too slow.*NO/);
  expect(table).not.toMatch(/told only.*(yes|NO)/);
});

describe('the file', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pilotlight-report-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const results: Results = {
    name: 'cold-start',
    command: 'make bench WHAT=cold-start',
    machine: {
      cpu: 'Some CPU',
      cores: 2,
      memoryBytes: 4e9,
      kernel: '6.1.0',
      node: 'v26.10.0',
      loadBefore: 0,
    },
    date: '2026-01-02T03:04:05.000Z',
    commit: { id: '0123456789abcdef', dirty: false },
    rows: [row({ metric: 'p50', unit: 'ms', value: 50, goal: '<= 100' })],
  };

  test('is named after the benchmark, reads back as it was, and leaves nothing beside it', () => {
    const path = writeResults(join(folder, 'results'), results);
    expect(readdirSync(join(folder, 'results'))).toEqual(['cold-start.json']);
    expect(resultsSchema.parse(JSON.parse(readFileSync(path, 'utf8')))).toEqual(results);
  });

  test('is not written without rows or with a field that nobody knows', () => {
    expect(() => writeResults(folder, { ...results, rows: [] })).toThrow('rows');
    expect(() => writeResults(folder, { ...results, mood: 'good' } as Results)).toThrow('mood');
    expect(readdirSync(folder)).toEqual([]);
  });
});
