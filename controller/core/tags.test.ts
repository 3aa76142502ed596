import { expect, test } from 'vitest';
import type { StoredRevision } from '../ports.ts';
import { taggedHosts, taggedUrl, tagsOf } from './tags.ts';
import { resolvedService } from './testing/resolved-service.ts';

function revision(number: number, rolledOutAtMs?: number): StoredRevision {
  return {
    number,
    name: `ocr-0000${number}`,
    specHash: String(number),
    resolved: resolvedService('ocr'),
    everReady: true,
    createdAtMs: number,
    ...(rolledOutAtMs !== undefined && { rolledOutAtMs }),
  };
}

test('a service that does not ask for tags has none', () => {
  expect(tagsOf([revision(1)], false).size).toBe(0);
  expect(tagsOf([], true).size).toBe(0);
});

test('the newest revision is latest, the one that had all traffic before is prev, and each has its number', () => {
  expect([...tagsOf([revision(1, 10), revision(2, 20), revision(3)], true)]).toEqual([
    ['ocr-00001', ['r1']],
    ['ocr-00002', ['prev', 'r2']],
    ['ocr-00003', ['latest', 'r3']],
  ]);
});

test('prev stays the one before when the newest one has been rolled out', () => {
  const tags = tagsOf([revision(1, 10), revision(2, 20), revision(3, 30)], true);
  expect(tags.get('ocr-00002')).toEqual(['prev', 'r2']);
  expect(tags.get('ocr-00003')).toEqual(['latest', 'r3']);
});

test('a tag comes before every host of the service, where that still is a host name', () => {
  expect(taggedHosts(['prev', 'r2'], ['ocr.team', 'ocr.team.example.com'])).toEqual([
    'prev-ocr.team',
    'prev-ocr.team.example.com',
    'r2-ocr.team',
    'r2-ocr.team.example.com',
  ]);
  const long = 'a'.repeat(58);
  expect(taggedHosts(['prev', 'latest'], [`${long}.team`])).toEqual([`prev-${long}.team`]);
  expect(taggedUrl('prev', 'http://ocr.team.svc.cluster.local')).toBe(
    'http://prev-ocr.team.svc.cluster.local',
  );
  expect(taggedUrl('prev', 'http://ocr.team.localhost:8080')).toBe('http://prev-ocr.team.localhost:8080');
  expect(taggedUrl('latest', `http://${long}.team`)).toBeUndefined();
});
