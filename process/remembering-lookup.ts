import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';

/** A cluster's DNS answers within a few; the resolver of the C library waits five seconds for one that is away. */
const PATIENCE_MS = 250;
const MAX_NAMES = 100;

type Resolve = (
  hostname: string,
  options: { all: true; family: number },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/**
 * A `lookup` for agents that keeps going while DNS is away: a name that was resolved once leads where it led when the
 * system says nothing within 250 ms, or an error. For names whose addresses stay, such as those of Services; each
 * answer that comes, late as it may be, is what is remembered from then on. Of each name one question is under way at
 * most, since each takes one of the few threads that resolve.
 */
export function rememberingLookup(
  resolve: Resolve = (hostname, options, callback) => systemLookup(hostname, options, callback),
  patienceMs = PATIENCE_MS,
): LookupFunction {
  const known = new Map<string, LookupAddress[]>();
  const asked = new Map<string, Promise<LookupAddress[]>>();

  function ask(hostname: string, family: number): Promise<LookupAddress[]> {
    const key = `${family}/${hostname}`;
    const before = asked.get(key);
    if (before !== undefined) return before;
    const question = new Promise<LookupAddress[]>((answered, failed) => {
      resolve(hostname, { all: true, family }, (error, addresses) => {
        asked.delete(key);
        if (error !== null) return failed(error);
        if (known.size >= MAX_NAMES) known.clear();
        known.set(key, addresses);
        return answered(addresses);
      });
    });
    asked.set(key, question);
    return question;
  }

  async function addressesOf(hostname: string, family: number): Promise<LookupAddress[]> {
    const last = known.get(`${family}/${hostname}`);
    const question = ask(hostname, family);
    if (last === undefined) return question;
    // Whether it comes late or fails: what was known holds, and nobody is told of the failure.
    return Promise.race([question.catch(() => last), after(patienceMs, last)]);
  }

  return (hostname, options, callback) => {
    const family = familyOf(options.family);
    const version = isIP(hostname);
    const found =
      version === 0
        ? addressesOf(hostname, family)
        : Promise.resolve([{ address: hostname, family: version }]);
    found.then(
      (addresses) => {
        const [first] = addresses;
        if (options.all === true) callback(null, addresses);
        else callback(null, first?.address ?? '', first?.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, options.all === true ? [] : ''),
    );
  };
}

function familyOf(family: number | 'IPv4' | 'IPv6' | undefined): number {
  if (family === 'IPv4') return 4;
  if (family === 'IPv6') return 6;
  return family ?? 0;
}

function after<Value>(delayMs: number, value: Value): Promise<Value> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(value), delayMs).unref();
  });
}
