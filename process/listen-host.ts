import { tryPort } from './free-port.ts';

/** What `listen` says where the machine has no IPv6: no such kind of socket, or no such address. */
const NO_IPV6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL']);

/**
 * The address to listen at: `wanted` as it is, but for `::`, which takes IPv4 as well where there is IPv6 and
 * can't be had where there is none. Then it is `0.0.0.0`, and `onFallback` hears why.
 *
 * @param tryAt listens for a moment at an address with any free port; for tests.
 * @throws Error with the code that the system gave for any other trouble.
 */
export async function listenHost(
  wanted: string,
  onFallback: (why: Error) => void,
  tryAt: (host: string) => Promise<unknown> = (host) => tryPort(host, 0),
): Promise<string> {
  if (wanted !== '::') return wanted;
  try {
    await tryAt(wanted);
    return wanted;
  } catch (error) {
    if (!(error instanceof Error) || !NO_IPV6.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    onFallback(error);
    return '0.0.0.0';
  }
}
