import { expect, test } from 'vitest';
import { parseInferenceService } from '../../../crds/schema.ts';
import type { PlatformEvent } from '../../ports.ts';
import { diffServices, NOTHING_KNOWN, type Scan, type ScannedService, tellAll } from './service-diff.ts';

function scanned(file: string, name: string, uri = 'file:/m.onnx', line = 1): ScannedService {
  const parsed = parseInferenceService({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name },
    spec: { predictor: { model: { modelFormat: { name: 'onnx' }, storageUri: uri } } },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return { file, line, service: parsed.service, env: {}, warnings: [] };
}

const scanOf = (services: ScannedService[], problems: Scan['problems'] = []): Scan => ({
  services,
  problems,
});
let uids = 0;
const newUid = (): string => {
  uids += 1;
  return `uid-${uids}`;
};
const types = (events: readonly PlatformEvent[]): string[] => events.map(({ type }) => type);

test('a new file applies its services, an unchanged one tells nothing', () => {
  const first = diffServices(NOTHING_KNOWN, scanOf([scanned('a.yaml', 'ocr')]), newUid);
  expect(types(first.events)).toEqual(['service-applied']);
  expect(diffServices(first.known, scanOf([scanned('a.yaml', 'ocr')]), newUid).events).toEqual([]);
});

test('a changed service keeps its uid and counts its generation up', () => {
  const first = diffServices(NOTHING_KNOWN, scanOf([scanned('a.yaml', 'ocr')]), newUid);
  const second = diffServices(first.known, scanOf([scanned('a.yaml', 'ocr', 'file:/other.onnx')]), newUid);
  const [before] = first.events;
  const [after] = second.events;
  if (before?.type !== 'service-applied' || after?.type !== 'service-applied') throw new Error('not applied');
  expect(after.service.uid).toBe(before.service.uid);
  expect(after.service.generation).toBe(before.service.generation + 1);
});

test('a service that moves to another file is the same service', () => {
  const first = diffServices(NOTHING_KNOWN, scanOf([scanned('a.yaml', 'ocr')]), newUid);
  expect(diffServices(first.known, scanOf([scanned('b.yaml', 'ocr')]), newUid).events).toEqual([]);
});

test('a service that no file names any more is deleted, and has another uid when it comes back', () => {
  const first = diffServices(NOTHING_KNOWN, scanOf([scanned('a.yaml', 'ocr')]), newUid);
  const second = diffServices(first.known, scanOf([]), newUid);
  expect(types(second.events)).toEqual(['service-deleted']);
  const third = diffServices(second.known, scanOf([scanned('a.yaml', 'ocr')]), newUid);
  expect(third.known.services.get('default/ocr')?.uid).not.toBe(first.known.services.get('default/ocr')?.uid);
});

test('a file that breaks deletes nothing: its services are told to be invalid and stand', () => {
  const first = diffServices(
    NOTHING_KNOWN,
    scanOf([scanned('a.yaml', 'ocr'), scanned('b.yaml', 'vad')]),
    newUid,
  );
  const broken = scanOf([scanned('b.yaml', 'vad')], [{ file: 'a.yaml', messages: ['a.yaml:3: not YAML'] }]);
  const second = diffServices(first.known, broken, newUid);
  expect(second.events).toEqual([
    { type: 'service-invalid', namespace: 'default', name: 'ocr', problems: ['a.yaml:3: not YAML'] },
  ]);
  expect(diffServices(second.known, broken, newUid).events).toEqual([]);
  expect(types(tellAll(second.known)).sort()).toEqual([
    'service-applied',
    'service-applied',
    'service-invalid',
  ]);
  const mended = scanOf([scanned('a.yaml', 'ocr'), scanned('b.yaml', 'vad')]);
  expect(types(diffServices(second.known, mended, newUid).events)).toEqual(['service-applied']);
});

test('of two services with one name the one that was there first counts, and the other is named', () => {
  const first = diffServices(NOTHING_KNOWN, scanOf([scanned('b.yaml', 'ocr')]), newUid);
  const second = diffServices(
    first.known,
    scanOf([scanned('a.yaml', 'ocr', 'file:/thief.onnx', 7), scanned('b.yaml', 'ocr')]),
    newUid,
  );
  expect(types(second.events)).toEqual(['service-invalid']);
  expect(JSON.stringify(second.events)).toContain('a.yaml:7');
  expect(second.known.services.get('default/ocr')?.applied.file).toBe('b.yaml');
});

test('an invalid service that was never good is told once, and its end too', () => {
  const scan = scanOf(
    [],
    [{ file: 'a.yaml', namespace: 'default', name: 'ocr', messages: ['a.yaml:1: wrong'] }],
  );
  const first = diffServices(NOTHING_KNOWN, scan, newUid);
  expect(types(first.events)).toEqual(['service-invalid']);
  const again = diffServices(first.known, scan, newUid);
  expect(again.events).toEqual([]);
  expect(diffServices(again.known, scanOf([]), newUid).events).toEqual([
    { type: 'service-invalid', namespace: 'default', name: 'ocr', problems: [] },
  ]);
});
