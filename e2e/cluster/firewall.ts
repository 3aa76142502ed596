import { readFile, rm, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { run } from './command.ts';

/**
 * A Docker engine changes the machine's packet filter and its forwarding, and leaves both so when it ends. These
 * two keep what was before and put it back.
 */
const FORWARDING = '/proc/sys/net/ipv4/ip_forward';
const beforeSchema = z.object({ forwardPolicy: z.string(), forwarding: z.string() });

/** Keeps what an engine changes in a file, before its first start. */
export async function rememberFirewall(file: string): Promise<void> {
  const rules = await run('iptables', ['--wait', '-S', 'FORWARD']);
  const forwardPolicy = /^-P FORWARD (\w+)/m.exec(rules)?.[1] ?? 'ACCEPT';
  const forwarding = (await readFile(FORWARDING, 'utf8')).trim();
  await writeFile(file, JSON.stringify({ forwardPolicy, forwarding } satisfies z.infer<typeof beforeSchema>));
}

/**
 * Takes out the rules of an engine that has ended. What others have added since stays.
 *
 * @param bridges the network devices of the engine, which its rules name
 */
export async function restoreFirewall(file: string, bridges: readonly string[]): Promise<void> {
  const ofEngine = new RegExp(['DOCKER', ...bridges].join('|'));
  for (const family of ['iptables', 'ip6tables']) {
    const saved = await run(`${family}-save`, []).catch(() => '');
    if (!ofEngine.test(saved)) continue;
    const kept = saved.split('\n').filter((line) => !ofEngine.test(line));
    await run(`${family}-restore`, ['--wait'], { input: kept.join('\n') });
  }
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return;
  const before = beforeSchema.parse(JSON.parse(text));
  await run('iptables', ['--wait', '-P', 'FORWARD', before.forwardPolicy]);
  await writeFile(FORWARDING, before.forwarding);
  await rm(file);
}
