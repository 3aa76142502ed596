import { normaliseHost } from '../core/match.ts';
import type { Caller } from './caller.ts';

/** What the serving port says where no service is meant: enough to see that this is the right door. */
export function answerOwnPath(caller: Caller, ready: boolean): { status: number; body: unknown } | undefined {
  if (caller.method !== 'GET' && caller.method !== 'HEAD') return undefined;
  if (namesService(caller.host)) return undefined;
  switch (caller.path.split('?', 1)[0] ?? '') {
    case '/':
      return {
        status: 200,
        body: {
          name: 'pilotlight-activator',
          message:
            'services answer by host (name.namespace), by path (/namespace/name/…) or by model (/v2/models/{model}/infer)',
        },
      };
    case '/v2/health/live':
      return { status: 200, body: { live: true } };
    case '/v2/health/ready':
      return { status: ready ? 200 : 503, body: { ready } };
    default:
      return undefined;
  }
}

/** `name.namespace…` means a service, known or not; an address or a single label means this machine. */
function namesService(host: string): boolean {
  const bare = normaliseHost(host);
  return bare.includes('.') && !/^[\d.]+$/.test(bare);
}
