import {
  AdminTokenError,
  AdminTokenVerifier,
  adminAudience,
  readAdminPublicKey,
} from '../../contracts/admin-token.ts';
import type { AdminGuard } from './admin-server.ts';

/**
 * Lets in the tokens that the controller of a cluster signs for this pod (contracts/admin-token.ts).
 *
 * @param publicKeyText base64 of SPKI DER.
 * @param nowMs epoch ms.
 * @throws AdminTokenError for anything but an Ed25519 public key.
 */
export function signedTokenGuard(
  publicKeyText: string,
  pod: { namespace: string; name: string },
  nowMs: () => number,
): AdminGuard {
  const audience = adminAudience(pod.namespace, pod.name);
  const verifier = new AdminTokenVerifier(readAdminPublicKey(publicKeyText), audience);
  return (token) => {
    try {
      verifier.verify(token, nowMs());
      return undefined;
    } catch (error) {
      if (error instanceof AdminTokenError) return error.message;
      throw error;
    }
  };
}
