import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CHART, NAMESPACE, render } from './testing/helm.ts';
import { named, objectsIn } from './testing/rendered.ts';

const EXAMPLES = join(CHART, '../../examples/kubernetes');

/** Names and ports of the Services that an example leads to, wherever they stand in it. */
function backends(value: unknown): { name: string; port: string | number }[] {
  if (Array.isArray(value)) return value.flatMap(backends);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, child]: [string, unknown]) => {
    if (key === 'backendRefs') return child as { name: string; port: number }[];
    if (key !== 'backend') return backends(child);
    const { service } = child as { service: { name: string; port: { name?: string; number?: number } } };
    return [{ name: service.name, port: service.port.name ?? service.port.number ?? 0 }];
  });
}

test.each(['ingress.yaml', 'gateway-api.yaml'])(
  'the example %s leads to the activators by host',
  async (file) => {
    const text = await readFile(join(EXAMPLES, file), 'utf8');
    const objects = objectsIn(text);
    const service = named(await render(), 'Service', 'pilotlight-activator');
    const ports = service.spec?.ports?.flatMap(({ name, port }) => [name, port]) ?? [];
    const found = objects.flatMap(({ spec }) => backends(spec));
    expect(found).toHaveLength(1);
    for (const { name, port } of found) {
      expect(name).toBe('pilotlight-activator');
      expect(ports).toContain(port);
    }
    for (const { metadata } of objects) expect(metadata.namespace).toBe(NAMESPACE);
    expect(text).toMatch(/"\*\.([a-z-]+\.)?models\.example\.com"/);
  },
);
