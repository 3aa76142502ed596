import { createHash } from 'node:crypto';
import { PilotlightError } from '../../../contracts/errors.ts';
import { REFUSAL_KEPT_MS, readClaims, VerdictCache } from './core/verdict-cache.ts';

/** What a TokenReview (authentication.k8s.io/v1) answers, its `status`. */
export interface TokenReviewStatus {
  authenticated: boolean;
  username?: string;
  audiences?: readonly string[];
  error?: string;
}

/**
 * Creates a TokenReview. Rejects when the API server could not be asked: that decides nothing.
 */
export type ReviewToken = (token: string, audiences: readonly string[]) => Promise<TokenReviewStatus>;

/** Reviews at once; more wait for nobody and are told to come again. Strangers must not load the API server. */
const MAX_REVIEWS = 16;
/** After a review that failed, the API server is left alone for so long. */
const OUTAGE_PAUSE_MS = 500;
/** Longer than any ServiceAccount token. */
const MAX_TOKEN_LENGTH = 16 * 1024;

export interface TokenReviewerOptions {
  review: ReviewToken;
  /** `pilotlight`: a token for somebody else, the API server for one, is none for us. */
  audience: string;
  /** `system:serviceaccount:<namespace>:pilotlight-activator` */
  username: string;
  /** Epoch ms. */
  nowMs: () => number;
}

/**
 * Tells the tokens of activators from others by asking the API server once for each: a good verdict holds until
 * the token ends, so that an API server that is away changes nothing for who is known; a bad one for 10 s.
 */
export class TokenReviewer {
  readonly #options: TokenReviewerOptions;
  readonly #verdicts = new VerdictCache();
  readonly #running = new Map<string, Promise<boolean>>();
  #pausedUntilMs = -Infinity;

  constructor(options: TokenReviewerOptions) {
    this.#options = options;
  }

  /** @throws PilotlightError `not-ready` or `server-busy` when nobody can say now; it may be asked again. */
  async authenticate(token: string): Promise<boolean> {
    const nowMs = this.#options.nowMs();
    const claims = token.length > MAX_TOKEN_LENGTH ? undefined : readClaims(token);
    // What can't be good by its own words costs no review.
    if (claims === undefined || nowMs >= claims.expiresAtMs) return false;
    if (!claims.audiences.includes(this.#options.audience)) return false;
    const key = createHash('sha256').update(token).digest('base64url');
    const known = this.#verdicts.find(key, nowMs);
    if (known !== undefined) return known;
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    if (nowMs < this.#pausedUntilMs) throw outage(undefined);
    if (this.#running.size >= MAX_REVIEWS) {
      throw new PilotlightError('server-busy', 'too many tokens are being reviewed, try again', {
        retryAfterSeconds: 1,
      });
    }
    const review = this.#review(key, token, claims.expiresAtMs).finally(() => this.#running.delete(key));
    this.#running.set(key, review);
    return review;
  }

  async #review(key: string, token: string, expiresAtMs: number): Promise<boolean> {
    const { review, audience, username, nowMs } = this.#options;
    let status: TokenReviewStatus;
    try {
      status = await review(token, [audience]);
    } catch (error) {
      this.#pausedUntilMs = nowMs() + OUTAGE_PAUSE_MS;
      throw outage(error);
    }
    const isGood =
      status.authenticated && status.username === username && (status.audiences ?? []).includes(audience);
    this.#verdicts.keep(key, { isGood, untilMs: isGood ? expiresAtMs : nowMs() + REFUSAL_KEPT_MS });
    return isGood;
  }
}

function outage(cause: unknown): PilotlightError {
  return new PilotlightError('not-ready', 'the API server could not be asked about the token, try again', {
    retryAfterSeconds: 1,
    cause,
  });
}
