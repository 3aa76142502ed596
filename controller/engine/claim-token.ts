import { createHmac, timingSafeEqual } from 'node:crypto';

/**
 * The token with which the runtime of a claim pushes its stats: a keyed digest of the claim's id, so that
 * nothing has to be kept and tokens stay good over a restart of the controller.
 */
export function claimToken(secret: string, claimId: string): string {
  return createHmac('sha256', secret).update(claimId).digest('base64url');
}

export function isClaimToken(secret: string, claimId: string, token: string): boolean {
  return sameToken(claimToken(secret, claimId), token);
}

/** Compares in a time that doesn't tell where they differ. */
export function sameToken(expected: string, given: string): boolean {
  const left = Buffer.from(expected);
  const right = Buffer.from(given);
  return left.length === right.length && timingSafeEqual(left, right);
}
