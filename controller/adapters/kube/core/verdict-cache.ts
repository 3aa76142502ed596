/** A caller that is refused may ask again after that; whoever asks all the time costs one review in it. */
export const REFUSAL_KEPT_MS = 10_000;

/** There are tens of activators, each with a new token once an hour. */
const MAX_GOOD = 1_000;
/** What strangers make up; apart, so that they push no good one out. */
const MAX_BAD = 1_000;

interface Verdict {
  isGood: boolean;
  untilMs: number;
}

/** What was decided about tokens, by a digest of each: pure, bounded. Times are epoch ms. */
export class VerdictCache {
  readonly #good = new Map<string, number>();
  readonly #bad = new Map<string, number>();

  /** How many are kept, for tests. */
  get sizes(): { good: number; bad: number } {
    return { good: this.#good.size, bad: this.#bad.size };
  }

  /** The verdict about a token, or undefined when there is none in force. */
  find(key: string, nowMs: number): boolean | undefined {
    if (inForce(this.#good, key, nowMs)) return true;
    return inForce(this.#bad, key, nowMs) ? false : undefined;
  }

  keep(key: string, { isGood, untilMs }: Verdict): void {
    this.#good.delete(key);
    this.#bad.delete(key);
    const [kept, most] = isGood ? [this.#good, MAX_GOOD] : [this.#bad, MAX_BAD];
    const [oldest] = kept.keys();
    if (kept.size >= most && oldest !== undefined) kept.delete(oldest);
    kept.set(key, untilMs);
  }
}

function inForce(kept: Map<string, number>, key: string, nowMs: number): boolean {
  const untilMs = kept.get(key);
  if (untilMs === undefined) return false;
  if (nowMs < untilMs) return true;
  kept.delete(key);
  return false;
}

/** What a ServiceAccount token says of itself, unverified: enough to refuse it, never enough to believe it. */
export interface TokenClaims {
  audiences: readonly string[];
  /** Epoch ms. */
  expiresAtMs: number;
}

/** The claims of a JWT, or undefined for what is none with an audience and an end, as projected tokens have. */
export function readClaims(token: string): TokenClaims | undefined {
  const parts = token.split('.');
  if (parts.length !== 3 || parts.includes('')) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(parts[1] ?? '', 'base64url').toString('utf8'));
    if (typeof claims !== 'object' || claims === null) return undefined;
    const { aud, exp } = claims as { aud?: unknown; exp?: unknown };
    const audiences = (Array.isArray(aud) ? aud : [aud]).filter((one) => typeof one === 'string');
    if (audiences.length === 0 || typeof exp !== 'number' || !Number.isFinite(exp)) return undefined;
    return { audiences, expiresAtMs: exp * 1000 };
  } catch {
    return undefined;
  }
}
