import { ClusterError } from '../cluster/errors.ts';

const OFFLINE =
  /dial tcp|no such host|i\/o timeout|proxyconnect|connection refused|TLS handshake|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED/;

/**
 * Makes a program where that has not been done on this machine. Says in words for a skipped test why it can't be
 * had; any other failure is thrown.
 *
 * @param what Names the program in those words.
 */
export async function missingTool(make: () => Promise<unknown>, what: string): Promise<string | undefined> {
  try {
    await make();
    return undefined;
  } catch (error) {
    if (error instanceof ClusterError && error.code === 'E2E_NEEDS_GO') {
      return `Go is not installed, so ${what} cannot be built`;
    }
    if (!OFFLINE.test(String(error))) throw error;
    return `its source cannot be reached, so ${what} cannot be had`;
  }
}
